"""Turn logits into tokens: temperature, top-k, top-p, the draw itself, and the log-probs of what was drawn.

Pure functions. Axes: N rows, T tokens, V vocabulary, K candidates (K <= V). Log-probs are in nats.

A token is drawn by inverting the cumulative distribution at one uniform number u per row. The uniforms of a prompt's
rollouts come from a generator of their own (``token_uniforms``), so what a rollout says depends on the seed, the place
of its prompt in the call and the logits, but not on which other rows happened to share its batch or when they left.
"""

import torch
from torch import Tensor


def token_uniforms(num_rows: int, num_tokens: int, *, seed: int) -> Tensor:
    """Numbers in [0, 1) that decide the draws of ``num_rows`` rollouts: float64, drawn on the CPU on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((num_rows, num_tokens), generator=generator, dtype=torch.float64)


def scaled_logits(logits_NV: Tensor, temperature: float) -> Tensor:
    """(z - max z) / temperature in float32, shape NV: the maximum is 0, so no temperature above 0 overflows."""
    logits_NV = logits_NV.float()
    shifted_NV = logits_NV - logits_NV.amax(dim=-1, keepdim=True)
    return shifted_NV if temperature == 1 else shifted_NV / temperature


def token_logp(scaled_NV: Tensor, tokens_N: Tensor) -> Tensor:
    """log softmax(scaled)[token] in nats, shape N, over the whole vocabulary."""
    chosen_N = scaled_NV.gather(-1, tokens_N.unsqueeze(-1)).squeeze(-1)
    return chosen_N - scaled_NV.logsumexp(dim=-1)


def candidates(scaled_NV: Tensor, *, top_k: int = 0, top_p: float = 1.0) -> tuple[Tensor, Tensor | None]:
    """The weights of the tokens that may be drawn, shape NK, and their ids, shape NK (None: K = V, ids are 0..V-1).

    ``top_k`` (0: no cut) keeps the k largest. ``top_p`` (1: no cut) then keeps the smallest set of the largest whose
    mass reaches p, the mass being renormalised after top-k: a token stays if the tokens before it hold less than p, so
    the first always stays. Weights are float64 and not normalised; a token that was cut has weight 0.
    Among equal logits at the edge of a cut, top-p keeps the lowest ids, top-k whichever ``torch.topk`` gives.
    """
    ids_NK: Tensor | None = None
    if 0 < top_k < scaled_NV.shape[-1]:
        scaled_NV, ids_NK = scaled_NV.topk(top_k, dim=-1, sorted=True)
    elif top_p < 1:
        scaled_NV, ids_NK = scaled_NV.sort(dim=-1, descending=True, stable=True)
    weights_NK = scaled_NV.double().exp()
    if top_p < 1:
        mass_NK = weights_NK.cumsum(dim=-1)
        before_NK = mass_NK - weights_NK
        weights_NK = weights_NK.masked_fill(before_NK >= top_p * mass_NK[:, -1:], 0.0)
        weights_NK[:, 0] = 1.0  # the largest: exp(0), and it stays even where rounding puts p at 0
    return weights_NK, ids_NK


def draw(weights_NK: Tensor, uniforms_N: Tensor) -> Tensor:
    """The column drawn in proportion to the weights, shape N: the first whose cumulative weight exceeds u * total.

    A column of weight 0 is never drawn. A row of weights that are not finite gives an arbitrary column.
    """
    cumulative_NK = weights_NK.cumsum(dim=-1)
    total_N = cumulative_NK[:, -1]
    # u < 1, but u * total may round up to the total, which no column exceeds.
    target_N = torch.minimum(uniforms_N * total_N, torch.nextafter(total_N, torch.zeros_like(total_N)))
    columns_N = torch.searchsorted(cumulative_NK, target_N.unsqueeze(-1), right=True).squeeze(-1)
    return columns_N.clamp_(max=weights_NK.shape[-1] - 1)


def sample_tokens(
    logits_NV: Tensor,
    uniforms_N: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    banned: Tensor | None = None,
    barred_N: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws one token a row. Returns (tokens_N, logp_raw_N, logp_behaviour_N).

    ``logp_raw`` is at temperature 1, ``logp_behaviour`` at ``temperature``; both over the whole vocabulary, before
    top-k, top-p and ``banned`` cut it: ids that the rows of ``barred_N`` (None: all) may not draw. Temperature 0 takes
    the largest logit (the lowest id among equals), and ``logp_behaviour`` is then ``logp_raw``.
    """
    unit_NV = scaled_logits(logits_NV, 1.0)
    scaled_NV = unit_NV if temperature in (0, 1) else unit_NV / temperature
    open_NV = scaled_NV if banned is None else scaled_NV.index_fill(-1, banned, float("-inf"))
    if barred_N is not None:
        open_NV = torch.where(barred_N.unsqueeze(-1), open_NV, scaled_NV)
    if temperature == 0:
        tokens_N = open_NV.argmax(dim=-1)
    else:
        if banned is not None:
            open_NV = scaled_logits(open_NV, 1.0)  # the maximum may have been among the banned
        weights_NK, ids_NK = candidates(open_NV, top_k=top_k, top_p=top_p)
        tokens_N = draw(weights_NK, uniforms_N)
        if ids_NK is not None:
            tokens_N = ids_NK.gather(-1, tokens_N.unsqueeze(-1)).squeeze(-1)
    logp_raw_N = token_logp(unit_NV, tokens_N)
    logp_behaviour_N = logp_raw_N if scaled_NV is unit_NV else token_logp(scaled_NV, tokens_N)
    return tokens_N, logp_raw_N, logp_behaviour_N
