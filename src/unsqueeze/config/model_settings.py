"""The model that is trained, and its adapters."""

from typing import Literal

from pydantic import Field

from unsqueeze.config.settings import Settings


class LoraSettings(Settings):
    rank: int = Field(16, ge=1)
    """Rank of the adapters' matrices."""
    alpha: int = Field(32, ge=1)
    """The adapters' output is scaled by alpha / rank."""
    target_modules: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Names of the layers that get an adapter."""


class ModelSettings(Settings):
    path: str = "countdown-0.4m"
    """A folder in Hugging Face format, a hub name, or the name of a model that ships inside the package."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """The device to train on. `auto` takes a GPU where there is one."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of forward and backward passes. The weights themselves are kept in fp32 while training."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    lora: LoraSettings | None = None
    """Train low-rank adapters instead of the weights; the exported policy has them merged. Needs the extra `peft`."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for models whose authors you trust."""
