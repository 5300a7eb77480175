"""Strict JSON of the values a run records.

JSON has no NaN and no infinity, and readers other than Python's refuse them: both are written as ``null``. NumPy
scalars become numbers, paths become strings.
"""

import json
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any


def dumps(value: Any, *, indent: int | None = None) -> str:
    """``value`` as strict JSON text, ASCII only, so that no text of a model can break a line or an encoding.

    TypeError for what has no JSON form.
    """
    try:
        return json.dumps(value, default=_plain, allow_nan=False, indent=indent)
    except ValueError:  # a number that is not finite, somewhere inside: only then is it worth walking the whole value
        return json.dumps(_finite(value), allow_nan=False, indent=indent)


def _plain(value: Any) -> Any:
    if isinstance(value, PurePath):
        return str(value)
    if getattr(value, "ndim", None) == 0:
        return value.item()
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return _finite(_plain(value))
