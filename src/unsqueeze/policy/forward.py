"""The forward pass of training as one module, from tokens to log-probs: what FSDP2 hangs its gathering on."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from unsqueeze.policy.batch import TokenBatch
from unsqueeze.policy.head import token_logprobs


class TokenLogprobs(nn.Module):
    """Log-probs and entropy of the response tokens of a batch, in nats, zero on padding; flattened grids [N·T]."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self._split_head = _head_is_plain(model)

    def forward(self, batch: TokenBatch, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor]:
        if self._split_head:
            hidden_NSH = self.model.base_model(input_ids=batch.tokens_NS, use_cache=False).last_hidden_state
            head: nn.Module = self.model.get_output_embeddings()
        else:
            # The model does something of its own to its logits: take them whole, and let an identity be the head.
            hidden_NSH = self.model(input_ids=batch.tokens_NS, use_cache=False).logits
            head = _IdentityHead(hidden_NSH.shape[-1])
        hidden_MH = hidden_NSH.flatten(0, 1).index_select(0, batch.sources)
        targets_M = batch.responses_NT.flatten().index_select(0, batch.places)
        logp_M, entropy_M = token_logprobs(
            hidden_MH, targets_M, head, temperature=temperature, with_entropy=with_entropy
        )
        return _spread(logp_M, batch), _spread(entropy_M, batch)


class _IdentityHead(nn.Module):
    """Passes logits through; ``weight`` only states their number."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.weight = torch.empty(vocabulary, 0)

    def forward(self, logits: Tensor) -> Tensor:
        return logits


def _spread(values_M: Tensor, batch: TokenBatch) -> Tensor:
    """Put values of marked positions back into the [N, T] grid, flattened, with zeros elsewhere."""
    flat = values_M.new_zeros(batch.mask_NT.numel())
    return flat.index_copy(0, batch.places, values_M)


@torch.no_grad()
def _head_is_plain(model: PreTrainedModel) -> bool:
    """Tell whether the model's logits are just its head applied to its last hidden state.

    Some families scale or cap their logits (Gemma 2, Cohere, Granite); asking the model beats a list of names.
    """
    head = model.get_output_embeddings()
    if head is None or not isinstance(getattr(head, "weight", None), Tensor):
        return False
    tokens = torch.arange(4, device=next(model.parameters()).device)[None]
    hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    return torch.allclose(head(hidden), model(input_ids=tokens, use_cache=False).logits, rtol=1e-4, atol=1e-4)
