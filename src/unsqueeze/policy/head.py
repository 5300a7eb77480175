"""Log-probs of given tokens without ever holding the logits of a whole batch."""

import contextlib
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unsqueeze.cost.memory import logits_at_once


def token_logprobs(
    hidden_MH: Tensor, targets_M: Tensor, head: nn.Module, *, temperature: float = 1.0, with_entropy: bool = True
) -> tuple[Tensor, Tensor]:
    """log softmax(head(h) / temperature)[target] and the entropy of that distribution, both in nats, shape M.

    M counts positions. Positions go through the vocabulary head in chunks of as many logits as the device has room for
    (``max_logits``); where there is more than one chunk, its logits are computed again in the backward pass, and the
    gradients of the head's weights add up over chunks in the weights' own precision. Entropy is 0 where it is not asked
    for.
    """
    vocabulary = head_size(head)
    rows = max(1, max_logits(hidden_MH.device) // vocabulary)
    if hidden_MH.shape[0] <= rows:
        return _chunk(hidden_MH, targets_M, head, temperature, with_entropy)
    logps, entropies = [], []
    for hidden, targets in zip(hidden_MH.split(rows), targets_M.split(rows), strict=True):
        if torch.is_grad_enabled():
            with _casting_anew(hidden.device.type):
                logp, entropy = checkpoint(
                    _chunk, hidden, targets, head, temperature, with_entropy, use_reentrant=False
                )
        else:
            logp, entropy = _chunk(hidden, targets, head, temperature, with_entropy)
        logps.append(logp)
        entropies.append(entropy)
    return torch.cat(logps), torch.cat(entropies)


@lru_cache
def max_logits(device: torch.device) -> int:
    """Return how many logits a chunk may hold: by all the memory of a GPU, so that it never changes during a run."""
    on_gpu = device.type == "cuda" and torch.cuda.is_available()
    return logits_at_once(torch.cuda.get_device_properties(device).total_memory if on_gpu else None)


def head_size(head: nn.Module) -> int:
    """V, the number of logits a position has."""
    weight = head.weight
    assert isinstance(weight, Tensor)
    return weight.shape[0]


def _casting_anew(device_type: str) -> contextlib.AbstractContextManager[Any]:
    """Have each chunk cast the head's weights for itself, where an autocast is on.

    With one copy in bf16 for all of them, autograd would add up their gradients in bf16: a sum of 160 is off by 7 %.
    """
    if not torch.is_autocast_enabled(device_type):
        return contextlib.nullcontext()
    return torch.autocast(device_type, dtype=torch.get_autocast_dtype(device_type), cache_enabled=False)


def _chunk(
    hidden_MH: Tensor, targets_M: Tensor, head: nn.Module, temperature: float, with_entropy: bool
) -> tuple[Tensor, Tensor]:
    logits_MV = head(hidden_MH).float()
    if temperature != 1.0:
        logits_MV = logits_MV / temperature
    logp_MV = logits_MV.log_softmax(dim=-1)
    logp_M = logp_MV.gather(1, targets_M[:, None]).squeeze(1)
    entropy_M = -(logp_MV.exp() * logp_MV).sum(dim=-1) if with_entropy else torch.zeros_like(logp_M)
    return logp_M, entropy_M
