"""The models that ship inside the package."""

from pathlib import Path

EMBEDDED_MODEL = "countdown-0.4m"
LARGER_MODEL = "countdown5-0.5m"


def embedded_model_path(name: str = EMBEDDED_MODEL) -> Path:
    """An embedded Countdown model, a folder in Hugging Face format; ``scripts/train_countdown_model.py`` made it."""
    return Path(__file__).parent / name


def shipped_folder(path: str) -> Path | None:
    """The folder of the model that ships under the name ``path``; None where it is no such name."""
    return embedded_model_path(path) if path in (EMBEDDED_MODEL, LARGER_MODEL) else None
