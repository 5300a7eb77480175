"""A batch of sequences in the middle of generation, whatever memory of the past their model keeps.

``prefill`` reads the prompts once and gives rows, one a prompt. ``take`` repeats rows, ``keep`` drops rows, ``step``
feeds one token a row and gives the logits of the next.

- ``CachedRows``: the key-value cache that the model itself makes (attention, sliding windows, linear attention and
  their mixtures all know how to reorder their rows).
- ``RecomputedRows``: for a model that returns no cache. Every step reads the whole sequence again: slow, and right.

Axes: P prompts, N rows, T tokens, V vocabulary.
"""

import copy
import inspect
from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from unsqueeze.rollout.kv import BufferedLayer

# Attention over masked columns is exact; a recurrent state has no columns to mask.
_MASKABLE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)


class Rows(Protocol):
    """Sequences that grow by one token a step. ``logits_NV`` are those of the next token."""

    logits_NV: Tensor

    def take(self, index_N: Tensor, max_steps: int) -> "Rows": ...

    def keep(self, index_N: Tensor) -> None: ...

    def step(self, tokens_N: Tensor) -> None: ...


class Network:
    """A causal language model as rows need it: what its ``forward`` accepts, and one call of it."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        accepted = inspect.signature(_unwrapped(model).forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self.mixes_lengths = {"attention_mask", "position_ids"} <= accepted.keys() and _only_attention(model)
        """Tell whether prompts of different lengths may share a batch, padded on the left."""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def vocabulary(self) -> int:
        """Number of token ids that the model can read."""
        embeddings: Any = cast(Any, self.model).get_input_embeddings()
        return int(embeddings.num_embeddings)

    def __call__(self, input_ids: Tensor, **inputs: Any) -> tuple[Tensor, Any]:
        """The logits at the last position, shape NV, and the cache (None where the model gives none)."""
        output = self.model(input_ids=input_ids, **self._last_only, **inputs)
        return output.logits[:, -1], getattr(output, "past_key_values", None)


def prefill(network: Network, prompts: Sequence[Sequence[int]]) -> Rows:
    """Reads each prompt once. Prompts of different lengths need ``network.mixes_lengths``."""
    lengths = [len(prompt) for prompt in prompts]
    longest = max(lengths)
    if min(lengths) == longest:
        tokens_PT = torch.tensor(prompts, device=network.device)
        mask_PT = None
    else:
        assert network.mixes_lengths
        # Padding goes to the left, so that every row's last token is in the last column; the pad id is never looked at.
        tokens_PT = torch.tensor([[0] * (longest - len(p)) + list(p) for p in prompts], device=network.device)
        pad_P = longest - torch.tensor(lengths, device=network.device)
        mask_PT = (torch.arange(longest, device=network.device) >= pad_P.unsqueeze(-1)).long()
    logits_PV, cache = network(tokens_PT, use_cache=True, **_mask_inputs(mask_PT))
    if isinstance(cache, Cache):
        return CachedRows(network, logits_PV, cache, mask_PT)
    return RecomputedRows(network, logits_PV, tokens_PT, mask_PT)


class CachedRows:
    """Rows whose past is in the model's key-value cache. ``mask_NT`` is None where no row is padded."""

    def __init__(self, network: Network, logits_NV: Tensor, cache: Cache, mask_NT: Tensor | None) -> None:
        self._network = network
        self.logits_NV = logits_NV
        self._cache = cache
        self._mask_NT = mask_NT

    def take(self, index_N: Tensor, max_steps: int) -> "CachedRows":
        cache = copy.copy(self._cache)
        cache.layers = [_taken_layer(layer, index_N, max_steps) for layer in self._cache.layers]
        return CachedRows(self._network, self.logits_NV[index_N], cache, _kept_mask(self._mask_NT, index_N))

    def keep(self, index_N: Tensor) -> None:
        self.logits_NV = self.logits_NV[index_N]
        self._cache.reorder_cache(cast(torch.LongTensor, index_N))
        self._mask_NT = _kept_mask(self._mask_NT, index_N)

    def step(self, tokens_N: Tensor) -> None:
        self._mask_NT = _grown_mask(self._mask_NT)
        inputs = {
            name: value[:, -1:] if name == "position_ids" else value
            for name, value in _mask_inputs(self._mask_NT).items()
        }
        self.logits_NV, _ = self._network(tokens_N.unsqueeze(-1), past_key_values=self._cache, use_cache=True, **inputs)


class RecomputedRows:
    """Rows whose whole sequence is read again at every step. ``mask_NT`` is None where no row is padded."""

    def __init__(self, network: Network, logits_NV: Tensor, tokens_NT: Tensor, mask_NT: Tensor | None) -> None:
        self._network = network
        self.logits_NV = logits_NV
        self._tokens_NT = tokens_NT
        self._mask_NT = mask_NT

    def take(self, index_N: Tensor, max_steps: int) -> "RecomputedRows":
        rows = RecomputedRows(self._network, self.logits_NV, self._tokens_NT, self._mask_NT)
        rows.keep(index_N)
        return rows

    def keep(self, index_N: Tensor) -> None:
        self.logits_NV = self.logits_NV[index_N]
        self._tokens_NT = self._tokens_NT[index_N]
        self._mask_NT = _kept_mask(self._mask_NT, index_N)

    def step(self, tokens_N: Tensor) -> None:
        self._tokens_NT = torch.cat([self._tokens_NT, tokens_N.unsqueeze(-1)], dim=-1)
        self._mask_NT = _grown_mask(self._mask_NT)
        self.logits_NV, _ = self._network(self._tokens_NT, use_cache=False, **_mask_inputs(self._mask_NT))


def _taken_layer(layer: Any, index_N: Tensor, max_steps: int) -> Any:
    """Some rows of a cache layer, as a layer of its own: buffered where it is plain attention."""
    if type(layer) is DynamicLayer:
        return BufferedLayer(layer, index_N, max_steps)
    taken = copy.deepcopy(layer)
    taken.reorder_cache(index_N)
    return taken


def _mask_inputs(mask_NT: Tensor | None) -> dict[str, Tensor]:
    """The mask and the positions it implies, from 0 at each row's first real token; nothing where no row is padded."""
    if mask_NT is None:
        return {}
    return {"attention_mask": mask_NT, "position_ids": (mask_NT.cumsum(-1) - 1).clamp(min=0)}


def _grown_mask(mask_NT: Tensor | None) -> Tensor | None:
    """The mask with a column for the token that each row is about to read."""
    return None if mask_NT is None else nn.functional.pad(mask_NT, (0, 1), value=1)


def _kept_mask(mask_NT: Tensor | None, index_N: Tensor) -> Tensor | None:
    """The mask of some rows; None once none of them is padded, which spares the model a mask at every step."""
    if mask_NT is None:
        return None
    kept_NT = mask_NT[index_N]
    return None if bool(kept_NT.all()) else kept_NT


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model inside a PEFT wrapper, whose own ``forward`` names no arguments."""
    base = getattr(model, "get_base_model", None)
    return base() if callable(base) else model


def _only_attention(model: nn.Module) -> bool:
    """Tell whether every layer of the model's cache is plain or sliding-window attention, and nothing else is
    remembered.
    """
    config = getattr(model, "config", None)
    if config is None or getattr(model, "_is_stateful", False):
        return False
    layers = DynamicCache(config=config).layers
    return all(type(layer) in _MASKABLE_LAYERS for layer in layers)
