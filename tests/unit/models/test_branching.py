from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.errors import DataError
from holdfast.models import scoring
from holdfast.models.branching import Tree, can_branch

tails = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=8)


def test_a_tree_by_hand():
    tree = Tree.of([[7, 1, 2], [7, 1, 3], [7, 4], [5]])
    assert tree.tokens == (7, 1)  # last tokens are predicted, never read
    assert tree.parents == (-1, 0)
    assert tree.depths == (0, 1)
    assert tree.paths == ((-1, 0, 1), (-1, 0, 1), (-1, 0), (-1,))
    assert tree.sees.tolist() == [[True, False], [True, True]]


@given(tails)
def test_every_path_spells_its_tail_and_equal_beginnings_share_nodes(found):
    tree = Tree.of(found)
    for tail, path in zip(found, tree.paths, strict=True):
        assert len(path) == len(tail)
        assert [tree.tokens[node] for node in path[1:]] == tail[:-1]
        assert all(tree.depths[node] == depth for depth, node in enumerate(path[1:]))
    beginnings = {tuple(tail[:end]) for tail in found for end in range(1, len(tail))}
    assert len(tree.tokens) == len(beginnings)


@given(tails)
def test_a_node_sees_its_ancestors_alone(found):
    tree = Tree.of(found)
    sees = tree.sees
    assert sees.sum(1).tolist() == [depth + 1 for depth in tree.depths]
    for path in tree.paths:
        for end, node in enumerate(path[1:], 1):
            assert sees[node, list(path[1 : end + 1])].all()


def test_one_pass_gives_what_two_passes_give(loaded, chats):
    openings = ["I cannot", "Sure, here is what you asked", "N", "I am"]
    answers = [loaded.encode_answer(f"Sure, {i} here is what")[:5] for i in range(len(chats))]
    scores, logs = scoring.openings_and_answers(loaded, chats, openings, answers, 5, batch_size=4)
    apart = scoring.opening_scores(loaded, chats, openings, batch_size=4)
    torch.testing.assert_close(scores, apart, rtol=0, atol=1e-4)
    other = scoring.answer_distributions(loaded, chats, answers, 5, batch_size=4)
    torch.testing.assert_close(logs.exp(), other.exp(), rtol=0, atol=1e-4)


def test_every_family_branches_and_a_short_window_does_not(make):
    assert can_branch(make("llama"), 64)
    assert can_branch(make("gpt_neox"), 64)
    windowed = make("mistral")
    window = windowed.model.config.sliding_window
    if window:
        assert not can_branch(windowed, window + 1)


def test_answers_too_short_to_share_the_pass_take_the_other_way(make, chats):
    with pytest.raises(DataError, match="too short"):
        scoring.openings_and_answers(make("llama"), chats, ["N"], [[5]] * len(chats), 5)
