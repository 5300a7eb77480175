"""Where the plugins for other trainers lie."""

from importlib import resources
from pathlib import Path

PLUGINS = {"swift": "integrations/plugins/sps_for_swift.py"}


def plugin_path(trainer: str) -> Path:
    """Return the file that a trainer imports as a plugin."""
    return Path(str(resources.files("unsqueeze"))) / PLUGINS[trainer]
