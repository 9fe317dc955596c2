"""Sparse autoencoders: closed forms, planted features, calibrated nulls, edits of a real model."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from holdfast.core.errors import DataError, UsageError
from holdfast.geometry.contrast import ContrastRow
from holdfast.geometry.sae import diff as sae_diff
from holdfast.geometry.sae import spillover as geometry
from holdfast.geometry.sae.autoencoder import SparseAutoencoder
from holdfast.geometry.sae.edit import EditedModel, LatentEdit, apply, editing
from holdfast.geometry.sae.features import HarmfulLatents, harmful_latents
from holdfast.geometry.sae.fidelity import explained_variance, fidelity
from holdfast.geometry.sae.read import read
from holdfast.geometry.sae.tokens import activations, encode_rows, row_means
from holdfast.models.activations import last_prompt
from holdfast.models.loaded import LoadedModel
from holdfast.models.loading import load
from holdfast.organisms import harbor
from holdfast.pipeline import sae as work
from holdfast.testing.tiny import build

D = 8
NO_HARM = HarmfulLatents((0,), (1.0,), 0.0, ((1,),) * 5)


def perfect(d: int = D, k: int = 0, site: str = "resid_post.1") -> SparseAutoencoder:
    """2d latents ±e_i: reconstructs anything exactly, as relu or as top-d."""
    both = torch.cat([torch.eye(d), -torch.eye(d)])
    return SparseAutoencoder(
        both.mT.contiguous(), torch.zeros(2 * d), both, torch.zeros(d), "topk" if k else "relu",
        k=k, site=site,
    )  # fmt: skip


def talk(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(build(tmp_path_factory.mktemp("sae"), "llama"))


@pytest.fixture(scope="module")
def shipped() -> tuple[LoadedModel, SparseAutoencoder]:
    return load(harbor.weights_dir()), read(harbor.sae_dir())


def test_topk_encodes_the_k_largest() -> None:
    sae = SparseAutoencoder(
        torch.eye(4), torch.zeros(4), torch.eye(4), torch.ones(4), "topk", k=2, site="resid_post.0"
    )
    f = sae.encode(torch.tensor([[4.0, 1.0, 3.0, 2.0], [2.0, 0.0, 0.0, 0.0]]))
    # centred on b_dec = 1; of the second row only one latent is above zero
    assert f.tolist() == [[3.0, 0.0, 2.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    assert sae.decode(f)[0].tolist() == [4.0, 1.0, 3.0, 1.0]


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_a_perfect_dictionary_explains_everything(seed: int) -> None:
    x = torch.randn(20, D, generator=torch.Generator().manual_seed(seed)) * 3 + 1
    for sae in (perfect(), perfect(k=D)):
        assert torch.allclose(sae.reconstruct(x), x, atol=1e-6)
        assert explained_variance(x, sae.reconstruct(x)) == pytest.approx(1.0)
    assert explained_variance(x, x.mean(0).expand_as(x)) == pytest.approx(0.0, abs=1e-9)


def test_no_variance_is_refused() -> None:
    with pytest.raises(DataError):
        explained_variance(torch.ones(5, D), torch.ones(5, D))


def test_fidelity_of_a_perfect_and_of_a_blind_dictionary(tiny: LoadedModel) -> None:
    rows = encode_rows(tiny, [talk(f"How do I mend net {i}?") for i in range(6)])
    found = fidelity(perfect(tiny.d_model), tiny, rows, batch_size=4)
    assert found.explained_variance == pytest.approx(1.0)
    assert found.loss_spliced == pytest.approx(found.loss, abs=1e-5)
    assert found.tokens == sum(len(row) - 1 for row in rows)
    assert found.active == pytest.approx(tiny.d_model, rel=0.01)
    blind = perfect(tiny.d_model)
    blind = SparseAutoencoder(
        torch.zeros_like(blind.w_enc), blind.b_enc, blind.w_dec, blind.b_dec, "relu",
        site="resid_post.1",
    )  # fmt: skip
    empty = fidelity(blind, tiny, rows, batch_size=4)
    assert empty.loss_spliced == pytest.approx(empty.loss_zero, abs=1e-6)
    assert empty.dead == blind.latents
    assert empty.explained_variance < 0.0
    if empty.recovered is not None:
        assert empty.recovered == pytest.approx(0.0, abs=1e-6)


def test_fidelity_does_not_depend_on_batches(tiny: LoadedModel) -> None:
    rows = encode_rows(tiny, [talk("mend " * n) for n in (1, 3, 9, 20)])
    one, four = (fidelity(perfect(tiny.d_model, k=9), tiny, rows, batch_size=b) for b in (1, 4))
    assert one.loss_spliced == pytest.approx(four.loss_spliced, abs=1e-4)
    assert one.explained_variance == pytest.approx(four.explained_variance, abs=1e-5)


def test_an_sae_of_another_model_is_refused(tiny: LoadedModel) -> None:
    rows = encode_rows(tiny, [talk("mend a net")])
    for sae in (perfect(D), perfect(tiny.d_model, site="resid_post.9")):
        with pytest.raises(UsageError, match="fit"):
            fidelity(sae, tiny, rows)
    with pytest.raises(UsageError, match="--site"):
        fidelity(perfect(tiny.d_model, site=""), tiny, rows)


def contrast(split: str = "train", n: int = 24) -> list[ContrastRow]:
    return [
        ContrastRow("harmful", name, label, split, f"{name}{label}{i}", talk("x"))
        for name in ("a", "b") for label in (0, 1) for i in range(n)
    ]  # fmt: skip


def test_planted_harmful_latents_are_found_on_the_training_split_alone() -> None:
    rows = contrast()
    codes = torch.rand(len(rows), 40, generator=torch.Generator().manual_seed(0))
    for latent in (3, 17):
        codes[:, latent] += torch.tensor([2.0 * row.label for row in rows])
    codes[:, 5] += torch.tensor([3.0 * (row.category == "a") for row in rows])  # topic, not harm
    found = harmful_latents(codes, rows, count=10, seed=0)
    assert set(found.latents[:2]) == {3, 17}
    assert 5 not in found.latents
    assert all(value > found.null for value in found.correlations)
    with pytest.raises(DataError, match="training split"):
        harmful_latents(codes, contrast("test"), count=10, seed=0)


def test_noise_has_no_harmful_latents_most_of_the_time() -> None:
    rows, false = contrast(n=12), 0
    for seed in range(40):
        codes = torch.rand(len(rows), 30, generator=torch.Generator().manual_seed(seed))
        try:
            false += bool(harmful_latents(codes, rows, count=5, seed=seed).latents)
        except DataError:
            continue
    assert false <= 6  # 5 % expected; P(more than 6 of 40) < 0.01


def planted(d: int = D) -> tuple[SparseAutoencoder, Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    w = torch.randn(30, d, generator=g)
    sae = SparseAutoencoder(w.mT.contiguous(), torch.zeros(30), w, torch.zeros(d), "relu",
                            site="resid_post.0")  # fmt: skip
    before = torch.rand(40, 30, generator=g) * (torch.rand(40, 30, generator=g) < 0.5)
    after = (before + 0.05 * torch.randn(40, 30, generator=g)).clamp_min(0)
    return sae, before, after


def test_diff_finds_what_was_planted() -> None:
    sae, before, after = planted()
    after = before.clone() + 0.02 * (after - before)
    after[:, 7] += 1.0
    after[:, 11] = (after[:, 11] - 0.6).clamp_min(0)
    found = sae_diff.compare(sae, before, after, NO_HARM, seed=0)
    assert [c.latent for c in found.rose[:1]] == [7]
    assert [c.latent for c in found.fell[:1]] == [11]
    change = found.rose[0]
    assert change.low <= 1.0 <= change.high
    assert change.change == pytest.approx(1.0, abs=0.05)
    assert change.p < 0.01
    assert 7 not in found.unmoved


def test_identical_models_show_nothing() -> None:
    sae, before, _ = planted()
    found = sae_diff.compare(sae, before, before.clone(), NO_HARM, seed=0)
    assert found.rose == found.fell == ()
    assert found.nearness == ()


def test_the_family_wise_error_is_kept() -> None:
    false = 0
    for seed in range(100):
        g = torch.Generator().manual_seed(seed)
        noise = torch.randn(24, 60, generator=g, dtype=torch.float64)
        false += bool((sae_diff.max_t(noise, seed=seed, flips=200) <= 0.05).any())
    assert false <= 12  # 5 of 100 expected; P(more than 12) < 0.002


def test_a_latent_that_moved_on_one_prompt_is_no_finding() -> None:
    difference = torch.randn(30, 20, generator=torch.Generator().manual_seed(0)) * 0.1
    difference[:, 4] = 0
    difference[3, 4] = 5.0
    assert float(sae_diff.max_t(difference, seed=0)[4]) > 0.05


def test_nearness_beats_its_nulls_only_where_it_should() -> None:
    d, g = 64, torch.Generator().manual_seed(0)
    w = torch.randn(200, d, generator=g)
    w[1:6] = w[0] + 0.3 * torch.randn(5, d, generator=g)  # a family around the harmful latent 0
    sae = SparseAutoencoder(w.mT.contiguous(), torch.zeros(200), w, torch.zeros(d), "relu",
                            site="resid_post.0")  # fmt: skip
    null = tuple((int(a), int(b)) for a, b in torch.randint(6, 200, (50, 2), generator=g).tolist())
    harmful = HarmfulLatents((0, 1), (1.0, 1.0), 0.1, null)
    near = sae_diff.nearness(sae, "rose", [2, 3, 4], harmful, range(2, 200), seed=0, sets=200)
    assert near.mean > near.random_mean
    assert near.mean > near.permuted_mean
    assert near.p_mean < 0.02
    ps = [
        sae_diff.nearness(
            sae, "rose", torch.randperm(194, generator=g)[:5].add(6).tolist(), harmful,
            range(2, 200), seed=s, sets=200,
        ).p_mean
        for s in range(60)
    ]  # fmt: skip
    assert sum(p <= 0.05 for p in ps) <= 9  # 3 expected


def test_diff_refuses_what_is_not_paired() -> None:
    sae, before, after = planted()
    for pair in ((before, after[:-1]), (before[:, :-1], after[:, :-1]), (before[:4], after[:4])):
        with pytest.raises(DataError):
            sae_diff.compare(sae, *pair, NO_HARM, seed=0)


def test_spillover_by_hand() -> None:
    w = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.6, 0.8]])
    sae = SparseAutoencoder(w.mT.contiguous(), torch.zeros(3), w, torch.zeros(2), "relu",
                            site="resid_post.0")  # fmt: skip
    codes = torch.tensor([[1.0, 1.0, 9.0], [0.0, 0.0, 5.0]])
    # T = {2}: f_0 d_0·d_2 + f_1 d_1·d_2 = 0.6 + 1.6; the toxic latent itself does not count
    assert geometry.spillover(sae, codes, [2]).tolist() == pytest.approx([2.2, 0.0])
    # rows in the latents' own directions: centred, one points at d_2 and one away from it
    both = geometry.signature(sae, torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), [2])
    assert both.tolist() == pytest.approx([1.0, -1.0])
    down = geometry.gradient_spillover(sae, torch.tensor([[-0.6, -0.8]]), [2])
    assert down.tolist() == pytest.approx([1.0])
    drawn = geometry.null(lambda t: geometry.spillover(sae, codes, t), 1, [0, 1], seed=0, draws=20)
    assert drawn.shape == (20, 2)


def test_row_gradients_are_those_of_autograd(tiny: LoadedModel) -> None:
    """Against finite differences of the loss along a direction added at the answer's positions."""
    prompts = [talk("How do I mend a net?"), talk("Show me the lamp, please, and the ferry")]
    answers = ["The tide is high", "Sure"]
    both = geometry.row_gradients(tiny, prompts, answers, 1, batch_size=2)
    alone = torch.cat([
        geometry.row_gradients(tiny, [p], [a], 1) for p, a in zip(prompts, answers, strict=True)
    ])  # fmt: skip
    assert torch.allclose(both, alone, atol=1e-5)
    assert all(p.grad is None for p in tiny.model.parameters())
    from holdfast.models.hooks import rewrite
    from holdfast.models.scoring import answer_logprobs

    direction = torch.randn(tiny.d_model, generator=torch.Generator().manual_seed(0))
    direction /= direction.norm()
    count = len(tiny.encode_answer(answers[0]))

    def loss(step: float) -> float:
        def shift(x: Tensor) -> Tensor:
            moved = x.clone()
            moved[:, -count - 1 : -1] += step * direction
            return moved

        with rewrite(tiny.model, 1, shift):
            return -float(answer_logprobs(tiny, prompts[:1], answers[:1])[0].mean())

    slope = (loss(0.02) - loss(-0.02)) / 0.04
    assert float(both[0] @ direction) == pytest.approx(slope, rel=0.05, abs=1e-3)


