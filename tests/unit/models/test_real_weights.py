"""The same promises on weights that nobody here made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from holdfast.models import activations, rendering, scoring
from holdfast.models.loading import load

DATA = os.environ.get("HOLDFAST_DATA", "")
FOLDER = Path(DATA) / "weights" / "stories260K"
pytestmark = pytest.mark.skipif(
    not DATA or not FOLDER.is_dir(), reason="HOLDFAST_DATA does not lead to weights/stories260K"
)


@pytest.fixture(scope="module")
def stories():
    return load(FOLDER)


@pytest.fixture(scope="module")
def prompts():
    words = ["a dog", "the little girl who had a red ball and a big box", "rain", "Tim"]
    return [[{"role": "user", "content": f"Tell me a story about {w}."}] for w in words * 10]


def test_it_has_no_template_and_says_so(stories):
    assert stories.ref.environment["chat_template"] == rendering.FALLBACK
    ids = stories.render([{"role": "user", "content": "Hi"}])
    assert ids.count(stories.tokenizer.bos_token_id) == 1


def test_it_tells_stories_and_the_batch_does_not_matter(stories, prompts):
    some = prompts[:4] + [[{"role": "user", "content": "Once upon a time"}]]
    one = stories.generate(some, max_new_tokens=40, batch_size=1)
    assert one == stories.generate(some, max_new_tokens=40, batch_size=32)
    assert any(word in " ".join(one) for word in ("was", "the", "and"))


def test_branched_and_plain_opening_scores_agree(stories, prompts, monkeypatch):
    openings = ["I cannot help", "Sure, here is", "Once upon a time"]
    branched = scoring.opening_scores(stories, prompts, openings)
    monkeypatch.setattr(scoring, "can_branch", lambda *_: False)
    plain = scoring.opening_scores(stories, prompts, openings)
    torch.testing.assert_close(branched, plain, rtol=0, atol=1e-4)
    # A story model finds the opening of a story likeliest: the scores mean something.
    assert (plain[:, 2] > plain[:, 0]).float().mean() > 0.9


def test_activations_do_not_depend_on_the_batch(stories, prompts):
    layers = list(range(stories.n_layers))
    many = activations.last_prompt(stories, prompts, layers, batch_size=40)
    one = activations.last_prompt(stories, prompts[:5], layers, batch_size=1)
    for layer in layers:
        torch.testing.assert_close(many[layer][:5], one[layer], rtol=1e-4, atol=1e-4)
