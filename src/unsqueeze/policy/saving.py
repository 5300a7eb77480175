"""A model and its tokenizer written as a checkpoint in Hugging Face format, whatever its files said."""

import copy
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel


def save_pretrained(model: PreTrainedModel, tokenizer: Any, folder: Path, *, dtype: torch.dtype | None = None) -> None:
    """Write ``model``, its weights as ``dtype`` (None: as they are), and the tokenizer into ``folder``.

    How to generate is written as it was read. transformers would refuse what it only warned of when it loaded it, such
    as a temperature beside ``do_sample: false``.
    """
    state = {
        name: weight.to(dtype) if dtype is not None and weight.is_floating_point() else weight
        for name, weight in model.state_dict().items()
    }
    as_read = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        model.save_pretrained(folder, state_dict=state)
    finally:
        model.generation_config = as_read
    as_read.to_json_file(folder / "generation_config.json")
    # That wrote the precision of the weights in training into the configuration, not that of the saved ones.
    config = copy.deepcopy(model.config)
    config.dtype = model.dtype if dtype is None else dtype
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
