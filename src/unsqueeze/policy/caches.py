"""A model's memory of what it has read, under the name that the model gives it.

Models of transformers 5.24 take and return it as ``cache``, those of 5.19, and code written for it, as
``past_key_values``; the old name still works there, with a warning, until 5.40.
"""

import inspect
from collections.abc import Callable
from typing import Any


def cache_argument(forward: Callable[..., Any]) -> str:
    """Return the name of the argument under which a model's ``forward`` takes what was read before."""
    return "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"


def cache_of(output: Any) -> Any:
    """Return what a model remembers, out of its output; None where it gives nothing back."""
    return output.cache if hasattr(output, "cache") else getattr(output, "past_key_values", None)
