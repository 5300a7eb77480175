"""Configurations of the paper's models, as numbers, so that its recipes can be planned without downloading anything.

From the config.json that each is published with.
"""

from typing import Any


def _qwen2(
    width: int, inner: int, layers: int, heads: int, kv_heads: int, vocabulary: int, **other: Any
) -> dict[str, Any]:
    return {
        "model_type": "qwen2",
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        **other,
    }


_SMALL = (1536, 8960, 28, 12, 2, 151_936)
_LARGE = (3584, 18_944, 28, 28, 4, 152_064)
_MATH = {"max_position_embeddings": 4096}
_R1 = {"max_position_embeddings": 131_072, "tie_word_embeddings": False}

KNOWN_CONFIGS: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-Math-1.5B": _qwen2(*_SMALL, tie_word_embeddings=True, **_MATH),
    "Qwen/Qwen2.5-Math-7B": _qwen2(*_LARGE, tie_word_embeddings=False, **_MATH),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": _qwen2(*_SMALL, **_R1),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": _qwen2(*_LARGE, **_R1),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": _qwen2(5120, 13_824, 48, 40, 8, 152_064, **_R1),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": _qwen2(5120, 27_648, 64, 40, 8, 152_064, **_R1),
}