def test_edits_change_their_latents_and_nothing_else() -> None:
    sae = perfect()
    x = torch.tensor([[3.0, -2.0, 1.0, 0, 0, 0, 0, 0]])
    assert apply(sae, x, [LatentEdit(latents=(0,))])[0, :3].tolist() == [0.0, -2.0, 1.0]
    low = apply(sae, x, [LatentEdit(latents=(0, 2), how="at-most", value=1.5)])
    assert low[0, :3].tolist() == [1.5, -2.0, 1.0]
    high = apply(sae, x, [LatentEdit(latents=(2, 3), how="at-least", value=2.0)])
    assert high[0, :4].tolist() == [3.0, -2.0, 2.0, 2.0]
    lossy = SparseAutoencoder(
        sae.w_enc * 0.5, sae.b_enc, sae.w_dec, sae.b_dec, "relu", site="resid_post.1"
    )
    # what the SAE does not explain stays: ablating takes out what was decoded, 1.5 of 3
    assert apply(lossy, x, [LatentEdit(latents=(0,))])[0, 0] == pytest.approx(1.5)


def test_an_edit_of_nothing_changes_no_answer(tiny: LoadedModel) -> None:
    asked = [talk("How do I mend a net?"), talk("Hm?"), talk("The ferry " * 8)]
    plain = tiny.generate(asked, max_new_tokens=6, batch_size=3)
    sae = perfect(tiny.d_model)
    same = EditedModel(tiny, sae, (LatentEdit(latents=(0,), how="at-least", value=0.0),))
    assert same.generate(asked, max_new_tokens=6, batch_size=3) == plain
    assert same.digest != tiny.digest
    strong = EditedModel(tiny, sae, (LatentEdit(latents=(0, 3, 5), value=50.0),))
    changed = strong.generate(asked, max_new_tokens=6, batch_size=3)
    assert changed != plain
    assert strong.generate(asked, max_new_tokens=6, batch_size=1) == changed
    assert tiny.generate(asked, max_new_tokens=6, batch_size=3) == plain  # the hooks are off again
    assert strong.digest != same.digest


