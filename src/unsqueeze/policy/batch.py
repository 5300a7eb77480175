"""The token batch: what an RL phase and an IRL phase both hand to the optimizer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unsqueeze.distributed.processes import Processes
from unsqueeze.policy.shared_prompts import SharedPrompts, num_read, shared_prompts

_WORTH_MORE_PARTS = 0.9
"""Rows are dealt by their prompts where this leaves at most this share of the tokens to read."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One response to learn from.

    ``weight`` is the weight of each of its tokens in the loss and holds every denominator (``algos.aggregation``).
    ``advantage`` is that of the response, or of each of its tokens.
    ``logp_proximal`` and ``logp_ref`` are per response token, in nats, at the temperature the loss is taken at.
    ``logp_behaviour`` is set where the trainer scores for itself: what the sampler gave. ``logp_proximal`` is then what
    the trainer gave for the policy that sampled, or None where that is the policy of this very step.
    ``distance_cost`` is what each nat costs by which a token's log-prob is away from the proximal one (KL-Cov).
    """

    prompt_tokens: NDArray[np.int32]
    tokens: NDArray[np.int32]
    weight: float
    advantage: float | NDArray[np.float32] = 0.0
    logp_proximal: NDArray[np.float32] | None = None
    logp_ref: NDArray[np.float32] | None = None
    logp_behaviour: NDArray[np.float32] | None = None
    distance_cost: NDArray[np.float32] | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_tokens) + len(self.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class TokenBatch:
    """A micro-batch as tensors. S is the padded length of what is read, T of the response alone.

    ``tokens_NS`` are prompts with their responses but the last token of the longest, which predicts nothing.
    ``mask_NT`` marks response tokens; response tensors are left-aligned. ``places`` are the positions in the flattened
    [N, T] grid that ``mask_NT`` marks, and ``sources`` the positions in the flattened [N, S] grid whose hidden state
    predicts each of them. ``shared`` are the same rows parted, where prompts are to be read once for many rows.
    """

    tokens_NS: Tensor
    responses_NT: Tensor
    mask_NT: Tensor
    sources: Tensor
    places: Tensor
    weights_N: Tensor
    advantages: Tensor
    logp_proximal_NT: Tensor | None
    logp_ref_NT: Tensor | None
    logp_behaviour_NT: Tensor | None
    distance_cost_NT: Tensor | None
    shared: SharedPrompts | None = None


def microbatches(rows: Sequence[Row], *, max_tokens: int, share_prompts: bool = False) -> list[list[int]]:
    """Indices of rows, cut so that rows × longest row stays within ``max_tokens`` (one row at least).

    Longest rows first; with ``share_prompts`` those of one prompt one after the other, where clearly fewer tokens are
    read so: it makes more micro-batches.
    """
    by_length = sorted(range(len(rows)), key=lambda i: (-rows[i].num_tokens, i))
    parts = _cut(by_length, rows, max_tokens)
    if not share_prompts or len(parts) < 2:
        return parts
    places: dict[bytes, int] = {}
    prompt_of_N = [0] * len(rows)
    for i in by_length:
        prompt_of_N[i] = places.setdefault(rows[i].prompt_tokens.tobytes(), len(places))
    by_prompt = _cut(sorted(by_length, key=prompt_of_N.__getitem__), rows, max_tokens)
    tokens = [sum(_num_read([rows[i] for i in part]) for part in some) for some in (parts, by_prompt)]
    return by_prompt if tokens[1] <= _WORTH_MORE_PARTS * tokens[0] else parts


def _cut(order: Sequence[int], rows: Sequence[Row], max_tokens: int) -> list[list[int]]:
    parts: list[list[int]] = []
    longest = 0
    for i in order:
        longest = max(longest, rows[i].num_tokens)
        if parts and (len(parts[-1]) + 1) * longest <= max_tokens:
            parts[-1].append(i)
        else:
            parts.append([i])
            longest = rows[i].num_tokens
    return parts


def _num_read(rows: Sequence[Row]) -> int:
    """The tokens that are read of a micro-batch whose prompts are shared where that pays."""
    width, length = max(len(row.tokens) for row in rows), _num_columns(rows)
    return num_read([row.prompt_tokens for row in rows], width, length)


def _num_columns(rows: Sequence[Row]) -> int:
    """What is read of the longest row: its last token predicts nothing."""
    return max(1, max(row.num_tokens for row in rows) - 1)


def shares(rows: Sequence[Row], num_processes: int) -> list[list[int]]:
    """Indices of rows for each process, with about the same number of tokens: longest rows first, each to the process
    that has least so far."""
    dealt: list[list[int]] = [[] for _ in range(num_processes)]
    tokens = [0] * num_processes
    for i in sorted(range(len(rows)), key=lambda i: (-rows[i].num_tokens, i)):
        process = tokens.index(min(tokens))
        dealt[process].append(i)
        tokens[process] += rows[i].num_tokens
    return dealt


def own_microbatches(
    rows: Sequence[Row], processes: Processes, *, max_tokens: int, share_prompts: bool = False
) -> list[list[int]]:
    """The micro-batches of this process's share of the rows, as indices (``microbatches``).

    Every process gets as many, so that they stay in step: where there are too few, empty ones at the end.
    """
    cut = partial(microbatches, max_tokens=max_tokens, share_prompts=share_prompts)
    if processes.size == 1:
        return cut(rows)
    of_each = [
        [[share[i] for i in indices] for indices in cut([rows[i] for i in share])]
        for share in shares(rows, processes.size)
    ]
    own = of_each[processes.rank]
    return own + [[]] * (max(map(len, of_each)) - len(own))


def rows_of(indices: Sequence[int], rows: Sequence[Row]) -> list[Row]:
    """The rows of a micro-batch; for an empty one the shortest of all, without weight."""
    return [rows[i] for i in indices] or [replace(min(rows, key=lambda row: row.num_tokens), weight=0.0)]


def logp_of_rows(indices: Sequence[int], rows: Sequence[Row], logp_NT: Tensor) -> dict[int, NDArray[np.float32]]:
    """The log-probs of each row of a micro-batch, by its index, without the padding."""
    arrays = zip(indices, logp_NT.cpu().numpy(), strict=bool(indices))
    return {i: logp_T[: len(rows[i].tokens)].copy() for i, logp_T in arrays}


def in_order(own: Mapping[int, NDArray[np.float32]], processes: Processes) -> list[NDArray[np.float32]]:
    """What each process has of some rows, for all rows in all processes."""
    everything = {i: logp_T for part in processes.gather(own) for i, logp_T in part.items()}
    return [everything[i] for i in range(len(everything))]


def collate(rows: Sequence[Row], *, pad: int, device: torch.device, share_prompts: bool = False) -> TokenBatch:
    """Right-pad rows into tensors on ``device``; with ``share_prompts`` parted too, where that pays.

    There is no attention mask: a causal model never looks at what stands to the right, so padding there is inert.
    """
    length_S = _num_columns(rows)
    length_T = max(len(row.tokens) for row in rows)
    num = len(rows)
    tokens = np.full((num, length_S), pad, dtype=np.int64)
    responses = np.full((num, length_T), pad, dtype=np.int64)
    mask = np.zeros((num, length_T), dtype=bool)
    sources = np.zeros((num, length_T), dtype=np.int64)
    for i, row in enumerate(rows):
        assert len(row.prompt_tokens) > 0, "the first token of a response needs one before it"
        prompt, response = len(row.prompt_tokens), len(row.tokens)
        read = np.concatenate([row.prompt_tokens, row.tokens])[:length_S]
        tokens[i, : len(read)] = read
        responses[i, :response] = row.tokens
        mask[i, :response] = True
        # The token at prompt + t is predicted from the position before it.
        sources[i, :response] = i * length_S + prompt - 1 + np.arange(response)

    def put(array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(device)

    return TokenBatch(
        tokens_NS=put(tokens),
        responses_NT=put(responses),
        mask_NT=put(mask),
        sources=put(sources[mask]),
        places=put(np.flatnonzero(mask)),
        weights_N=torch.tensor([row.weight for row in rows], dtype=torch.float32, device=device),
        advantages=_advantages(rows, length_T, device),
        logp_proximal_NT=_padded([row.logp_proximal for row in rows], length_T, device),
        logp_ref_NT=_padded([row.logp_ref for row in rows], length_T, device),
        logp_behaviour_NT=_padded([row.logp_behaviour for row in rows], length_T, device),
        distance_cost_NT=_padded([row.distance_cost for row in rows], length_T, device),
        shared=shared_prompts([row.prompt_tokens for row in rows], responses, length_S, device)
        if share_prompts
        else None,
    )


def _advantages(rows: Sequence[Row], length: int, device: torch.device) -> Tensor:
    """One advantage a row, shape [N], or where a row has one a token, of all tokens, [N, T]."""
    if all(isinstance(row.advantage, float) for row in rows):
        return torch.tensor([row.advantage for row in rows], dtype=torch.float32, device=device)
    spread = [np.broadcast_to(np.asarray(row.advantage, dtype=np.float32), len(row.tokens)) for row in rows]
    padded = _padded(spread, length, device)
    assert padded is not None
    return padded


def _padded(arrays: Sequence[NDArray[np.float32] | None], length: int, device: torch.device) -> Tensor | None:
    """Float vectors as one zero-padded tensor; None where no row has one (all rows have one, or none)."""
    present = [array for array in arrays if array is not None]
    if not present:
        return None
    assert len(present) == len(arrays), "some rows carry log-probs and some do not"
    padded = np.zeros((len(arrays), length), dtype=np.float32)
    for i, array in enumerate(present):
        padded[i, : len(array)] = array
    return torch.from_numpy(padded).to(device)
