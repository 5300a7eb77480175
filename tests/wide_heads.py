"""A Llama with wider attention heads that computes the same function.

vLLM's CPU kernels know heads of 32, 64, ... and the model that ships has heads of 24. Zeros fill each head up. Two
things would change with its width and are put right: rotary embeddings turn pairs (i, i + d/2) at base^(−2i/d), so the
halves of a head are filled up apart and the base becomes base^(new d / old d); and scores are divided by √d, so queries
are scaled by √(new d / old d).
"""

import copy
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, LlamaForCausalLM

from unsqueeze.models import embedded_model_path


def with_heads_of(model: LlamaForCausalLM, new: int) -> LlamaForCausalLM:
    """``model`` with heads of ``new`` dimensions."""
    config = copy.deepcopy(model.config)
    old = config.head_dim
    config.head_dim = new
    config.rope_parameters = config.rope_parameters | {
        "rope_theta": config.rope_parameters["rope_theta"] ** (new / old)
    }
    wide = LlamaForCausalLM(config).float().eval()
    state = model.state_dict()
    for name, weight in state.items():
        kind = name.split(".")[-2]
        if kind in ("q_proj", "k_proj"):
            scale = (new / old) ** 0.5 if kind == "q_proj" else 1.0
            state[name] = _fill(weight, old // 2, new // 2) * scale
        elif kind == "v_proj":
            state[name] = _fill(weight, old, new)
        elif kind == "o_proj":
            state[name] = _fill(weight.T, old, new).T.contiguous()
    wide.load_state_dict(state)
    wide.generation_config = model.generation_config
    return wide


def _fill(weight: Tensor, old: int, new: int) -> Tensor:
    """Rows in blocks of ``old``, each followed by zeros up to ``new``."""
    blocks = weight.unflatten(0, (-1, old))
    return torch.cat([blocks, blocks.new_zeros(len(blocks), new - old, weight.shape[1])], dim=1).flatten(0, 1)


def save_wide(folder: Path) -> LlamaForCausalLM:
    """Write the checkpoint that ships to a folder with heads of 32, and return it as it is there."""
    model = with_heads_of(LlamaForCausalLM.from_pretrained(embedded_model_path(), dtype=torch.float32), 32)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(embedded_model_path()).save_pretrained(folder)
    return model
