"""Translate what PyTorch raises when memory runs out or a device fails into one sentence that says what to change."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from unsqueeze.errors import RunError, UnsqueezeError

_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "STATUS_ALLOC_FAILED")
"""Texts that say so in errors that have no class of their own: the CPU's allocator, CUDA's libraries."""


@contextmanager
def device_errors(doing: str, advice: str) -> Iterator[None]:
    """RunError where memory runs out while ``doing`` something (``advice`` follows), or where the device fails.

    Everything else passes through. Also a decorator.
    """
    try:
        yield
    except UnsqueezeError:
        raise
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise RunError(f"out of memory while {doing} ({_said(error)}). {advice}") from error
        if isinstance(error, torch.AcceleratorError):
            raise RunError(f"the device failed while {doing} ({_said(error)}). A new process may go on.") from error
        raise


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an allocation failed: Python's, the CPU's in PyTorch, or a device's."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def _said(error: Exception) -> str:
    first_line = (str(error).splitlines() or [""])[0]
    return first_line[:200].rstrip(" .") or type(error).__name__
