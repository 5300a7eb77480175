"""The context length of a model, and where inside it positions begin to be encoded otherwise, found in one place."""

from collections.abc import Mapping
from typing import Any


def context_length(model: Any) -> int | None:
    """The longest prompt with its response, in tokens, by the model's configuration; None where it does not say."""
    config = getattr(model, "config", None)
    if config is None:
        return None
    text_config = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    length = getattr(text_config, "max_position_embeddings", None)
    return length if isinstance(length, int) and length > 0 else None


def rope_switch(model: Any) -> int | None:
    """The longest sequence, in tokens, of which a model encodes all positions in the short way; None where it knows one
    way alone.

    With longrope (Phi-3, Phi-4-mini, PhiMoE) the length of a whole sequence decides how each of its positions is
    encoded, those long past too. What follows the first n tokens is drawn from n tokens in the short way while n is at
    most this length, and from n tokens in the long way from then on.
    """
    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "get_text_config"):
        return None
    rope = getattr(config.get_text_config(decoder=True), "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, Mapping))]
    lengths = [kind["original_max_position_embeddings"] for kind in kinds if kind.get("rope_type") == "longrope"]
    return min(lengths, default=None)