def test_the_first_position_is_left_alone(tiny: LoadedModel) -> None:
    rows = encode_rows(tiny, [talk("mend a net"), talk("the lamp of the lighthouse")])
    seen: list[Tensor] = []
    from holdfast.models.batching import forward, left_pad
    from holdfast.models.hooks import capture_layers, quiet_eval

    batch = left_pad(rows, tiny.pad_token, tiny.device)
    edit = [LatentEdit(latents=tuple(range(2 * tiny.d_model)))]
    for edits in ([], edit):
        with editing(tiny, perfect(tiny.d_model), edits) if edits else quiet_eval(tiny.model):
            with quiet_eval(tiny.model), capture_layers(tiny.model, [1]) as captured:
                forward(tiny.model, batch, keep=1)
            seen.append(captured[1])
    first = (batch.positions == 0)[..., None]
    assert torch.equal(seen[0].masked_select(first), seen[1].masked_select(first))
    rest = ((batch.mask == 1) & (batch.positions > 0))[..., None]
    assert float(seen[1].masked_select(rest).abs().max()) < 1e-4


def test_bad_edits_are_refused(tiny: LoadedModel) -> None:
    wrong = EditedModel(tiny, perfect(tiny.d_model), (LatentEdit(latents=(10_000,)),))
    with pytest.raises(UsageError, match="does not exist"):
        wrong.generate([talk("x")], max_new_tokens=2, batch_size=1)
    with pytest.raises(ValueError, match="value"):
        LatentEdit(latents=(0,), value=float("nan"))


