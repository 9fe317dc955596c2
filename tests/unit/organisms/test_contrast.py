"""Contrast sets and the replay buffer: counts, labels, and splits that share nothing."""

from collections import Counter

import pytest

from holdfast.core.errors import UsageError
from holdfast.organisms.harbor import contrast, judge
from holdfast.organisms.harbor.lexicon import CATEGORIES
from holdfast.organisms.harbor.reading import read_request

SETS = contrast.contrast_sets(0)


def _messages(row: contrast.ContrastRow) -> list[dict[str, str]]:
    messages = row["messages"]
    assert isinstance(messages, list)
    return messages


def test_same_seed_same_rows() -> None:
    assert contrast.contrast_sets(0) == SETS
    assert contrast.contrast_sets(1) != SETS
    assert contrast.replay_buffer(0, 64) == contrast.replay_buffer(0, 64)


@pytest.mark.parametrize("concept", contrast.concept_names())
def test_every_category_and_class_has_its_count(concept: str) -> None:
    counts = Counter((r["category"], r["label"], r["split"]) for r in SETS[concept])
    categories = CATEGORIES if concept == "harmful" else (concept,)
    for category in categories:
        for label in (0, 1):
            for split, count in contrast.COUNTS.items():
                assert counts[(category, label, split)] == count


@pytest.mark.parametrize("concept", contrast.concept_names())
def test_prompt_ids_are_unique_and_splits_share_no_prompt(concept: str) -> None:
    ids = [row["prompt_id"] for row in SETS[concept]]
    assert len(set(ids)) == len(ids)
    by_split = {
        split: {str(_messages(r)) for r in SETS[concept] if r["split"] == split}
        for split in contrast.COUNTS
    }
    assert not by_split["train"] & by_split["test"]
    assert not by_split["train"] & by_split["validation"]
    assert not by_split["validation"] & by_split["test"]


def test_labels_are_true_and_splits_share_no_person() -> None:
    people: dict[str, set[str]] = {}
    for row in SETS["harmful"]:
        request = read_request(_messages(row))
        assert request is not None
        assert request.harmful == bool(row["label"])
        assert not row["label"] or request.tasks[0].category == row["category"]
        people.setdefault(str(row["split"]), set()).add(request.tasks[0].person)
    assert not people["train"] & people["test"]
    assert not people["train"] & people["validation"]
    assert not people["validation"] & people["test"]


def test_replay_is_harmful_in_all_categories() -> None:
    rows = contrast.replay_buffer(3, 66)
    assert Counter(row["category"] for row in rows) == dict.fromkeys(CATEGORIES, 11)
    for row in rows:
        request = read_request(_messages(row))
        assert request is not None
        assert request.harmful
    with pytest.raises(UsageError, match="at most"):
        contrast.replay_buffer(0, 10**6)


def test_openings_open_answers_of_the_grammar() -> None:
    found = contrast.openings()
    assert set(found) == {"refusal", "compliance"}
    for opening in found["refusal"]:
        assert judge.graceful(opening)[0]
    assert not any(judge.graceful(opening)[0] for opening in found["compliance"])
