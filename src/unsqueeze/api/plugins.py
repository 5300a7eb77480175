"""Files inside the package that other trainers take as plugins."""

from pathlib import Path

from unsqueeze.errors import UserError
from unsqueeze.interop.plugins import PLUGINS, plugin_path


def plugin(trainer: str) -> Path:
    """Return the path of the plugin for ``trainer``, ``swift`` (ms-swift); docs/trainers/ms-swift.md says how."""
    if trainer not in PLUGINS:
        raise UserError(f"trainer is {trainer!r}; it must be one of {', '.join(PLUGINS)}.")
    return plugin_path(trainer)
