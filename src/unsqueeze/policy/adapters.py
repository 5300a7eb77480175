"""LoRA (arXiv 2106.09685) through peft: small matrices are trained beside frozen weights."""

from typing import Any

from transformers import PreTrainedModel

from unsqueeze.config.recipe import LoraSettings
from unsqueeze.errors import MissingExtraError, UserError, one_line


def add_adapters(model: PreTrainedModel, settings: LoraSettings) -> Any:
    """Put adapters into ``model``, in place, and freeze everything else; returns peft's handle on them.

    Raises MissingExtraError without peft, UserError if no layer has a name that was given.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtraError("model.lora needs the package peft: pip install 'unsqueeze[peft]'.") from None
    targets = settings.target_modules
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=targets if isinstance(targets, str) else list(targets),
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise UserError(f"model.lora.target_modules is {targets!r}: {one_line(error)}") from None
