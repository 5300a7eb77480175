"""A batch of sequences in the middle of generation, whatever memory of the past their model keeps.

``prefill`` reads the prompts once and gives rows, one a prompt. ``take`` repeats rows, ``keep`` drops rows, ``step``
feeds one token a row and gives the logits of the next.

- ``CachedRows``: the key-value cache that the model itself makes (attention, sliding windows, linear attention and
  their mixtures all know how to reorder their rows).
- ``RecomputedRows``: for a model that returns no cache, or one of a kind of its own. Every step reads the whole
  sequence again: slow, and right.
- ``PlainRows`` (``plain_rows``): for a plain decoder, whose step is written out.
- ``SwitchingRows``: for a model that encodes positions otherwise once a sequence is longer than some length (longrope).
  What was read before is then read again, as ``generate`` of transformers does.

Axes: P prompts, N rows, T tokens, V vocabulary.
"""

import copy
import inspect
from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from unsqueeze.policy.caches import cache_argument, cache_of
from unsqueeze.policy.context import rope_switch
from unsqueeze.rollout.kv import BufferedLayer
from unsqueeze.rollout.plain_decoder import PlainDecoder
from unsqueeze.rollout.plain_rows import PlainRows

PREFILL_TOKENS = 32_768
"""Sequences that are read together hold at most this many tokens, padding included: bounds the activations."""

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
        forward = _unwrapped(model).forward
        accepted = inspect.signature(forward).parameters
        self._cache_argument = cache_argument(forward)
        self.takes_positions = "position_ids" in accepted
        self.switch = rope_switch(model)
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self.mixes_lengths = {"attention_mask", "position_ids"} <= accepted.keys() and _only_attention(model)
        """Tell whether prompts of different lengths may share a batch, padded on the left."""
        self.decoder: PlainDecoder | None = None
        """The step of the model written out, where there is one, while the weights stay as they are."""

    def may_mix(self, longest: int) -> bool:
        """Tell whether prompts of different lengths may share a batch in which no row grows beyond ``longest``."""
        return self.mixes_lengths and (self.switch is None or longest <= self.switch)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def vocabulary(self) -> int:
        """Number of token ids that the model can read."""
        embeddings: Any = cast(Any, self.model).get_input_embeddings()
        return int(embeddings.num_embeddings)

    def __call__(self, input_ids: Tensor, cache: Any = None, **inputs: Any) -> tuple[Tensor, Any]:
        """The logits at the last position, shape NV, and the cache (None where the model gives none)."""
        if cache is not None:
            inputs[self._cache_argument] = cache
        output = self.model(input_ids=input_ids, **self._last_only, **inputs)
        return output.logits[:, -1], cache_of(output)


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
    if network.decoder is not None:
        logits_PV, cache = network(tokens_PT, use_cache=True, **_mask_inputs(mask_PT))
        next_P = torch.tensor(lengths, device=network.device)
        return PlainRows.read(network.decoder, logits_PV, cache, next_P, mask_PT)
    rows = _read(network, tokens_PT, mask_PT)
    if isinstance(rows, CachedRows) and network.switch is not None and mask_PT is None and longest <= network.switch:
        return SwitchingRows(network, rows, tokens_PT)
    return rows


def _read(network: Network, tokens_PT: Tensor, mask_PT: Tensor | None) -> "CachedRows | RecomputedRows":
    logits_PV, cache = network(tokens_PT, use_cache=True, **_mask_inputs(mask_PT))
    # A cache of another kind keeps something beside its layers, which only its model knows how to reorder.
    if isinstance(cache, Cache) and vars(cache).keys() == vars(DynamicCache()).keys():
        return CachedRows(network, logits_PV, cache, mask_PT, tokens_PT.shape[1])
    return RecomputedRows(network, logits_PV, tokens_PT, mask_PT)