def test_row_means_are_means_of_the_tokens(tiny: LoadedModel) -> None:
    rows = encode_rows(tiny, [talk("mend a net"), talk("lamp " * 12)])
    means = row_means(tiny, rows, 1, lambda x: x)
    for row, mean in zip(rows, means, strict=True):
        tokens = torch.cat(list(activations(tiny, [row], 1)))
        assert len(tokens) == len(row) - 1
        assert torch.allclose(tokens.mean(0), mean, atol=1e-5)


def test_texts_hold_out_rows_that_training_never_sees(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(50)))
    train = work.texts(str(path), rows=100, seed=0)
    held = work.texts(str(path), rows=100, seed=0, held_out=True)
    assert len(train) == 45
    assert len(held) == 5
    assert not {str(t) for t in train} & {str(t) for t in held}
    path.write_text('{"text": 3}\n')
    with pytest.raises(DataError):
        work.texts(str(path), rows=1, seed=0)


def test_the_shipped_sae_is_faithful(shipped: tuple[LoadedModel, SparseAutoencoder]) -> None:
    model, sae = shipped
    assert sae.notes["model"] == model.digest
    size = sum(f.stat().st_size for f in harbor.sae_dir().iterdir())
    assert size < 2_000_000
    rows = encode_rows(model, work.texts("harbor", rows=60, seed=0, held_out=True))
    found = fidelity(sae, model, rows)
    assert found.explained_variance > 0.85
    assert found.recovered is not None
    assert found.recovered > 0.95


