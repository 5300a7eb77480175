"""Rows of a plain decoder that are decoded as one block, and the attention of several such cohorts side by side.

A step writes one column of a cohort's past, the same for all its rows, however many tokens each of them has. Rows that
begin later are aligned with the others at their last column, and their first columns are left out of what they read.
That is wasted work, so rows join a cohort only where its past is short, or not much longer than theirs. Products with
weights ask nothing of it: they are computed for the rows of all cohorts at once.

Axes: N rows, P prompts, K key heads, R query heads that read one key head, D width of a head, C columns of a prompt,
T columns of own tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from unsqueeze.rollout.shared_past import LayerPast, Seats

_SHORT = 64


class Cohort:
    """The ``pasts`` of the layers, and who reads them: each row belongs to a prompt, ``prompt_of_N``.

    ``prompts`` tells by identity which prompts of two cohorts are the same one. ``mask_PC`` marks the columns of the
    prompts, and ``first_N`` is the column of each row's first own token.
    """

    def __init__(
        self,
        pasts: Sequence[LayerPast],
        prompts: Sequence[object],
        prompt_of_N: Tensor,
        mask_PC: Tensor,
        first_N: Tensor,
    ) -> None:
        self._pasts = pasts
        self._prompts = list(prompts)
        self._prompt_of_N = prompt_of_N
        self._mask_PC = mask_PC
        self._first_N = first_N
        self._sit()

    @property
    def num_rows(self) -> int:
        return len(self._prompt_of_N)

    def take(self, index_N: Tensor, max_steps: int) -> "Cohort":
        """Rows of which none has grown yet, each any number of times, with room for ``max_steps`` tokens."""
        prompts, prompt_of_N = self._prompt_of_N.index_select(0, index_N).unique(return_inverse=True)
        pasts = [past.take(prompts, len(index_N), max_steps) for past in self._pasts]
        same = [self._prompts[place] for place in prompts.tolist()]
        return Cohort(pasts, same, prompt_of_N, self._mask_PC[prompts], torch.zeros_like(index_N))

    def may_be_joined(self, others: "Cohort") -> bool:
        """Tell whether rows that have grown less waste little as a part of this cohort."""
        longest = self._pasts[0].num_columns
        return longest <= max(_SHORT, 2 * others._pasts[0].num_columns)

    def join(self, others: "Cohort") -> None:
        """Put the rows of ``others``, which have grown no more, behind the own; a prompt of both is kept once."""
        places = {prompt: place for place, prompt in enumerate(self._prompts)}
        new = [place for place, prompt in enumerate(others._prompts) if prompt not in places]
        places |= {others._prompts[place]: len(self._prompts) + number for number, place in enumerate(new)}
        new_P = torch.tensor(new, dtype=torch.long, device=self._first_N.device)
        place_P = torch.tensor([places[prompt] for prompt in others._prompts], device=self._first_N.device)
        self._prompts += [others._prompts[place] for place in new]
        self._prompt_of_N = torch.cat([self._prompt_of_N, place_P[others._prompt_of_N]])
        before = self._pasts[0].num_columns - others._pasts[0].num_columns
        self._first_N = torch.cat([self._first_N, others._first_N + before])
        if new:
            columns = max(self._mask_PC.shape[1], others._mask_PC.shape[1])
            masks = (self._mask_PC, others._mask_PC[new_P])
            self._mask_PC = torch.cat([pad(mask, (0, columns - mask.shape[1])) for mask in masks])
        for past, further in zip(self._pasts, others._pasts, strict=True):
            past.join(further, new_P)
        self._sit()

    def keep(self, index_N: Tensor) -> None:
        """Drop all rows but these."""
        prompts, self._prompt_of_N = self._prompt_of_N[index_N].unique(return_inverse=True)
        self._first_N = self._first_N[index_N]
        first = int(self._first_N.min())
        self._first_N = self._first_N - first
        for past in self._pasts:
            past.keep(index_N, prompts, first)
        self._mask_PC = self._mask_PC[prompts]
        self._prompts = [self._prompts[place] for place in prompts.tolist()]
        self._sit()

    def attend(self, layer: int, query_KNRD: Tensor, keys_NKD: Tensor, values_NKD: Tensor) -> Tensor:
        """Remember one more token of every row in a layer, and read its past, shape KNRD."""
        past = self._pasts[layer]
        past.write(keys_NKD, values_NKD)
        return past.attend(query_KNRD, self._seats, self._bias_P1C, self._bias_N1T)

    def _sit(self) -> None:
        """Work out what holds until rows come or go: who sits where, and what is left out."""
        self._seats = Seats(self._prompt_of_N)
        self._bias_P1C = self._bias(self._mask_PC)
        columns = torch.arange(int(self._first_N.max()), device=self._first_N.device)
        self._bias_N1T = self._bias(columns >= self._first_N.unsqueeze(-1))

    def _bias(self, mask: Tensor) -> Tensor | None:
        """Minus infinity where the mask is 0, and 0 elsewhere, by rows; None where it is 0 nowhere."""
        if bool(mask.all()):
            return None
        zeros = torch.zeros(mask.shape, dtype=self._pasts[0].dtype, device=mask.device)
        return zeros.masked_fill(mask == 0, float("-inf")).unsqueeze(1)


def joined(cohorts: Sequence[Cohort]) -> list[Cohort]:
    """Join each of the cohorts, the oldest first, to the one before it where that wastes little."""
    left = [cohorts[0]]
    for cohort in cohorts[1:]:
        if left[-1].may_be_joined(cohort):
            left[-1].join(cohort)
        else:
            left.append(cohort)
    return left


def attend(cohorts: Sequence[Cohort], layer: int, query_KNRD: Tensor, keys_NKD: Tensor, values_NKD: Tensor) -> Tensor:
    """Let each cohort attend with its share of the rows, which are in the order of the cohorts, shape KNRD."""
    if len(cohorts) == 1:
        return cohorts[0].attend(layer, query_KNRD, keys_NKD, values_NKD)
    sizes = [cohort.num_rows for cohort in cohorts]
    shares = zip(cohorts, query_KNRD.split(sizes, dim=1), keys_NKD.split(sizes), values_NKD.split(sizes), strict=True)
    return torch.cat([cohort.attend(layer, *share) for cohort, *share in shares], dim=1)
