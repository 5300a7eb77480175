"""The numbers of a causal language model that decide over memory and time, from its ``config.json`` alone.

V vocabulary, H width of the residual stream, L layers, A width of all query heads together, K of all key heads, I width
inside the MLP.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unsqueeze.config.model_settings import LoraSettings
from unsqueeze.errors import UserError

LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3")
"""Families whose parameters ``count_parameters`` knows to count: gated MLP, RMS norm, rotary positions."""

_NEEDED = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    vocabulary: int
    width: int
    layers: int
    attention_width: int
    key_width: int
    mlp_width: int
    num_parameters: int
    context: int | None

    @property
    def head_parameters(self) -> int:
        """V·H, the weights that turn hidden states into logits; the token embeddings have as many."""
        return self.vocabulary * self.width

    @property
    def layer_parameters(self) -> int:
        """Weights of the matrices of one layer."""
        attention = 2 * self.width * (self.attention_width + self.key_width)
        return attention + 3 * self.width * self.mlp_width

    @property
    def matmul_parameters(self) -> int:
        """Weights that a token is multiplied with: all layers and the head, not the embeddings it is looked up in."""
        return self.layers * self.layer_parameters + self.head_parameters


def model_shape(config: Mapping[str, Any], *, num_parameters: int | None = None) -> ModelShape:
    """The shape of a model from its configuration; ``num_parameters`` where it is known, counted where not.

    Raises UserError if a number is missing, or if parameters are to be counted in a family that is not known.
    """
    missing = [name for name in _NEEDED if not isinstance(config.get(name), int)]
    if missing:
        raise UserError(f"the model's configuration has no number {', '.join(missing)}; give its config.json.")
    heads = config["num_attention_heads"]
    head_width = config.get("head_dim") or config["hidden_size"] // heads
    return ModelShape(
        vocabulary=config["vocab_size"],
        width=config["hidden_size"],
        layers=config["num_hidden_layers"],
        attention_width=heads * head_width,
        key_width=(config.get("num_key_value_heads") or heads) * head_width,
        mlp_width=config.get("intermediate_size") or 4 * config["hidden_size"],
        num_parameters=count_parameters(config) if num_parameters is None else num_parameters,
        context=config.get("max_position_embeddings"),
    )


def count_parameters(config: Mapping[str, Any]) -> int:
    """All weights of a Llama-like model, tied ones once.

    Embeddings VH (twice unless tied), final norm H, and a layer: HA + 2HK + AH attention, 3HI MLP, two norms 2H; biases
    of queries, keys and values in Qwen2, of all matrices where ``attention_bias`` and ``mlp_bias`` say so; norms of
    queries and keys in Qwen3. Raises UserError for another family.
    """
    family = config.get("model_type")
    if family not in LLAMA_LIKE:
        raise UserError(f"parameters of the family {family!r} are not known; known are {', '.join(LLAMA_LIKE)}.")
    vocabulary, width, inner = config["vocab_size"], config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head_width = config.get("head_dim") or width // heads
    queries, keys = heads * head_width, (config.get("num_key_value_heads") or heads) * head_width
    layer = 2 * width * (queries + keys) + 3 * width * inner + 2 * width
    if family == "qwen2":
        layer += queries + 2 * keys
    elif config.get("attention_bias"):
        layer += queries + 2 * keys + width
    if config.get("mlp_bias"):
        layer += 2 * inner + width
    if family == "qwen3":
        layer += 2 * head_width
    embeddings = vocabulary * width * (1 if config.get("tie_word_embeddings") else 2)
    return int(embeddings + config["num_hidden_layers"] * layer + width)


def adapter_parameters(shape: ModelShape, settings: LoraSettings) -> int:
    """Weights of LoRA adapters: rank · (inputs + outputs) for every adapted matrix of every layer.

    ``all-linear`` adapts the seven matrices of a Llama-like layer; of other names those that are among the seven count.
    """
    width, inner, queries, keys = shape.width, shape.mlp_width, shape.attention_width, shape.key_width
    sizes = {
        "q_proj": width + queries,
        "k_proj": width + keys,
        "v_proj": width + keys,
        "o_proj": queries + width,
        "gate_proj": width + inner,
        "up_proj": width + inner,
        "down_proj": inner + width,
    }
    targets = sizes if settings.target_modules == "all-linear" else settings.target_modules
    return shape.layers * settings.rank * sum(sizes.get(name, 0) for name in targets)
