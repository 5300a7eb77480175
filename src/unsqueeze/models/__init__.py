"""The model that ships inside the package."""

from pathlib import Path

EMBEDDED_MODEL = "countdown-0.4m"


def embedded_model_path() -> Path:
    """The embedded Countdown model, a folder in Hugging Face format; ``scripts/train_countdown_model.py`` made it."""
    return Path(__file__).parent / EMBEDDED_MODEL
