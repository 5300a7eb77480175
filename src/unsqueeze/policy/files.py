"""What the files of a model say before any of it is built: that it is none of its own, or none that can be built."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig
from transformers.utils.peft_utils import find_adapter_config_file

from unsqueeze.errors import UserError

MOST = {"layer": 1000, "expert": 10_000}
"""The most there may be of what a configuration counts: each is a Python object, and there is no end of zeros."""


def check_files(path: str) -> None:
    """UserError for an adapter, for weights that are pickles, and for more layers or experts than any model has.

    Of a hub name only the small files are read.
    """
    if (adapter := find_adapter_config_file(path)) is not None:
        raise UserError(
            f"it is an adapter ({Path(adapter).name}), not a model of its own. Merge it into its model, with "
            f"`unsqueeze convert {path} --out FOLDER`, and give that folder."
        )
    folder = Path(path)
    if folder.is_dir() and not any(folder.glob("*.safetensors")) and any(folder.glob("*.bin")):
        raise UserError(
            f"its weights are pickles (.bin), which may run code when they are read, and only safetensors are taken. "
            f"Convert them, with `unsqueeze convert {path} --out FOLDER`, and give that folder."
        )
    check_config(path)


def check_config(path: str) -> None:
    """UserError for a configuration of quantized weights, or of more than can be built."""
    config, _ = PreTrainedConfig.get_config_dict(path)
    check_quantization(config)
    check_counts(config)


def check_quantization(config: Mapping[str, Any]) -> None:
    """UserError for weights that a known method has quantized (``quantization_config``, of the model or a part of it).

    They stand for others, which no gradient reaches, and most methods need a GPU or a package of their own to be read.
    """
    parts = [config, *(part for part in config.values() if isinstance(part, Mapping))]
    for part in parts:
        described = part.get("quantization_config")
        method = described.get("quant_method") if isinstance(described, Mapping) else None
        if isinstance(method, str) and (method in _known_methods() or method.startswith("bitsandbytes")):
            raise UserError(
                f"its weights are quantized (config.json says quantization_config.quant_method is {method!r}), and "
                "such weights are neither trained nor loaded. Give the model in bfloat16 or float32 that it was made "
                "from; one that a server has loaded can be evaluated there (--server)."
            )


def _known_methods() -> set[str]:
    """The methods that transformers knows, and one of another maker. What neither knows is passed over by transformers,
    and the weights are what they are.
    """
    from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

    return {*AUTO_QUANTIZATION_CONFIG_MAPPING, "modelopt"}


def check_counts(config: Mapping[str, Any]) -> None:
    """UserError for a configuration of more layers or experts than any model has: building it would not end."""
    for name, count in _numbers(config):
        most = next((most for kind, most in MOST.items() if kind in name), None)
        if most is not None and count > most:
            raise UserError(f"config.json says {name} is {count}; at most {most:,} are built.")


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every number of a configuration with its name, those of its parts too."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _numbers(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield str(name), value
