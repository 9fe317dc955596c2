"""Whole arms on a tiny model: exactness with and without the monitor, resumption, guards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from holdfast.core.errors import DataError, IntegrityError, InvalidRun, UsageError
from holdfast.models.loading import load
from holdfast.tuning import checkpoints
from holdfast.tuning.callback import HoldfastCallback
from holdfast.tuning.methods.arm import train
from holdfast.tuning.monitor import AlarmRule, Monitor
from holdfast.tuning.monitor_config import MonitorConfig

from .conftest import OPENINGS, PROMPTS, ROWS


def weights(folder: Path, step: int = 9) -> dict[str, torch.Tensor]:
    (file,) = (folder / "epochs" / f"{step:06d}").glob("*.safetensors")
    return load_file(file)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


class Kill(BaseException):
    """Stands for a crash: no `except Exception` can catch it."""


def test_the_monitor_changes_no_bit_and_every_epoch_is_evaluated(arm, monitor, capsys):
    seen = []
    plain, watched = arm("plain"), arm("watched", monitor=monitor)
    first = train(plain, on_epoch=lambda s, e, m: seen.append((s, e, m.digest)))
    second = train(watched)
    assert capsys.readouterr().out == ""
    for step in (3, 6, 9):
        assert same(weights(plain.out, step), weights(watched.out, step))
    assert seen == [(c.step, c.epoch, c.model_digest) for c in first.checkpoints]
    assert [c.step for c in first.checkpoints] == [3, 6, 9]
    assert [p.step for p in second.trajectory] == list(range(10))
    assert [c.model_digest for c in first.checkpoints] == [
        c.model_digest for c in second.checkpoints
    ]
    assert first.monitor_seconds == 0 < second.monitor_seconds
    assert first.protection == "none"
    assert first.final_loss == second.final_loss
    named = load(plain.base, adapter=plain.out / first.checkpoints[-1].path)
    assert named.digest == first.checkpoints[-1].model_digest
    assert not (plain.out / "resume").exists()


def test_a_crash_at_any_point_resumes_on_the_same_trajectory(arm, monitor, replay):
    whole = arm("whole", protection=replay, monitor=monitor)
    train(whole)

    def crash_in_evaluation(step, epoch, model):
        if step == 6:
            raise Kill

    broken = replace(whole, out=whole.out.with_name("broken"))
    with pytest.raises(Kill):
        train(broken, on_epoch=crash_in_evaluation)
    half = broken.out / "resume" / "checkpoint-8"  # a save cut short by kill -9
    half.mkdir()
    (half / "adapter_model.safetensors").write_bytes(b"torn")
    seen = []
    record = train(broken, on_epoch=lambda s, e, m: seen.append((s, m.digest)))
    assert same(weights(whole.out), weights(broken.out))
    assert [s for s, _ in seen] == [6, 9]  # the evaluation that was cut off is repeated
    assert seen[0][1] == record.checkpoints[1].model_digest
    assert record.protected_steps == 9
    assert [p.step for p in record.trajectory] == list(range(10))


def test_a_crash_after_the_last_checkpoint_trains_nothing_again(arm):
    spec = arm()

    def crash(step, epoch, model):
        if step == 9:
            raise Kill

    with pytest.raises(Kill):
        train(spec, on_epoch=crash)
    before = weights(spec.out)
    record = train(spec)
    assert same(before, weights(spec.out))
    assert [c.step for c in record.checkpoints] == [3, 6, 9]


def test_full_weights_resume_bit_identically_and_load_as_a_model(arm, replay):
    settings = {"tuner": "full", "learning_rate": 1e-3, "schedule": "linear", "epochs": 2}
    whole = arm("whole", settings=settings, protection=replay)
    train(whole)
    broken = replace(whole, out=whole.out.with_name("broken"))

    def crash(step, epoch, model):
        raise Kill

    with pytest.raises(Kill):
        train(broken, on_epoch=crash)
    record = train(broken)
    assert same(weights(whole.out, 6), weights(broken.out, 6))
    assert load(broken.out / "epochs" / "000006").digest == record.checkpoints[-1].model_digest


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_kill_minus_nine_in_the_middle_of_training(arm, tmp_path):
    spec = arm("killed")
    script = textwrap.dedent("""
        import json, os, signal, sys
        from pathlib import Path
        from holdfast.tuning.methods.sft.config import SFTConfig
        from holdfast.tuning.methods.arm import train
        from holdfast.tuning.methods.spec import ArmSpec
        base, out, rows, config = sys.argv[1:]
        def progress(what, done, total):
            if done == 5:
                os.kill(os.getpid(), signal.SIGKILL)
        train(ArmSpec("killed", Path(base), json.loads(rows), Path(out),
              SFTConfig(**json.loads(config))), progress=progress)
    """)
    config = json.dumps(spec.config.model_dump())
    call = [sys.executable, "-c", script, str(spec.base), str(spec.out), json.dumps(ROWS), config]
    killed = subprocess.run(call, env=dict(os.environ), capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert not (spec.out / "training.json").exists()
    train(spec)
    other = arm("whole")
    train(other)
    assert same(weights(spec.out), weights(other.out))


def test_a_finished_arm_is_returned_and_another_arm_is_refused(arm):
    spec = arm(settings={"epochs": 1})
    first = train(spec)
    assert train(spec) == first
    with pytest.raises(UsageError, match="another training run"):
        train(arm(settings={"epochs": 2}))


def test_a_changed_checkpoint_is_never_loaded(arm):
    spec = arm()

    def crash(step, epoch, model):
        raise Kill

    with pytest.raises(Kill):
        train(spec, on_epoch=crash)
    file = spec.out / "resume" / "checkpoint-3" / "optimizer.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"optimizer\.pt is changed"):
        train(spec)
    file.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        train(spec)


def test_protection_works_with_accumulation_and_checkpointing(arm, replay):
    settings = {"batch_size": 4, "accumulation": 2, "gradient_checkpointing": True, "epochs": 1}
    record = train(arm("guarded", settings=settings, protection=replay))
    assert record.steps == record.protected_steps == 3
    assert "replay_kl" in record.protection
    assert record.protection_seconds > 0
    free = arm("free", settings=settings)
    train(free)
    assert not same(weights(free.out, 3), weights(free.out.with_name("guarded"), 3))


def test_a_strong_protection_holds_the_base(arm, base):
    from holdfast.tuning.protections.replay_kl.config import ReplayKLConfig
    from holdfast.tuning.protections.replay_kl.protection import ReplayKL

    rate = {"learning_rate": 1e-2}
    guard = ReplayKL(ReplayKLConfig(weight=20, share=0.25, every=1, answer_tokens=6), PROMPTS)
    plain = train(arm("plain", settings=rate, monitor=Monitor(PROMPTS, OPENINGS)))
    held = train(arm("held", settings=rate, monitor=Monitor(PROMPTS, OPENINGS), protection=guard))
    assert held.trajectory[-1].first_token_kl < 0.5 * plain.trajectory[-1].first_token_kl


def test_a_diverging_run_is_invalid_and_keeps_its_good_checkpoints(arm):
    spec = arm("nan")

    def poison(step, epoch, model):
        with torch.no_grad():
            for name, p in model.model.named_parameters():
                if "lora_B" in name:
                    p.fill_(float("nan"))

    with pytest.raises(InvalidRun, match="not a number at step 4"):
        train(spec, on_epoch=poison)
    assert all(torch.isfinite(t).all() for t in weights(spec.out, 3).values())
    assert not (spec.out / "training.json").exists()
    assert [p.name for p in (spec.out / "resume").glob("checkpoint-*")] == ["checkpoint-3"]
    assert train(spec).steps == 9  # and it can go on from there


def test_an_alarm_stops_the_arm_for_good(arm):
    rule = AlarmRule(rise=0.0, min_prompts=1)
    spec = arm(
        "stopped", monitor=_Turning(PROMPTS, OPENINGS, rule=rule),
        watch=MonitorConfig(on_alarm="rollback"),
    )  # fmt: skip

    def crash(step, epoch, model):
        raise Kill

    with pytest.raises(Kill):
        train(spec, on_epoch=crash)
    record = train(spec)
    assert [a.action for a in record.alarms] == ["rollback"]
    assert record.alarms[0].step == 2
    assert record.steps == record.checkpoints[-1].step == 1
    assert len(record.checkpoints) == 1


class _Turning(Monitor):
    """A monitor whose second step is bad."""

    def observe(self, live, step, loss, *, explain=True):
        point = super().observe(live, step, loss, explain=explain)
        return point.model_copy(update={"alarm": step == 2})


def test_interruption_leaves_a_resumable_folder(arm):
    spec = arm()

    def interrupt(what, done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec, progress=interrupt)
    found = checkpoints.latest(spec.out / "resume")
    assert found
    assert found[0].name == "checkpoint-3"


def test_empty_rows_are_refused(arm):
    with pytest.raises(DataError, match="empty"):
        train(arm(rows=[]))


def test_it_is_a_plain_callback_in_a_users_own_trl_script(base, tmp_path, replay):
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    loaded = load(base)
    callback = HoldfastCallback(
        probe=PROMPTS, openings=OPENINGS, every=2, on_alarm="log", protection=replay
    )
    config = SFTConfig(
        output_dir=str(tmp_path), max_steps=4, per_device_train_batch_size=4, report_to="none",
        disable_tqdm=True, save_strategy="no", use_cpu=True, bf16=False,
    )  # fmt: skip
    trainer = SFTTrainer(
        loaded.model, config, train_dataset=Dataset.from_list(ROWS),
        processing_class=loaded.tokenizer, callbacks=[callback],
    )  # fmt: skip
    trainer.train()
    assert callback.protected_steps == 4
    assert [point.step for point in callback.points] == [0, 2, 4]
