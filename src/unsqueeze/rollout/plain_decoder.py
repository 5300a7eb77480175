"""The step of one token a row through a plain decoder, written out: no code of transformers runs in it.

For a batch of short rows the code around the products of transformers' ``forward`` takes longer than they do: masks,
positions, sines of angles, caches, outputs. Weights do not change while responses are drawn: all of it is made once.

A *plain* decoder: RMS norms before attention and before a gated perceptron, products for queries, keys and values with
or without biases, norms of queries and keys or none, rotations by position. A model is recognised by its parts, every
weight of it must be one of theirs, and then it is asked: ``steps_as_the_model`` compares the steps written here with
those of the model. No family is named.

Axes: N rows, V vocabulary, H hidden, K key heads, R query heads that read one key head, D width of a head.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from unsqueeze.rollout.cohort import Cohort, attend
from unsqueeze.rollout.packed import Form, Product


class PlainDecoder:
    """The weights of a plain decoder, ready for steps at positions below ``max_length``, while they do not change.

    Products are computed in ``dtype``, and their weights are cast and laid out (``packed``) once; sums and norms in the
    precision of the weights.
    Raises TypeError, or AttributeError, if ``model`` is no plain decoder.
    """

    def __init__(self, model: Any, max_length: int, dtype: torch.dtype | None = None) -> None:
        body, head = model.base_model, model.get_output_embeddings()
        self._embeddings: nn.Embedding = body.embed_tokens
        weight = self._embeddings.weight
        form = Form.of(model, dtype or weight.dtype)
        self._dtype = form.dtype
        self._layers = [_Layer(number, layer, form) for number, layer in enumerate(body.layers)]
        self._norm = _Norm(body.norm)
        self._head = _Product([head], form)
        read = {self._embeddings.weight, self._norm.weight, *self._head.sources}
        for layer in self._layers:
            read.update(layer.sources)
        unread = [name for name, parameter in model.named_parameters() if parameter not in read]
        if unread:
            raise TypeError(f"{unread[0]} is no part of a plain decoder")
        positions = torch.arange(max_length, device=weight.device)[None]
        cosines_1LD, sines_1LD = body.rotary_emb(weight[:1, None], positions)
        width = self._layers[0].width
        if cosines_1LD.shape != (1, max_length, width):
            raise TypeError("not all of a head is rotated")
        sign_D = torch.ones(width, device=weight.device)
        sign_D[: width // 2] = -1
        self._cosines_L1D = cosines_1LD[0, :, None]
        self._sines_L1D = (sines_1LD[0] * sign_D)[:, None]

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    def logits(self, tokens_N: Tensor, positions: Tensor, cohorts: Sequence[Cohort]) -> Tensor:
        """Read one token a row, in the order of the cohorts, which remember it; give the logits of the next, shape NV.

        ``positions`` are the rows', or one for all.
        """
        cosines = self._cosines_L1D.index_select(0, positions)
        sines = self._sines_L1D.index_select(0, positions)
        with torch.autocast(tokens_N.device.type, enabled=False):
            hidden_NH = self._embeddings(tokens_N[:, None])[:, 0]
            for layer in self._layers:
                hidden_NH = layer(hidden_NH, cosines, sines, cohorts)
            return self._head(self._norm(hidden_NH))


class _Layer:
    """Attention and gated perceptron of one layer, each behind a norm and added to what came in."""

    def __init__(self, number: int, layer: Any, form: Form) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._number = number
        self.width: int = attention.head_dim
        self._scale: float = attention.scaling
        self._attention_norm = _Norm(layer.input_layernorm)
        self._joined = _Product([attention.q_proj, attention.k_proj, attention.v_proj], form)
        self._query_heads = attention.q_proj.out_features // self.width
        self._key_heads = attention.k_proj.out_features // self.width
        self._query_norm = _optional_norm(attention, "q_norm", self.width)
        self._key_norm = _optional_norm(attention, "k_norm", self.width)
        self._out = _Product([attention.o_proj], form)
        self._mlp_norm = _Norm(layer.post_attention_layernorm)
        self._gate, self._up = _Product([mlp.gate_proj], form), _Product([mlp.up_proj], form)
        self._activation: nn.Module = mlp.act_fn
        self._down = _Product([mlp.down_proj], form)
        self._dtype = form.dtype
        norms = (self._attention_norm, self._mlp_norm, self._query_norm, self._key_norm)
        products = (self._joined, self._out, self._gate, self._up, self._down)
        self.sources = [norm.weight for norm in norms if norm is not None]
        self.sources += [source for product in products for source in product.sources]

    def __call__(self, hidden_NH: Tensor, cosines_N1D: Tensor, sines_N1D: Tensor, cohorts: Sequence[Cohort]) -> Tensor:
        heads = self._joined(self._attention_norm(hidden_NH)).unflatten(-1, (-1, self.width))
        turning, values_NKD = heads.split([self._query_heads + self._key_heads, self._key_heads], dim=1)
        if self._query_norm is not None and self._key_norm is not None:
            query, keys = turning.split([self._query_heads, self._key_heads], dim=1)
            turning = torch.cat([self._query_norm(query), self._key_norm(keys)], dim=1)
        # Halves (a, b) of a head become (a cos - b sin, b cos + a sin); the sines of a carry the minus.
        turned = torch.addcmul(turning * cosines_N1D, turning.roll(self.width // 2, -1), sines_N1D)
        query, keys_NKD = turned.split([self._query_heads, self._key_heads], dim=1)
        query_KNRD = (query * self._scale).to(self._dtype).unflatten(1, (self._key_heads, -1)).transpose(0, 1)
        read_KNRD = attend(cohorts, self._number, query_KNRD, keys_NKD, values_NKD)
        hidden_NH = hidden_NH + self._out(read_KNRD.transpose(0, 1).flatten(1))
        normed_NH = self._mlp_norm(hidden_NH).to(self._dtype)
        return hidden_NH + self._down(self._activation(self._gate(normed_NH)) * self._up(normed_NH))


class _Product:
    """Linear layers that read the same, one below the other."""

    def __init__(self, modules: Sequence[Any], form: Form) -> None:
        for module in modules:
            if type(module) is not nn.Linear:
                raise TypeError(f"{type(module).__name__} is no plain product")
        biases = [module.bias for module in modules]
        self.sources: list[Tensor] = [module.weight for module in modules]
        self.sources += [bias for bias in biases if bias is not None]
        self._dtype = form.dtype
        has_bias = any(bias is not None for bias in biases)
        bias = _joined([_bias(module) for module in modules]) if has_bias else None
        self._product = Product(_joined([module.weight for module in modules]), bias, form)

    def __call__(self, values: Tensor) -> Tensor:
        return self._product(values.to(self._dtype))


class _Norm:
    """x / sqrt(mean(x²) + epsilon) · weight, over the last axis."""

    def __init__(self, module: Any) -> None:
        self.weight: Tensor = module.weight
        self._epsilon: float = module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps

    def __call__(self, values: Tensor) -> Tensor:
        return rms_norm(values.to(self.weight.dtype), self.weight.shape, self.weight, self._epsilon)


def _optional_norm(attention: Any, name: str, width: int) -> _Norm | None:
    module = getattr(attention, name, None)
    if module is None:
        return None
    norm = _Norm(module)
    if norm.weight.shape != (width,):
        raise TypeError(f"{name} is over more than a head")
    return norm


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _bias(module: nn.Linear) -> Tensor:
    return module.weight.new_zeros(module.out_features) if module.bias is None else module.bias
