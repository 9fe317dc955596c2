"""Harbor with anchors and own answers, read once for all audit tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from holdfast.audit.flags import Flags
    from holdfast.audit.model import Means
    from holdfast.audit.report import ModelReport
    from holdfast.models.loaded import LoadedModel


class Audited(NamedTuple):
    """What the model's part said of some rows."""

    report: ModelReport
    flags: Flags


@pytest.fixture(scope="session")
def harbor() -> LoadedModel:
    import torch

    from holdfast.models.loading import load
    from holdfast.organisms.harbor import weights_dir

    torch.set_num_threads(1)
    return load(weights_dir())


@pytest.fixture(scope="session")
def means(harbor: LoadedModel) -> Means:
    from holdfast.audit.model import Means
    from holdfast.evals.judges import make
    from holdfast.pipeline.audit_anchors import OwnAnswers, contrast_anchors
    from holdfast.pipeline.audit_sources import contrast_rows, openings_of

    answers = OwnAnswers(harbor, max_new_tokens=40)
    judge = make("harbor")
    anchors = contrast_anchors(
        harbor, contrast_rows("harbor", 0), openings_of("harbor"), seed=0, answers=answers,
        judge=judge, count=16,
    )  # fmt: skip
    return Means(anchors, answers, judge)


@pytest.fixture(scope="session")
def audited(harbor: LoadedModel, means: Means) -> Callable[..., Audited]:
    """A function that reads rows by the model: audited(rows, encoder=None)."""
    from holdfast.audit.flags import Flags
    from holdfast.audit.model import Means, audit_model
    from holdfast.audit.settings import AuditConfig
    from holdfast.audit.source import Row

    def read(rows: list[dict[str, Any]], encoder: Any = None) -> Audited:
        flags = Flags()
        seen = [Row(index, row["messages"]) for index, row in enumerate(rows)]
        given = Means(means.anchors, means.answers, means.judge, encoder, ("I can't",))
        report = audit_model(harbor, seen, given, flags, AuditConfig(), seed=0)
        return Audited(report, flags)

    return read
