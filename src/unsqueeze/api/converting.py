"""Models of other kinds of files as what a recipe's ``model.path`` takes."""

from pathlib import Path

from unsqueeze.errors import UserError
from unsqueeze.policy.conversion import load_any
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.policy.saving import save_pretrained
from unsqueeze.store.atomic import atomic_directory


def convert(model: str | Path, *, out: str | Path) -> int:
    """Write a model as safetensors into ``out``, which must not exist: weights that are pickles (``.bin``), which are
    read without running what they hold, and LoRA adapters, merged into their model.

    The precision of the weights stays. Returns the number of parameters.
    """
    if Path(out).exists():
        raise UserError(f"{out} exists already; name a folder that does not.")
    without_progress_bars()
    loaded, tokenizer = load_any(str(model))
    with atomic_directory(Path(out)) as aside:
        save_pretrained(loaded, tokenizer, aside)
    return sum(parameter.numel() for parameter in loaded.parameters())
