"""The weights of a policy as a checkpoint would hold them, for those who take them over while training goes on."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion


@torch.no_grad()
def exported_weights(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """(name, weight) of every weight of ``model``, under the names of its checkpoint format.

    A layer with a low-rank adapter gives its weight plus what the adapter adds; the weight in the model stays as it is.
    Other weights are the live ones: whoever keeps them copies them.
    """
    plain = {name.replace(".base_layer.", "."): weight for name, weight in _merged(model)}
    yield from revert_weight_conversion(model, plain).items()


def _merged(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    for name, weight in _live_tensors(model):
        if ".lora_" in name:
            continue
        owner, _, kind = name.rpartition(".base_layer.")
        if owner and kind == "weight":
            layer: Any = model.get_submodule(owner)
            weight = weight + sum(layer.get_delta_weight(adapter) for adapter in layer.active_adapters)
        yield name, weight


def _live_tensors(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Yield what ``state_dict`` holds, tied weights under each of their names, as it is: of gathered weights, FSDP2's
    hook there would leave pieces again.
    """
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and name not in module._non_persistent_buffers_set:
                yield f"{prefix}.{name}" if prefix else name, tensor.detach()