class CachedRows:
    """Rows whose past, of ``length`` columns, is in the model's key-value cache. ``mask_NT`` is None where no row is
    padded.
    """

    def __init__(self, network: Network, logits_NV: Tensor, cache: Cache, mask_NT: Tensor | None, length: int) -> None:
        self._network = network
        self.logits_NV = logits_NV
        self._cache = cache
        self._mask_NT = mask_NT
        self._length = length

    def take(self, index_N: Tensor, max_steps: int) -> "CachedRows":
        cache = copy.copy(self._cache)
        cache.layers = [_taken_layer(layer, index_N, max_steps) for layer in self._cache.layers]
        mask_NT = _kept_mask(self._mask_NT, index_N)
        return CachedRows(self._network, self.logits_NV[index_N], cache, mask_NT, self._length)

    @staticmethod
    def joined(parts: Sequence["CachedRows"], max_steps: int) -> "CachedRows":
        """The rows of all ``parts``, of one length and none padded, as a batch that takes ``max_steps`` more steps."""
        first = parts[0]
        cache = copy.copy(first._cache)
        cache.layers = [
            _joined_layer(layers, max_steps) for layers in zip(*(part._cache.layers for part in parts), strict=True)
        ]
        logits_NV = torch.cat([part.logits_NV for part in parts])
        return CachedRows(first._network, logits_NV, cache, None, first._length)

    def keep(self, index_N: Tensor) -> None:
        self.logits_NV = self.logits_NV[index_N]
        self._cache.reorder_cache(cast(torch.LongTensor, index_N))
        self._mask_NT = _kept_mask(self._mask_NT, index_N)

    def step(self, tokens_N: Tensor) -> None:
        self._mask_NT = _grown_mask(self._mask_NT)
        inputs = _mask_inputs(self._mask_NT)
        if self._mask_NT is not None:
            inputs["position_ids"] = inputs["position_ids"][:, -1:]
        elif self._network.takes_positions:  # a model may count them wrongly by itself (Bamba)
            inputs["position_ids"] = torch.full_like(tokens_N, self._length).unsqueeze(-1)
        self._length += 1
        self.logits_NV, _ = self._network(tokens_N.unsqueeze(-1), self._cache, use_cache=True, **inputs)


class SwitchingRows:
    """Rows of one length, none padded, of a model that encodes positions otherwise beyond ``network.switch`` tokens.

    ``rows`` are the same rows as they are now, which will take up to ``steps_left`` steps more.
    """

    def __init__(self, network: Network, rows: Rows, tokens_NT: Tensor, steps_left: int = 0) -> None:
        assert network.switch is not None
        self._network = network
        self._switch = network.switch
        self._rows = rows
        self.logits_NV = rows.logits_NV
        self._tokens_NT = tokens_NT
        self._steps_left = steps_left

    def take(self, index_N: Tensor, max_steps: int) -> "SwitchingRows":
        in_the_short_way = min(max_steps, self._switch - self._tokens_NT.shape[1])
        rows = self._rows.take(index_N, in_the_short_way)
        return SwitchingRows(self._network, rows, self._tokens_NT[index_N], max_steps)

    def keep(self, index_N: Tensor) -> None:
        self._rows.keep(index_N)
        self.logits_NV = self._rows.logits_NV
        self._tokens_NT = self._tokens_NT[index_N]

    def step(self, tokens_N: Tensor) -> None:
        self._tokens_NT = torch.cat([self._tokens_NT, tokens_N.unsqueeze(-1)], dim=-1)
        self._steps_left -= 1
        if self._tokens_NT.shape[1] == self._switch + 1:
            self._rows = _read_in_parts(self._network, self._tokens_NT, self._steps_left)
        else:
            self._rows.step(tokens_N)
        self.logits_NV = self._rows.logits_NV


def _read_in_parts(network: Network, tokens_NT: Tensor, max_steps: int) -> Rows:
    """Read rows of one length a few at a time, and put what was read together."""
    parts = [_read(network, part, None) for part in tokens_NT.split(max(1, PREFILL_TOKENS // tokens_NT.shape[1]))]
    if not all(isinstance(part, CachedRows) for part in parts):
        return RecomputedRows(network, torch.cat([part.logits_NV for part in parts]), tokens_NT, None)
    return CachedRows.joined(cast("list[CachedRows]", parts), max_steps)


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
    if type(layer) is DynamicLayer and layer.is_initialized:
        return BufferedLayer(layer, index_N, max_steps)
    taken = copy.deepcopy(layer)
    taken.reorder_cache(index_N)
    return taken


def _joined_layer(layers: Sequence[Any], max_steps: int) -> Any:
    """Layers of attention, of as many tokens each, one below the other, as one."""
    joined = copy.copy(layers[0])
    joined.keys = torch.cat([layer.keys for layer in layers])
    joined.values = torch.cat([layer.values for layer in layers])
    return _taken_layer(joined, torch.arange(len(joined.keys), device=joined.keys.device), max_steps)


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
    remembered. Attention in chunks (Llama 4) is not: padding shifts where they begin.
    """
    config = getattr(model, "config", None)
    if config is None or getattr(model, "_is_stateful", False):
        return False
    if getattr(config.get_text_config(decoder=True), "attention_chunk_size", None) is not None:
        return False
    layers = DynamicCache(config=config).layers
    return all(type(layer) in _MASKABLE_LAYERS for layer in layers)
