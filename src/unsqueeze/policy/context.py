"""The context length of a model, found in one place."""

from typing import Any


def context_length(model: Any) -> int | None:
    """The longest prompt with its response, in tokens, by the model's configuration; None where it does not say."""
    config = getattr(model, "config", None)
    if config is None:
        return None
    text_config = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    length = getattr(text_config, "max_position_embeddings", None)
    return length if isinstance(length, int) and length > 0 else None
