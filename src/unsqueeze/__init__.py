"""Unsqueeze: RL on verifiable rewards without squeezing out exploration (SPS, arXiv 2604.16995)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unsqueeze.algos.surrogate import ALGORITHMS
    from unsqueeze.api.judging import compare, judge, score
    from unsqueeze.config.load import load_recipe
    from unsqueeze.config.recipe import Recipe
    from unsqueeze.metrics.passk import pass_at_k

__version__ = "0.1.0"

_PLACES = {
    "ALGORITHMS": "unsqueeze.algos.surrogate",
    "Recipe": "unsqueeze.config.recipe",
    "compare": "unsqueeze.api.judging",
    "judge": "unsqueeze.api.judging",
    "load_recipe": "unsqueeze.config.load",
    "pass_at_k": "unsqueeze.metrics.passk",
    "score": "unsqueeze.api.judging",
}
"""The module of each public name, loaded when the name is first asked for: ``import unsqueeze`` is instant."""

__all__ = [
    "ALGORITHMS",
    "Recipe",
    "__version__",
    "compare",
    "judge",
    "load_recipe",
    "pass_at_k",
    "score",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *_PLACES})
