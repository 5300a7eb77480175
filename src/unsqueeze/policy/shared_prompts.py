"""Prompts that many rows of a micro-batch begin with, read once instead of once a row.

The keys and values that a causal model makes of a prompt depend on the prompt alone. So each different prompt is read
once, the cache that this leaves is repeated for the rows that begin with it, and their responses are read behind it.
Log-probs and gradients are those of the rows read whole, to rounding: what flows back through the repeated cache adds
up in the prompt. The last token of a response predicts nothing and is not read.

Axes: N rows, P different prompts, S tokens of the longest prompt, T tokens of the longest response, H hidden.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from unsqueeze.policy.caches import cache_argument
from unsqueeze.policy.rounding import agree_to_rounding

_WORTH = 0.85
"""Prompts are shared where this leaves at most this share of the tokens to read: the layers are passed twice."""


@dataclass(frozen=True, slots=True, eq=False)
class SharedPrompts:
    """The rows of a micro-batch in two parts: prompts, and what of the responses is read.

    Prompts are padded on the left, and ``mask_PS`` marks their tokens (None: none is padded). ``inputs_NR``, the
    responses without their last column (R = T - 1), are padded on the right, where padding is inert, and stand at
    ``positions_NR``. ``prompt_of_N`` are the rows' places among the prompts.
    """

    prompts_PS: Tensor
    mask_PS: Tensor | None
    prompt_of_N: Tensor
    inputs_NR: Tensor
    positions_NR: Tensor


def shared_prompts(
    prompts: Sequence[NDArray[np.int32]], responses_NT: NDArray[np.int64], length: int, device: torch.device
) -> SharedPrompts | None:
    """Part rows of which ``length`` tokens would be read whole; None where that leaves too many tokens to read."""
    place_of: dict[bytes, int] = {}
    prompt_of_N = [place_of.setdefault(prompt.tobytes(), len(place_of)) for prompt in prompts]
    distinct = [np.frombuffer(key, dtype=np.int32) for key in place_of]
    num_rows, width = responses_NT.shape
    longest = max(map(len, distinct))
    if not _is_worth_it(len(distinct), longest, num_rows, width, length):
        return None
    prompts_PS = np.zeros((len(distinct), longest), dtype=np.int64)
    mask_PS = np.zeros((len(distinct), longest), dtype=np.int64)
    for place, prompt in enumerate(distinct):
        prompts_PS[place, longest - len(prompt) :] = prompt
        mask_PS[place, longest - len(prompt) :] = 1
    starts_N = np.array([len(prompt) for prompt in prompts])
    # Padding behind a long prompt must not stand where a model knows no position any more.
    positions_NR = np.minimum(starts_N[:, None] + np.arange(width - 1), length - 1)
    return SharedPrompts(
        prompts_PS=torch.from_numpy(prompts_PS).to(device),
        mask_PS=None if mask_PS.all() else torch.from_numpy(mask_PS).to(device),
        prompt_of_N=torch.tensor(prompt_of_N, device=device),
        inputs_NR=torch.from_numpy(np.ascontiguousarray(responses_NT[:, :-1])).to(device),
        positions_NR=torch.from_numpy(positions_NR).to(device),
    )


def num_read(prompts: Sequence[NDArray[np.int32]], width: int, length: int) -> int:
    """Count the tokens that are read of a micro-batch, padding included, whole or in parts (``shared_prompts``).

    ``width`` is the longest response, and ``length`` what is read of the longest row.
    """
    distinct = {prompt.tobytes() for prompt in prompts}
    longest = max(map(len, prompts))
    if _is_worth_it(len(distinct), longest, len(prompts), width, length):
        return _num_in_parts(len(distinct), longest, len(prompts), width)
    return len(prompts) * length


def _is_worth_it(num_prompts: int, longest: int, num_rows: int, width: int, length: int) -> bool:
    return width > 1 and _num_in_parts(num_prompts, longest, num_rows, width) <= _WORTH * num_rows * length


def _num_in_parts(num_prompts: int, longest: int, num_rows: int, width: int) -> int:
    return num_prompts * longest + num_rows * (width - 1)


def read_in_parts(body: nn.Module, config: Any, parts: SharedPrompts) -> Tensor:
    """The hidden states that predict the tokens of the responses, shape [N, T, H]: of each prompt's last token, then of
    the response's own but the last.
    """
    cache = DynamicCache(config=config)
    taken = {cache_argument(body.forward): cache, "use_cache": True}
    mask_PS = parts.mask_PS
    masked = {} if mask_PS is None else {"attention_mask": mask_PS, "position_ids": _positions(mask_PS)}
    prompts = body(input_ids=parts.prompts_PS, **taken, **masked)
    last_NH = prompts.last_hidden_state[:, -1].index_select(0, parts.prompt_of_N)
    for layer in cache.layers:
        assert isinstance(layer, DynamicLayer)
        layer.keys = _Repeated.apply(layer.keys, parts.prompt_of_N)
        layer.values = _Repeated.apply(layer.values, parts.prompt_of_N)
    if mask_PS is not None:
        own_NR = torch.ones_like(parts.inputs_NR)
        masked = {"attention_mask": torch.cat([mask_PS.index_select(0, parts.prompt_of_N), own_NR], dim=1)}
    responses = body(
        input_ids=parts.inputs_NR,
        position_ids=parts.positions_NR,
        **taken,
        **{name: value for name, value in masked.items() if name != "position_ids"},
    )
    return torch.cat([last_NH.unsqueeze(1), responses.last_hidden_state], dim=1)


class _Repeated(torch.autograd.Function):
    """``index_select`` of rows, whose gradient is laid out before it is added up: that of the repeated cache is a slice
    of a larger one, and PyTorch would add it element by element.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, index_N: Tensor) -> Tensor:
        ctx.save_for_backward(index_N)
        ctx.num_rows = len(values)
        return values.index_select(0, index_N)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (index_N,) = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        sums = gradient.new_zeros((ctx.num_rows, *gradient.shape[1:]))
        return sums.index_add_(0, index_N, gradient), None


