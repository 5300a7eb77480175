"""Activations that are computed again in the backward pass instead of kept (gradient checkpointing)."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

_SETTINGS = {"use_reentrant": False}


def recompute_activations(model: PreTrainedModel) -> None:
    """Have the layers of a model in evaluation mode compute their activations again in the backward pass."""
    enable: Any = getattr(model, "activation_checkpointing_enable", None)  # the name in transformers 5.24
    if enable is not None:
        enable(activation_checkpointing_kwargs=_SETTINGS)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=_SETTINGS)
    put_layers_in_training(model)


def put_layers_in_training(model: nn.Module) -> None:
    """Put the layers alone into training mode, the only one in which transformers computes activations again.

    Everything inside them, dropout too, stays in evaluation mode.
    """
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            module.training = True


def recomputes_activations(model: nn.Module) -> bool:
    """Tell whether any layer of a model is set to compute its activations again."""
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
