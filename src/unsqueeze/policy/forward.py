"""The forward pass of training as one module, from tokens to log-probs: what FSDP2 hangs its gathering on."""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from unsqueeze.policy.batch import TokenBatch
from unsqueeze.policy.context import rope_switch
from unsqueeze.policy.head import token_logprobs
from unsqueeze.policy.recomputing import recomputes_activations
from unsqueeze.policy.rounding import agree_to_rounding
from unsqueeze.policy.shared_prompts import read_in_parts, reads_in_parts
from unsqueeze.policy.short_attention import short_attention


class TokenLogprobs(nn.Module):
    """Log-probs and entropy of the response tokens of a batch, in nats, zero on padding; flattened grids [N·T]."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.training = model.training
        self._body = _body(model)
        self._head = model.get_output_embeddings() if _head_is_plain(model, self._body) else None
        self._switch = rope_switch(model)
        self._reads_in_parts = self._head is not None and reads_in_parts(self._body, model.config, model.device)

    @property
    def shares_prompts(self) -> bool:
        """Tell whether prompts may be read once for many rows. Layers whose activations are computed again keep no
        cache.
        """
        return self._reads_in_parts and not recomputes_activations(self.model)

    def forward(self, batch: TokenBatch, temperature: float, with_entropy: bool) -> tuple[Tensor, Tensor]:
        if batch.shared is None:
            hidden_NSH, sources = self._hidden(batch.tokens_NS), batch.sources
        else:
            # One hidden state for each place of the responses' grid.
            with short_attention():
                hidden_NSH, sources = read_in_parts(self._body, self.model.config, batch.shared), batch.places
        # The model may do something of its own to its logits: they are then taken whole, and an identity is the head.
        head = _IdentityHead(hidden_NSH.shape[-1]) if self._head is None else self._head
        hidden_MH = hidden_NSH.flatten(0, 1).index_select(0, sources)
        targets_M = batch.responses_NT.flatten().index_select(0, batch.places)
        logp_M, entropy_M = token_logprobs(
            hidden_MH, targets_M, head, temperature=temperature, with_entropy=with_entropy
        )
        return _spread(logp_M, batch), _spread(entropy_M, batch)

    def _hidden(self, tokens_NS: Tensor) -> Tensor:
        """What the head turns into logits, of every position; of each as it is when the sequence is no longer than
        there, whatever follows it, and whatever is beside it.
        """
        if self._switch is None or tokens_NS.shape[1] <= self._switch:
            return self._forward(tokens_NS)
        # A sequence that is longer than this is encoded otherwise, and all that pad it to its length with it.
        return torch.cat(
            [self._forward(tokens_NS[:, : self._switch]), self._forward(tokens_NS)[:, self._switch :]], dim=1
        )

    def _forward(self, tokens_NS: Tensor) -> Tensor:
        hidden_NSH: Tensor
        if self._head is None:
            hidden_NSH = self.model(input_ids=tokens_NS, use_cache=False).logits
        else:
            hidden_NSH = self._body(input_ids=tokens_NS, use_cache=False).last_hidden_state
        return hidden_NSH


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


def _body(model: PreTrainedModel) -> nn.Module:
    """The model without its head. In some (the text part of Llama 4) ``base_model`` is the model itself."""
    body: nn.Module = model.base_model
    return model.get_decoder() if body is model else body


@torch.no_grad()
def _head_is_plain(model: PreTrainedModel, body: nn.Module) -> bool:
    """Tell whether the model's logits are just its head applied to its last hidden state.

    Some families scale or cap their logits (Gemma 2, Cohere, Granite); asking the model beats a list of names.
    """
    head = model.get_output_embeddings()
    if head is None or not isinstance(getattr(head, "weight", None), Tensor) or body is model:
        return False
    tokens = torch.arange(4, device=next(model.parameters()).device)[None]
    hidden = body(input_ids=tokens, use_cache=False).last_hidden_state
    if hidden.shape[-1] != head.weight.shape[-1]:  # something stands between the two (RemBERT)
        return False
    return agree_to_rounding(head(hidden), model(input_ids=tokens, use_cache=False).logits)
