"""Models between a base and what training made of it."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.errors import UserError
from unsqueeze.evaluation.settings import checkpoint_of, last_policies
from unsqueeze.plain_json import dumps
from unsqueeze.policy.averaging import average_weights, mean_weights
from unsqueeze.policy.loading import load_pretrained, without_progress_bars
from unsqueeze.policy.policy import DTYPES, resolve_model
from unsqueeze.policy.saving import save_pretrained
from unsqueeze.store.atomic import atomic_directory


def average(
    base: str | Path,
    trained: str | Path,
    *,
    out: str | Path,
    share: float = 0.5,
    last: int = 1,
    dtype: str = "float32",
) -> int:
    """Write the model of weights θ = (1 − α)·θ_base + α·θ_trained into ``out``, which must not exist; α = ``share``.

    θ_trained is the mean over the ``last`` checkpoints of a run. Both are folders in Hugging Face format, hub names, or
    runs and checkpoints of ``train``; they are averaged in fp32 and written as ``dtype``, with the tokenizer of
    ``trained``, and with ``average.json``, which names them. Returns the number of parameters.
    """
    if not 0 <= share <= 1:
        raise UserError(f"share is {share:g}; it must be from 0, the base alone, to 1, the trained model alone.")
    if dtype not in DTYPES:
        raise UserError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}.")
    if Path(out).exists():
        raise UserError(f"{out} exists already; name a folder that does not.")
    without_progress_bars()
    *earlier, final = last_policies(str(trained), last)
    of_base, _ = _load(checkpoint_of(str(base)))
    model, tokenizer = _load(final)
    mean_weights(model, (_load(path)[0] for path in earlier))
    average_weights(of_base, model, share)
    told = {"base": str(base), "trained": str(trained), "share": share, "last": last}
    with atomic_directory(Path(out)) as aside:
        save_pretrained(model, tokenizer, aside, dtype=DTYPES[dtype])
        (aside / "average.json").write_text(dumps(told, indent=2) + "\n", encoding="utf-8")
    return sum(parameter.numel() for parameter in model.parameters())


def _load(path: str) -> tuple[PreTrainedModel, Any]:
    settings = ModelSettings(path=path)
    return load_pretrained(settings, resolve_model(settings.path))
