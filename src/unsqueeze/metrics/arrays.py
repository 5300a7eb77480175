"""Types of one value, or one label, per problem."""

from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[Any] | Sequence[float | int]
Labels: TypeAlias = NDArray[Any] | Sequence[Hashable]
