"""The rows of a call that wait to begin: n of every prompt, shortest prompts first.

Axes: P prompts, N rows, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unsqueeze.rollout.rows import PREFILL_TOKENS, Network, Rows, prefill
from unsqueeze.rollout.sampling import token_uniforms


@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """Rows that begin together. Row i of prompt p has the number p·n + i.

    ``noise_NT`` holds the uniform number that decides each draw.
    """

    rows: Rows
    numbers: list[int]
    noise_NT: Tensor


class Queue:
    """Rows that wait. The prompts of as many rows as fit ``max_rows`` are read together, when the first of them begin.

    What is drawn for a prompt depends on its seed alone (``sampling``), not on when its rows begin.
    """

    def __init__(
        self,
        network: Network,
        prompts: Sequence[Sequence[int]],
        n: int,
        *,
        seeds: Sequence[int],
        num_tokens: int,
        max_rows: int,
    ) -> None:
        self._network = network
        self._prompts = prompts
        self._n = n
        self._seeds = seeds
        self._num_tokens = num_tokens
        self._max_rows = max_rows
        self._unread = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
        self._mix_lengths = network.may_mix(max(map(len, prompts), default=0) + num_tokens)
        self._read: Portion | None = None  # the prompts read last, one row each, with the numbers of all their rows
        self._num_begun = 0  # of these rows

    def __len__(self) -> int:
        read = 0 if self._read is None else len(self._read.numbers) - self._num_begun
        return len(self._unread) * self._n + read

    def take(self, most: int) -> Portion:
        """Begin ``most`` rows at most: those of as many prompts as fit, or some of one that has more."""
        read = self._read or self._read_on()
        most = most // self._n * self._n or most
        begin = torch.arange(self._num_begun, min(self._num_begun + most, len(read.numbers)))
        rows = read.rows.take((begin // self._n).to(self._network.device), max_steps=self._num_tokens - 1)
        self._num_begun += len(begin)
        self._read = read if self._num_begun < len(read.numbers) else None
        return Portion(rows, [read.numbers[i] for i in begin.tolist()], read.noise_NT[begin])

    def _read_on(self) -> Portion:
        lengths = [len(self._prompts[place]) for place in self._unread]
        count = next_prompts(lengths, self._n, self._max_rows, mix_lengths=self._mix_lengths)
        places, self._unread = self._unread[:count], self._unread[count:]
        self._num_begun = 0
        return Portion(
            prefill(self._network, [self._prompts[place] for place in places]),
            [place * self._n + index for place in places for index in range(self._n)],
            torch.cat([token_uniforms(self._n, self._num_tokens, seed=self._seeds[place]) for place in places]),
        )


def next_prompts(lengths: Sequence[int], n: int, most: int, *, mix_lengths: bool) -> int:
    """Choose how many of the first prompts are read together, of lengths that do not fall.

    Their rows, ``n`` each, stay within ``most`` and their padded tokens within 32,768, or it is one prompt alone. Where
    lengths may not mix, they are of one length.
    """
    count = 1
    while (
        count < len(lengths)
        and (count + 1) * n <= most
        and (count + 1) * lengths[count] <= PREFILL_TOKENS
        and (mix_lengths or lengths[count] == lengths[0])
    ):
        count += 1
    return count