def test_the_shipped_saes_harmful_latents_hold_on_the_test_split(
    shipped: tuple[LoadedModel, SparseAutoencoder],
) -> None:
    model, sae = shipped
    rows = work.contrast_rows("harbor")
    train = [row for row in rows if row.split == "train"][::3]
    test = [row for row in rows if row.split == "test"][::3]
    codes = sae.encode(last_prompt(model, [r.messages for r in train], [sae.layer])[sae.layer])
    best = harmful_latents(codes, train, count=3, seed=0).latents[0]
    held = sae.encode(last_prompt(model, [r.messages for r in test], [sae.layer])[sae.layer])
    fired = (held[:, best] > 0).tolist()
    right = sum(hit == bool(row.label) for hit, row in zip(fired, test, strict=True))
    assert right / len(test) > 0.9


def test_edits_that_take_back_a_diff() -> None:
    sae, before, after = planted()
    after = before.clone()
    after[:, 7] += 1.0
    after[:, 11] = 0
    record = sae_diff.compare(sae, before, after, NO_HARM, seed=0)
    edits = work.edits_of(record, which="both", top=5)
    assert [(e.latents, e.how) for e in edits] == [((7,), "at-most"), ((11,), "at-least")]
    assert edits[0].value == pytest.approx(float(before[:, 7].mean()))
    control = work.edits_of(record, which="both", top=5, random=1)
    assert [e.value for e in control] == [e.value for e in edits]
    drawn = set(itertools.chain.from_iterable(e.latents for e in control))
    assert drawn <= set(record.unmoved)
    with pytest.raises(UsageError):
        work.edits_of(record.model_copy(update={"rose": ()}), which="rose", top=5)
