"""Models that are not taken as they are, read once: weights in pickles, and adapters beside their model."""

from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file

from unsqueeze.errors import MissingExtraError, UserError, one_line
from unsqueeze.policy.files import check_config
from unsqueeze.policy.loading import check_weights, messages_held_back


def load_any(path: str) -> tuple[PreTrainedModel, Any]:
    """The model at ``path`` in the precision of its files, an adapter merged into its model, and the tokenizer.

    Pickles are read as weights alone (``weights_only`` of torch): what else they hold is refused and never run.
    UserError where there is none that can be read.
    """
    try:
        with messages_held_back():
            if find_adapter_config_file(path) is not None:
                return _merged(path), AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            check_config(path)
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path,
                dtype="auto",
                trust_remote_code=False,
                weights_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
            model, found = loaded
            check_weights(found)
    except (MemoryError, UserError):
        raise
    except Exception as error:  # files of a model can be wrong in any way, and what is raised then is anything
        raise UserError(
            f"no causal language model with its tokenizer could be read from {path}. The loader said: {one_line(error)}"
        ) from error
    return model, tokenizer


def _merged(path: str) -> PreTrainedModel:
    """The model that an adapter belongs to, by its adapter_config.json, with the adapter added to its weights."""
    try:
        from peft import AutoPeftModelForCausalLM
    except ImportError:
        raise MissingExtraError(
            f"{path} is an adapter; to merge it needs peft: pip install 'unsqueeze[peft]'."
        ) from None
    merged: PreTrainedModel = AutoPeftModelForCausalLM.from_pretrained(path, dtype="auto").merge_and_unload()
    return merged
