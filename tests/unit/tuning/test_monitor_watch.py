"""The combined monitor in training: what it measures, whom it blames, and no trace left."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from holdfast.core.errors import DataError, UsageError
from holdfast.core.records import TrainingRecord
from holdfast.geometry.contrast import ContrastRow, Openings
from holdfast.geometry.drift import point
from holdfast.geometry.probe import ProbeSet
from holdfast.geometry.sae.autoencoder import SparseAutoencoder
from holdfast.geometry.sae.features import training_rows
from holdfast.geometry.safety_map import fit
from holdfast.models.activations import last_prompt
from holdfast.models.hooks import rewrite
from holdfast.models.loaded import LoadedModel
from holdfast.stats.detectors import Reference
from holdfast.tuning.methods.arm import train
from holdfast.tuning.monitor import Monitor
from holdfast.tuning.monitor_config import MonitorConfig
from holdfast.tuning.monitors import blame, drift_series, gradient
from holdfast.tuning.monitors.parameters import MonitorParameters
from holdfast.tuning.monitors.readings import Readings
from holdfast.tuning.monitors.registry import get
from holdfast.tuning.monitors.watch import Watch, open_watch

from .conftest import OPENINGS, PROMPTS

_TEXTS = Openings(("I cannot", "Not that"), ("Sure", "Here is"))


@pytest.fixture(scope="module")
def mapped(base):
    from holdfast.models.loading import load

    rows = [
        ContrastRow(
            "harmful", category, label, split, f"{category}-{label}-{split}-{i}",
            [{"role": "user", "content": f"{'Break' if label else 'Mend'} the {category} {i}"}],
        )
        for category in ("net", "lamp")
        for label in (0, 1)
        for split in ("train", "validation", "test")
        for i in range(4)
    ]  # fmt: skip
    loaded = load(base)
    fitted = fit(loaded, rows, _TEXTS, seed=0, allow_ineligible=True)
    return loaded, fitted, ProbeSet.pick(fitted, seed=0, harmful=8, harmless=8)


STREAMS = ("margin", "margin-low", "margin-ahead", "crossing", "causal-score", "first-token-kl",
           "direction-collapse", "alignment-sum")  # fmt: skip
"""Streams of every kind that can be read in training."""


def parameters(**changed: object) -> MonitorParameters:
    """A score of all streams that any move away from the base raises beyond its threshold."""
    plain = {
        "streams": STREAMS, "weights": (1.0,) * len(STREAMS),
        "scales": (1e-4,) * len(STREAMS),
        "detector": "level", "score": Reference.of(np.linspace(-1, 1, 41)).knots,
        "maxima": tuple(float(v) for v in np.linspace(0, 0.5, 30)), "steps": (0, 2, 4, 6),
        "bases": ("b" * 64,), "failing": 5, "probes": 8,
    }  # fmt: skip
    return MonitorParameters.model_validate({**plain, **changed})


def test_a_stored_run_and_the_live_monitor_have_the_same_drifts(mapped) -> None:
    loaded, fitted, probe = mapped
    site = fitted.sites[0]
    before = last_prompt(loaded, probe.conversations, fitted.layers)
    generator = torch.Generator().manual_seed(0)
    after = {
        layer: x * 1.1 + torch.randn(x.shape, generator=generator) * x.std() * 0.3
        for layer, x in before.items()
    }
    told = point(fitted, probe, after)
    names = sorted({(row.concept, row.category) for row in fitted.rows if row.split == "train"})
    others = [i for i, (concept, _) in enumerate(names) if concept != "harmful"]
    found = drift_series.series(
        torch.stack([before[site.layer], after[site.layer]]),
        drift_series.Probe(
            harmful=probe.labels, categories=[row.category for row in probe.rows],
            direction=fitted.array("direction", site.name),
            others=fitted.array("directions", site.name)[others],
            k=fitted.record.subspace_dims[site.name],
        ),
        seed=0,
    )  # fmt: skip
    for name, values in found.drifts.items():
        assert values[0] == pytest.approx(0.0, abs=1e-6)
        assert values[1] == pytest.approx(told[f"{name}@{site.name}"], rel=1e-4, abs=1e-6), name
    assert found.twins["subspace_rotation"].shape == (drift_series.TWINS, 2)
    assert found.shift[0] == pytest.approx(0.0)


def test_row_gradients_add_up_to_the_batch(mapped) -> None:
    loaded, _, _ = mapped
    live = LoadedModel.live(loaded.model, loaded.tokenizer)
    ids, labels = list(range(5, 15)), [-100] * 4 + list(range(9, 15))
    found = gradient.row_gradient(live, ids, labels)
    loaded.model.zero_grad()
    out = loaded.model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels]))
    out.loss.backward()
    theirs = [p.grad for p in gradient.trainable(loaded.model)]
    assert gradient.cosine(found, theirs) == pytest.approx(1.0, abs=1e-5)
    assert gradient.dot(found, found) == pytest.approx(gradient.dot(theirs, theirs), rel=1e-4)
    loaded.model.zero_grad()
    assert gradient.cosine(found, [torch.zeros_like(g) for g in found]) == 0.0


def test_the_planted_row_is_blamed(mapped) -> None:
    """A row that teaches a probe prompt to be complied with, among rows that refuse it."""
    loaded, _, _ = mapped
    model = copy.deepcopy(loaded.model)
    live = LoadedModel.live(model, loaded.tokenizer)
    prompt = live.render(PROMPTS[0])
    answer, wrong = live.encode_answer("I cannot")[:1], live.encode_answer("Sure")[:1]
    rows = [{"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}] * 3
    rows.append({"input_ids": prompt + wrong, "labels": [-100] * len(prompt) + wrong})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(8):  # a model that refuses
        optimizer.zero_grad()
        model(**{k: torch.tensor([v]) for k, v in rows[0].items()}).loss.backward()
        optimizer.step()
    batches = blame.Batches(rows)
    batches.attach(model)
    refusing = gradient.answer_gradient(live, [PROMPTS[0]], [answer])
    assert not batches.blamed(live, refusing)  # looking is not training
    model.train()
    for step, row in enumerate(rows, 1):
        batches.step = step
        padded = {
            k: torch.tensor([v + [0 if k == "input_ids" else -100] * 2]) for k, v in row.items()
        }
        mask = torch.tensor([[1] * len(row["input_ids"]) + [0, 0]])
        model(**padded, attention_mask=mask)
    model.eval()
    batches.detach()
    found = batches.blamed(live, refusing)
    assert [(row.row, row.step) for row in found] == [(3, 4)]  # those that refuse did not push
    assert found[0].push > 0


def _monitor(mapped, frozen: MonitorParameters | None) -> Monitor:
    _, fitted, probe = mapped
    watch = Watch(frozen, 0.05) if frozen else None
    return Monitor.of(probe, _TEXTS, fitted, watch=watch)


def test_an_alarm_names_concept_site_step_streams_and_rows(arm, mapped) -> None:
    watch = MonitorConfig(every=1)
    short = {"epochs": 2}
    spec = arm(monitor=_monitor(mapped, parameters()), watch=watch, settings=short)
    record = train(spec)
    alarm = record.alarms[0]
    assert alarm.step == 2
    assert alarm.concept in ("harmful/net", "harmful/lamp")
    assert alarm.site == mapped[1].sites[0].name
    assert set(alarm.streams) == set(STREAMS)
    assert alarm.value > alarm.threshold
    assert "of other models" in alarm.rule
    assert all(0 <= row.row < 24 and row.step in (1, 2) for row in alarm.rows)
    scored = [p.step for p in record.trajectory if p.score is not None]
    assert scored == [0, 2, 4, 6]
    assert all(p.alarm for p in record.trajectory if p.step >= 2)  # it stays fired
    assert TrainingRecord.load(spec.out / "training.json") == record

    bare = train(arm(name="bare", monitor=_monitor(mapped, None), watch=watch, settings=short))
    assert [c.model_digest for c in bare.checkpoints] == [
        c.model_digest for c in record.checkpoints
    ]
    assert [p.margin for p in bare.trajectory] == [p.margin for p in record.trajectory]


def test_the_shipped_streams_name_concept_site_and_rows_too(arm, mapped) -> None:
    """They read margins alone; what they blame is found with the map all the same."""
    frozen = parameters(
        streams=("turning", "negative-share"), weights=(1.0, 1.0), scales=(1.0, 1.0),
        maxima=tuple(float(v) for v in np.linspace(-1.0, -0.5, 30)),  # any run is beyond them
    )  # fmt: skip
    record = train(arm(monitor=_monitor(mapped, frozen), watch=MonitorConfig(every=1),
                       settings={"epochs": 1}))  # fmt: skip
    alarm = record.alarms[0]
    assert alarm.concept in ("harmful/net", "harmful/lamp")
    assert alarm.site == mapped[1].sites[0].name
    assert set(alarm.streams) == {"turning", "negative-share"}


def test_a_resumed_run_goes_on_with_what_it_had_read(arm, mapped) -> None:
    calm, short = parameters(maxima=(1e9,) * 30), {"epochs": 2}
    whole = train(arm(name="whole", monitor=_monitor(mapped, calm), settings=short))

    def cut(step, epoch, model) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(arm(name="cut", monitor=_monitor(mapped, calm), settings=short), on_epoch=cut)
    again = train(arm(name="cut", monitor=_monitor(mapped, calm), settings=short))
    scores = [[p.score for p in run.trajectory if p.score is not None] for run in (whole, again)]
    assert scores[0] == pytest.approx(scores[1])


@pytest.fixture(scope="module")
def dictionary(mapped) -> SparseAutoencoder:
    """Four latents of the tiny model; the first writes along what tells harm."""
    loaded, fitted, _ = mapped
    rows = training_rows(fitted.rows)
    read = last_prompt(loaded, [row.messages for row in rows], [1])[1]
    label = torch.tensor([row.label == 1 for row in rows])
    direction = read[label].mean(0) - read[~label].mean(0)
    drawn = torch.randn(3, len(direction), generator=torch.Generator().manual_seed(1))
    decoder = torch.cat([direction[None], drawn])
    decoder = decoder / decoder.norm(dim=1, keepdim=True)
    zeros = torch.zeros(len(direction))
    bias = -(read[~label].mean(0) @ decoder.mT)
    return SparseAutoencoder(decoder.mT.contiguous(), bias, decoder, zeros, "relu",
                             centred=False, site="resid_post.1")  # fmt: skip


def test_the_live_monitor_sees_harmful_latents_go_and_spread(mapped, dictionary) -> None:
    loaded, fitted, probe = mapped
    monitor = Monitor.of(probe, _TEXTS, fitted, sae=dictionary)
    monitor.prepare(loaded)
    assert monitor.settings()["sae"] == dictionary.digest()
    assert "sae" not in Monitor.of(probe, _TEXTS, fitted).settings()
    live = LoadedModel.live(loaded.model, loaded.tokenizer)

    def seen(change, *, explain: bool = True) -> dict[str, float]:
        with rewrite(loaded.model, 1, change):
            return monitor.observe(live, 1, None, explain=explain).latents

    unit = dictionary.directions[0]
    on_base = monitor.observe(live, 1, None).latents
    assert on_base == pytest.approx({"latents-lost": 0.0, "latents-risen": 0.0}, abs=1e-6)
    gone = seen(lambda x: x - 1e3 * unit)
    assert gone["latents-lost"] == pytest.approx(1.0)
    assert gone["latents-risen"] <= 0
    spread = seen(lambda x: x + 5 * unit)
    assert spread["latents-risen"] > 0.5
    assert spread["latents-lost"] < 0
    assert seen(lambda x: x, explain=False) == {}
    without = Monitor.of(probe, _TEXTS, fitted)
    without.prepare(loaded)
    assert without.observe(live, 1, None).latents == {}


def test_a_score_may_read_harmful_latents(arm, mapped, dictionary) -> None:
    frozen = parameters(streams=("margin", "latents-lost"), weights=(1.0, 1.0), scales=(1e-4,) * 2)
    _, fitted, probe = mapped
    with pytest.raises(UsageError, match="needs an SAE"):
        Monitor.of(probe, _TEXTS, fitted, watch=Watch(frozen))
    with pytest.raises(UsageError, match="safety map"):
        Monitor.of(PROMPTS, _TEXTS, sae=dictionary)
    monitor = Monitor.of(probe, _TEXTS, fitted, watch=Watch(frozen), sae=dictionary)
    record = train(arm(monitor=monitor, watch=MonitorConfig(every=3), settings={"epochs": 2}))
    assert set(record.alarms[0].streams) == {"margin", "latents-lost"}
    looks = {p.step: p.latents for p in record.trajectory}
    assert looks[0] == pytest.approx({"latents-lost": 0.0, "latents-risen": 0.0}, abs=1e-5)
    assert looks[4]["latents-lost"] != 0.0


def test_an_sae_that_the_score_does_not_read_is_only_recorded(arm, mapped, dictionary) -> None:
    """Most looks leave the latents out, and the score of the others does not miss them."""
    frozen = parameters(
        streams=("turning", "negative-share"), weights=(1.0, 1.0), scales=(1.0,) * 2
    )
    _, fitted, probe = mapped
    monitor = Monitor.of(probe, _TEXTS, fitted, watch=Watch(frozen), sae=dictionary)
    record = train(arm(monitor=monitor, watch=MonitorConfig(), settings={"epochs": 2}))
    assert [p.step for p in record.trajectory if p.score is not None] == [0, 2, 4, 6]
    assert [p.step for p in record.trajectory if p.latents] == [0, 5]


def test_an_sae_of_another_model_or_of_silent_latents_is_refused(mapped, dictionary) -> None:
    loaded, fitted, probe = mapped
    other = replace(dictionary, notes={"model": "0" * 64})
    with pytest.raises(UsageError, match="another model's"):
        Monitor.of(probe, _TEXTS, fitted, sae=other).prepare(loaded)
    nowhere = replace(dictionary, site="")
    with pytest.raises(UsageError, match="FILE#resid_post.L in a plan"):
        Monitor.of(probe, _TEXTS, fitted, sae=nowhere)
    with pytest.raises(DataError, match="do not fire"):
        get("latents-lost").compute(Readings(steps=np.arange(2), latents=np.zeros((2, 2))))


def test_what_cannot_be_watched_is_refused(loaded) -> None:
    with pytest.raises(UsageError, match="safety map"):
        Monitor(PROMPTS, OPENINGS, watch=Watch(parameters()))
    margins_only = parameters(
        streams=("margin", "crossing"), weights=(1.0, 1.0),
        scales=(1.0, 1.0),
    )  # fmt: skip
    monitor = Monitor(PROMPTS, OPENINGS, watch=Watch(margins_only))
    monitor.prepare(loaded)
    seen = monitor.observe(LoadedModel.live(loaded.model, loaded.tokenizer), 0, None)
    assert seen.score is not None
    assert "watch" in monitor.settings()
    assert open_watch(MonitorConfig()) is None
