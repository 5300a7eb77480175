"""Products with weights that do not change for a while, laid out as the processor reads them best.

A product of few rows takes its time from reading the weights. On x86 oneDNN, which PyTorch brings along, reads fp32
weights that it has laid out itself 1.1 to 1.8 times as fast as a plain product does at 8 to 128 rows, and a head of
49,152 tokens 1.5 to 2.4 times (``benchmarks/packed_products.py``). The numbers are those of a plain product to
rounding.
"""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from unsqueeze.cost.memory import PACKED_SHARE

_FEWEST_WEIGHTS = 2**16
"""A smaller matrix stays in the cache, and laying it out gains nothing."""
_LIMIT_OF_CONTAINER = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Form:
    """How weights are held while responses are drawn: their type, and whether the large ones are laid out anew."""

    dtype: torch.dtype
    is_packed: bool

    @classmethod
    def of(cls, model: nn.Module, dtype: torch.dtype) -> "Form":
        """Return the form that is fastest for products in ``dtype`` on the device of ``model``."""
        parameters = list(model.parameters())
        fits = sum(4 * each.numel() for each in parameters) <= _main_memory() // PACKED_SHARE
        on_cpu = all(each.device.type == "cpu" for each in parameters)
        return cls(dtype, fits and on_cpu and dtype is torch.float32 and _is_known_to_gain())


class Product:
    """x ↦ x · weightᵀ + bias, for a weight that stays as it is; x and the result are in the type of ``form``."""

    def __init__(self, weight: Tensor, bias: Tensor | None, form: Form) -> None:
        weight = weight.to(form.dtype)
        self._bias = None if bias is None else bias.to(form.dtype)
        self.is_packed = form.is_packed and weight.numel() >= _FEWEST_WEIGHTS
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight) if self.is_packed else weight

    def __call__(self, values: Tensor) -> Tensor:
        if not self.is_packed:
            return linear(values, self._weight, self._bias)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(values, self._weight, self._bias, "none", [], "")
        return product


def _is_known_to_gain() -> bool:
    return platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()


def _main_memory() -> int:
    """Return the bytes of main memory that this process may have; 0 where the system does not tell."""
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 0
    try:
        return min(whole, int(_LIMIT_OF_CONTAINER.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return whole
