"""Log-probs of given tokens without ever holding the logits of a whole batch."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

MAX_LOGITS = 2**24
"""Logits held at once: 64 MiB in fp32. A chunk is as many positions as fit."""


def token_logprobs(
    hidden_MH: Tensor, targets_M: Tensor, head: nn.Module, *, temperature: float = 1.0, with_entropy: bool = True
) -> tuple[Tensor, Tensor]:
    """log softmax(head(h) / temperature)[target] and the entropy of that distribution, both in nats, shape M.

    M counts positions. Positions go through the vocabulary head in chunks of at most MAX_LOGITS logits; where there is
    more than one chunk, its logits are computed again in the backward pass. Entropy is 0 where it is not asked for.
    """
    vocabulary = head_size(head)
    rows = max(1, MAX_LOGITS // vocabulary)
    if hidden_MH.shape[0] <= rows:
        return _chunk(hidden_MH, targets_M, head, temperature, with_entropy)
    logps, entropies = [], []
    for hidden, targets in zip(hidden_MH.split(rows), targets_M.split(rows), strict=True):
        if torch.is_grad_enabled():
            logp, entropy = checkpoint(_chunk, hidden, targets, head, temperature, with_entropy, use_reentrant=False)
        else:
            logp, entropy = _chunk(hidden, targets, head, temperature, with_entropy)
        logps.append(logp)
        entropies.append(entropy)
    return torch.cat(logps), torch.cat(entropies)


def head_size(head: nn.Module) -> int:
    """V, the number of logits a position has."""
    weight = head.weight
    assert isinstance(weight, Tensor)
    return weight.shape[0]


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
