"""LoRA (arXiv 2106.09685) through peft: small matrices are trained beside frozen weights."""

from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from unsqueeze.config.model_settings import LoraSettings
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


def adapter_base(folder: Path) -> str:
    """Return the model that an adapter was trained on. UserError for one that is no LoRA, or names none."""
    config = _peft("an adapter").PeftConfig.from_pretrained(str(folder))
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if kind != "LORA":
        raise UserError(
            f"{folder} is an adapter of the kind {kind}, and only LoRA is trained; merge it into its model with "
            f"`unsqueeze convert {folder} --out FOLDER`, and give that folder."
        )
    if not config.base_model_name_or_path:
        raise UserError(f"{folder / 'adapter_config.json'} names no base_model_name_or_path; write it in.")
    return str(config.base_model_name_or_path)


def put_adapter(model: PreTrainedModel, folder: Path) -> Any:
    """Put the trained adapter of a folder into ``model``, in place, to be trained further; returns peft's handle."""
    try:
        return _peft("an adapter").PeftModel.from_pretrained(model, str(folder), is_trainable=True)
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        raise UserError(f"{folder}: the adapter does not fit the model it names: {one_line(error)}") from None


def adapter_weights(adapters: Any) -> dict[str, Tensor]:
    """Return the weights of an adapter under the names of its file."""
    return dict(_peft("an adapter").get_peft_model_state_dict(adapters))


def _peft(what: str) -> Any:
    try:
        import peft
    except ImportError:
        raise MissingExtraError(f"{what} needs the package peft: pip install 'unsqueeze[peft]'.") from None
    return peft
