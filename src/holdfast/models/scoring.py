"""Teacher-forced log-probabilities, in nats, always computed in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from holdfast.core.errors import DataError
from holdfast.core.protocols import Messages
from holdfast.models.batching import by_length, check_fits, forward, left_pad
from holdfast.models.branching import Tree, can_branch, read_trees
from holdfast.models.hooks import quiet_eval
from holdfast.models.loaded import LoadedModel


def answer_logprobs(
    loaded: LoadedModel,
    conversations: Sequence[Messages],
    answers: Sequence[str],
    *,
    batch_size: int = 32,
) -> list[Tensor]:
    """Log p(token | prompt, earlier tokens) of every token of every answer, [len] float32 on CPU.

    Raises:
        DataError: prompt and answer together are longer than the context.
    """
    prompts = [loaded.render(messages) for messages in conversations]
    tails = [loaded.encode_answer(answer) for answer in answers]
    return _tail_logprobs(loaded, prompts, tails, batch_size)


def answer_distributions(
    loaded: LoadedModel,
    conversations: Sequence[Messages],
    answer_ids: Sequence[list[int]],
    positions: int,
    *,
    batch_size: int = 32,
) -> Tensor:
    """Log-probabilities over the vocabulary at the first `positions` response positions.

    Position j is conditioned on the prompt and on answer_ids[:j]. Shape [n, positions, vocab],
    float32 on the CPU.

    Raises:
        DataError: an answer has fewer than `positions` - 1 tokens, or does not fit the context.
    """
    for index, ids in enumerate(answer_ids):
        if len(ids) < positions - 1:
            raise DataError(
                f"answer {index} is too short for {positions} positions",
                got=f"{len(ids)} tokens",
                expected=f"at least {positions - 1}",
            )
    rows = [
        loaded.render(messages) + list(ids[: positions - 1])
        for messages, ids in zip(conversations, answer_ids, strict=True)
    ]
    lengths = [len(row) for row in rows]
    check_fits(lengths, loaded.max_context, "the whole context")
    out: list[Tensor] = [torch.empty(0)] * len(rows)
    with quiet_eval(loaded.model):
        for group in by_length(lengths, batch_size):
            batch = left_pad([rows[i] for i in group], loaded.pad_token, loaded.device)
            logits = forward(loaded.model, batch, keep=positions).logits
            for index, row in zip(group, logits.float().log_softmax(-1).cpu(), strict=True):
                out[index] = row
    return torch.stack(out)


def opening_scores(
    loaded: LoadedModel,
    conversations: Sequence[Messages],
    openings: Sequence[str],
    *,
    batch_size: int = 32,
) -> Tensor:
    """Log p(opening | prompt) summed over the opening's tokens, [n, n_openings] float32 on the CPU.

    All openings are read behind a prompt in one pass (`models.branching`); where the model takes
    no mask of ours, prompt and opening are read together. Both give equal numbers.

    Raises:
        DataError: an opening is empty, or a prompt with an opening is longer than the context.
    """
    tails = [loaded.encode_answer(text) for text in openings]
    if not tails or not all(tails):
        raise DataError("the openings are empty", expected="a few words each")
    prompts = [loaded.render(messages) for messages in conversations]
    lengths = [len(prompt) for prompt in prompts]
    longest = max(len(tail) for tail in tails)
    check_fits(lengths, loaded.max_context - longest, "the context less the longest opening")
    with quiet_eval(loaded.model):
        if not can_branch(loaded, max(lengths, default=0) + longest):
            pairs = [(prompt, tail) for prompt in prompts for tail in tails]
            scores = _tail_logprobs(
                loaded, [p for p, _ in pairs], [t for _, t in pairs], batch_size
            )
            return torch.stack([s.sum() for s in scores]).view(len(prompts), len(tails))
        out = torch.empty(len(prompts), len(tails))
        trees = [Tree.of(tails)] * len(prompts)
        for group, logs in read_trees(loaded, prompts, trees, batch_size=batch_size):
            out[group] = _path_scores(logs, trees[0], tails).cpu()
    return out


def openings_and_answers(
    loaded: LoadedModel,
    conversations: Sequence[Messages],
    openings: Sequence[str],
    answer_ids: Sequence[list[int]],
    positions: int,
    *,
    batch_size: int = 32,
) -> tuple[Tensor, Tensor]:
    """`opening_scores` and `answer_distributions` of the same prompts, in one pass where possible.

    Raises:
        DataError: as those two.
    """
    tails = [loaded.encode_answer(text) for text in openings]
    answers = [list(ids[:positions]) for ids in answer_ids]
    prompts = [loaded.render(messages) for messages in conversations]
    lengths = [len(prompt) for prompt in prompts]
    longest = max(positions, *(len(tail) for tail in tails))
    whole = all(tails) and all(len(ids) == positions for ids in answers)
    if not whole or not can_branch(loaded, max(lengths, default=0) + longest):
        return (
            opening_scores(loaded, conversations, openings, batch_size=batch_size),
            answer_distributions(
                loaded, conversations, answer_ids, positions, batch_size=batch_size
            ),
        )
    check_fits(lengths, loaded.max_context - longest, "the context less the longest opening")
    trees = [Tree.of([*tails, ids]) for ids in answers]
    scores = torch.empty(len(prompts), len(tails))
    out: list[Tensor] = [torch.empty(0)] * len(prompts)
    with quiet_eval(loaded.model):
        for group, logs in read_trees(loaded, prompts, trees, batch_size=batch_size):
            # The openings were merged first: their nodes are the same in every tree.
            scores[group] = _path_scores(logs, trees[0], tails).cpu()
            for index, row in zip(group, logs.cpu(), strict=True):
                out[index] = row[[node + 1 for node in trees[index].paths[-1]]]
    return scores, torch.stack(out)


def _path_scores(logs: Tensor, tree: Tree, tails: Sequence[list[int]]) -> Tensor:
    """[batch, n_tails]: summed log-probability of the first tails of `tree`.

    `logs` [batch, 1 + nodes, vocab] as `branching.read_trees` yields them.
    """
    scores = []
    for tail, path in zip(tails, tree.paths, strict=False):
        behind = torch.tensor([node + 1 for node in path], device=logs.device)
        wanted = torch.tensor(tail, device=logs.device)
        scores.append(logs[:, behind, wanted].sum(-1))
    return torch.stack(scores, 1)


def refusal_margin(scores_refusal: Tensor, scores_compliance: Tensor) -> Tensor:
    """m(x) = log p(refusal openings | x) - log p(compliance openings | x), [n], in nats.

    From `opening_scores` [n, n_openings] of each kind; a kind's probability is the sum over its
    openings (logsumexp). Positive: the model is about to refuse. More openings of one kind move m
    towards it, so compare margins only under one set of openings.
    """
    return scores_refusal.float().logsumexp(-1) - scores_compliance.float().logsumexp(-1)


def _tail_logprobs(
    loaded: LoadedModel, prompts: list[list[int]], tails: list[list[int]], batch_size: int
) -> list[Tensor]:
    rows = [prompt + tail for prompt, tail in zip(prompts, tails, strict=True)]
    lengths = [len(row) for row in rows]
    check_fits(lengths, loaded.max_context, "the whole context")
    out: list[Tensor] = [torch.empty(0)] * len(rows)
    with quiet_eval(loaded.model):
        for group in by_length(lengths, batch_size):
            batch = left_pad([rows[i] for i in group], loaded.pad_token, loaded.device)
            keep = max(len(tails[i]) for i in group) + 1
            logits = forward(loaded.model, batch, keep=keep).logits[:, :-1]
            for index, row in zip(group, logits, strict=True):
                count = len(tails[index])
                if count:
                    wanted = torch.tensor(tails[index], device=row.device)
                    scores = row[-count:].float().log_softmax(-1)
                    out[index] = scores.gather(-1, wanted[:, None])[:, 0].cpu()
    return out
