"""The recipe: determinism, resumption, and the folder that it writes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from holdfast.core.errors import UsageError
from holdfast.organisms.harbor.recipe import CHECKPOINT_NAME, Progress, Recipe, train_base

TINY = Recipe(steps=4, rows_per_step=4, checkpoint_every=2, report_every=1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    stored: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return stored


def _same(left: Path, right: Path) -> bool:
    one, two = _weights(left), _weights(right)
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_same_seed_same_weights_and_a_stopped_run_ends_in_the_same_place(tmp_path: Path) -> None:
    whole = train_base(3, tmp_path / "whole", recipe=TINY)
    other = train_base(4, tmp_path / "other", recipe=TINY)

    def stop(report: Progress) -> None:
        if report.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_base(3, tmp_path / "resumed", recipe=TINY, progress=stop)
    assert (tmp_path / "resumed" / CHECKPOINT_NAME).exists()
    seen: list[Progress] = []
    resumed = train_base(3, tmp_path / "resumed", recipe=TINY, progress=seen.append)
    assert [report.step for report in seen] == [3, 4]
    assert not (resumed / CHECKPOINT_NAME).exists()
    assert _same(whole, resumed)
    assert not _same(whole, other)


def test_a_checkpoint_of_another_seed_is_refused(tmp_path: Path) -> None:
    def stop(report: Progress) -> None:
        if report.step == 2:
            return
        if report.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_base(0, tmp_path, recipe=TINY, progress=stop)
    with pytest.raises(UsageError, match="another run"):
        train_base(1, tmp_path, recipe=TINY)


def test_the_folder_loads_with_the_standard_loaders(tmp_path: Path) -> None:
    folder = train_base(0, tmp_path, recipe=Recipe(steps=1, rows_per_step=2))
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert 1.9e6 < sum(p.numel() for p in model.parameters()) < 2.0e6
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.max_new_tokens
    assert tokenizer.chat_template
    assert (folder / "model.safetensors").stat().st_size <= 8_000_000


def test_the_rate_rises_then_falls_to_the_end() -> None:
    recipe = Recipe(steps=700)
    rates = [recipe.rate(step) for step in range(700)]
    assert rates[0] < rates[40] < rates[79] == max(rates)
    assert rates[80] > rates[400] > rates[699] > 0
    assert rates[699] < 0.03 * recipe.learning_rate