@torch.no_grad()
def reads_in_parts(body: nn.Module, config: Any, device: torch.device) -> bool:
    """Tell whether a model reads rows in two parts as it reads them whole.

    All that it remembers of a prompt must be keys and values of plain attention, encoded by their places alone; whether
    it then does is asked of the model itself, on three short rows.
    """
    accepted = inspect.signature(body.forward).parameters
    if not {"attention_mask", "position_ids", cache_argument(body.forward), "use_cache"} <= accepted.keys():
        return False
    if getattr(body, "_is_stateful", False):
        return False
    try:
        return remembers_places_alone(config) and _reads_alike(body, config, device)
    except Exception:  # noqa: BLE001 - whatever the code of a family raises, it reads rows whole as before
        return False


def _reads_alike(body: nn.Module, config: Any, device: torch.device) -> bool:
    short, long = np.array([1], dtype=np.int32), np.array([2, 3, 1], dtype=np.int32)
    prompts, responses_NT = [short, long, long], np.array([[3, 2, 1], [1, 2, 3], [2, 2, 1]])
    parts = shared_prompts(prompts, responses_NT, 6, device)
    assert parts is not None
    read_NTH = read_in_parts(body, config, parts)
    for prompt, response_T, read_TH in zip(prompts, responses_NT, read_NTH, strict=True):
        tokens = torch.tensor([[*prompt.tolist(), *response_T.tolist()]], device=device)
        hidden_TH = body(input_ids=tokens, use_cache=False).last_hidden_state[0, len(prompt) - 1 : -1]
        if not agree_to_rounding(read_TH, hidden_TH):
            return False
    return True


def remembers_places_alone(config: Any) -> bool:
    """Tell it by the kinds of memory of a model's layers, and by how it encodes positions."""
    text = config.get_text_config(decoder=True)
    rope = getattr(text, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, Mapping))]
    by_length = any(kind.get("rope_type") in ("dynamic", "longrope") for kind in kinds)
    chunked = getattr(text, "attention_chunk_size", None) is not None
    layers = DynamicCache(config=config).layers
    return not by_length and not chunked and all(type(layer) is DynamicLayer for layer in layers)


def _positions(mask_PS: Tensor) -> Tensor:
    """From 0 at each row's first token."""
    return (mask_PS.cumsum(-1) - 1).clamp(min=0)
