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
    check_counts(path)


def check_counts(path: str) -> None:
    """UserError for a configuration of more layers or experts than any model has: building it would not end."""
    config, _ = PreTrainedConfig.get_config_dict(path)
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
