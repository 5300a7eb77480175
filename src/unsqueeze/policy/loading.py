"""A causal language model and its tokenizer from their files, or one sentence about what is wrong with these."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.device_errors import device_errors
from unsqueeze.digests import check_sums
from unsqueeze.errors import Interrupted, UnsqueezeError, UserError, one_line
from unsqueeze.hub_errors import hub_reason, one_line_of_retries
from unsqueeze.models import EMBEDDED_MODEL, LARGER_MODEL
from unsqueeze.policy.files import check_files


def load_pretrained(
    settings: ModelSettings, path: str, *, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, Any]:
    """The model of the settings, found at ``path``, as ``dtype`` on the CPU, and its tokenizer.

    UserError if there is none there, or one of another kind or shape; what transformers says of files that do fit, such
    as weights that the model has no place for, is passed on.
    """
    try:
        with messages_held_back(), one_line_of_retries():
            check_files(path)
            check_sums(Path(path))
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=settings.trust_remote_code)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                dtype=dtype,
                trust_remote_code=settings.trust_remote_code,
                use_safetensors=True,
                # What does not fit is refused here, by name.
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
            model, found = loaded
            check_weights(found)
            _check_precision(model, dtype)
    except MemoryError:
        raise
    except UserError as error:
        raise UserError(f"model.path is {settings.path!r}, and {error}") from None
    except Exception as error:  # files of a model can be wrong in any way, and what is raised then is anything
        if reason := hub_reason(error):
            raise UserError(f"model.path is {settings.path!r}, no folder here, and {reason}.") from error
        raise UserError(
            f"model.path is {settings.path!r}, and no causal language model with its tokenizer could be loaded "
            f"from there. Give a folder in Hugging Face format, a hub name, or {EMBEDDED_MODEL!r} or "
            f"{LARGER_MODEL!r}, which ship with the package. The loader said: {one_line(error)}"
        ) from error
    return model, tokenizer


def check_weights(found: dict[str, Any]) -> None:
    """Weights that are missing, or of another shape, would be made up at random."""
    if found["missing_keys"]:
        raise ValueError(f"weights are missing, {min(found['missing_keys'])} among them.")
    if found["mismatched_keys"]:
        name, there, wanted = min(found["mismatched_keys"])
        raise ValueError(f"{name} has the shape {tuple(there)}, and by config.json it must have {tuple(wanted)}.")


def _check_precision(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """UserError for weights that stayed in a precision in which nothing can be learned."""
    kinds = {parameter.dtype for parameter in model.parameters()} - {dtype, torch.float32}
    if kinds:
        names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        raise UserError(
            f"its weights are quantized ({names}), so that they cannot be trained. Give the model in bfloat16 or "
            f"float32 that it was made from."
        )


@contextmanager
def model_errors(settings: ModelSettings, doing: str) -> Iterator[None]:
    """Translate what a model's own code raises while ``doing`` something into UserError."""
    try:
        with device_errors(doing, "Take a smaller model, or a smaller part of it (model.lora)."):
            yield
    except (UnsqueezeError, Interrupted):
        raise
    except Exception as error:  # whatever the code of a family raises
        raise UserError(
            f"model.path is {settings.path!r}, and the code of its family failed while {doing}: {one_line(error)} Give "
            f"a model of another family, or use another version of transformers ({transformers.__version__} is here)."
        ) from error


@contextmanager
def messages_held_back() -> Iterator[None]:
    """Hold back what transformers logs inside until the end, and drop it where an error is raised: that says it all."""
    logger = transformers.utils.logging.get_logger()
    handlers, propagate = logger.handlers, logger.propagate
    held = BufferingHandler(sys.maxsize)
    logger.handlers, logger.propagate = [held], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate
    for record in held.buffer:
        logging.getLogger(record.name).handle(record)


def without_progress_bars() -> None:
    """Switch off transformers' bars over the loading of a few files, which stand between a person and our own."""
    transformers.utils.logging.disable_progress_bar()
