"""Rows of a plain decoder: prompts that the model itself has read, grown by the step that is written out.

Axes: N rows, P prompts, C columns of a prompt, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unsqueeze.policy.caches import cache_of
from unsqueeze.policy.context import context_length
from unsqueeze.policy.rounding import agree_to_rounding
from unsqueeze.policy.shared_prompts import remembers_places_alone
from unsqueeze.rollout.cohort import Cohort, joined
from unsqueeze.rollout.plain_decoder import PlainDecoder
from unsqueeze.rollout.shared_past import LayerPast


class PlainRows:
    """Implements ``Rows``: those of one or more ``cohorts``, in their order.

    ``next_N`` are the positions of the tokens that will be read next.
    """

    def __init__(self, decoder: PlainDecoder, logits_NV: Tensor, cohorts: Sequence[Cohort], next_N: Tensor) -> None:
        self._decoder = decoder
        self.logits_NV = logits_NV
        self._cohorts = list(cohorts)
        self._next_N = next_N
        self._arrange()

    @classmethod
    def read(
        cls, decoder: PlainDecoder, logits_PV: Tensor, cache: Any, next_P: Tensor, mask_PC: Tensor | None
    ) -> "PlainRows":
        """A row for each prompt, of which the model itself left ``cache``. ``mask_PC`` marks the
        prompts' columns (None: all)."""
        pasts = [LayerPast.read(layer.keys.to(decoder.dtype), layer.values.to(decoder.dtype)) for layer in cache.layers]
        prompt_of_P = torch.arange(len(logits_PV), device=logits_PV.device)
        if mask_PC is None:
            mask_PC = next_P.new_ones((len(next_P), pasts[0].num_prompt_columns))
        cohort = Cohort(pasts, [object() for _ in next_P], prompt_of_P, mask_PC, torch.zeros_like(prompt_of_P))
        return cls(decoder, logits_PV, [cohort], next_P)

    def take(self, index_N: Tensor, max_steps: int) -> "PlainRows":
        """Rows of one cohort that has not grown, each any number of times, with room for ``max_steps`` tokens."""
        (cohort,) = self._cohorts
        logits_NV, next_N = self.logits_NV.index_select(0, index_N), self._next_N.index_select(0, index_N)
        return PlainRows(self._decoder, logits_NV, [cohort.take(index_N, max_steps)], next_N)

    def join(self, others: "PlainRows") -> None:
        """Put rows that began later behind the own."""
        self.logits_NV = torch.cat([self.logits_NV, others.logits_NV])
        self._cohorts = joined([*self._cohorts, *others._cohorts])
        self._next_N = torch.cat([self._next_N, others._next_N])
        self._arrange()

    def keep(self, index_N: Tensor) -> None:
        staying, first = [], 0
        for cohort in self._cohorts:
            end = first + cohort.num_rows
            own_N = index_N[(index_N >= first) & (index_N < end)] - first
            if 0 < len(own_N) < cohort.num_rows:
                cohort.keep(own_N)
            if len(own_N):
                staying.append(cohort)
            first = end
        self._cohorts = staying
        self.logits_NV = self.logits_NV[index_N]
        self._next_N = self._next_N[index_N]
        self._arrange()

    def step(self, tokens_N: Tensor) -> None:
        positions = self._next_N[:1] if self._stand_alike else self._next_N
        self.logits_NV = self._decoder.logits(tokens_N, positions, self._cohorts)
        self._next_N = self._next_N + 1

    def _arrange(self) -> None:
        """Work out what holds until rows come or go: whether all stand at one position."""
        self._stand_alike = bool((self._next_N == self._next_N[0]).all())


@torch.no_grad()
def steps_as_the_model(model: nn.Module) -> bool:
    """Tell whether the step that is written out gives the logits of the model itself.

    All that it remembers must be keys and values of plain attention, encoded by their places alone. Whether the steps
    agree is asked of the model, in fp32: three short rows, one of them padded, from the first position on and up to the
    last that it knows, since a model may weigh far positions otherwise.
    """
    if next(model.parameters()).dtype is not torch.float32:
        return False
    try:
        if not remembers_places_alone(model.config):
            return False
        length = context_length(model) or 64
        decoder = PlainDecoder(model, length)
        return all(_steps_alike(model, decoder, start) for start in (0, length - 8))
    except Exception:  # noqa: BLE001 - whatever is missing in a family or its code raises, it goes its own way
        return False


def _steps_alike(model: Any, decoder: PlainDecoder, start: int) -> bool:
    """Compare logits after prompts of 3 and 1 tokens and two steps of three rows, from position ``start`` on."""
    device = next(model.parameters()).device
    prompts_PC = torch.tensor([[1, 2, 3], [0, 0, 2]], device=device)
    mask_PC = torch.tensor([[1, 1, 1], [0, 0, 1]], device=device)
    responses_NT = torch.tensor([[2, 3], [1, 1], [3, 1]], device=device)
    prompt_of_N = torch.tensor([0, 1, 0], device=device)
    places_PC = start + (mask_PC.cumsum(-1) - 1).clamp(min=0)
    output = model(input_ids=prompts_PC, attention_mask=mask_PC, position_ids=places_PC, use_cache=True)
    next_P = places_PC[:, -1] + 1
    rows = PlainRows.read(decoder, output.logits[:, -1], cache_of(output), next_P, mask_PC).take(prompt_of_N, 2)
    rows.step(responses_NT[:, 0])
    rows.step(responses_NT[:, 1])
    tokens_NS = torch.cat([prompts_PC[prompt_of_N], responses_NT], dim=1)
    mask_NS = torch.cat([mask_PC[prompt_of_N], torch.ones_like(responses_NT)], dim=1)
    own_NT = next_P[prompt_of_N, None] + torch.arange(2, device=device)
    places_NS = torch.cat([places_PC[prompt_of_N], own_NT], dim=1)
    whole = model(input_ids=tokens_NS, attention_mask=mask_NS, position_ids=places_NS, use_cache=False)
    return agree_to_rounding(rows.logits_NV, whole.logits[:, -1])
