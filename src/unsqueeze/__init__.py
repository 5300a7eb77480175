"""Unsqueeze: RL on verifiable rewards without squeezing out exploration (SPS, arXiv 2604.16995)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unsqueeze.api import compare, judge, score

__version__ = "0.1.0"
__all__ = ["__version__", "compare", "judge", "score"]


def __getattr__(name: str) -> Any:
    """``judge``, ``score`` and ``compare`` load when first asked for, so that ``import unsqueeze`` stays instant."""
    if name in __all__:
        from unsqueeze import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
