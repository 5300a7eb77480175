"""Whole lives of small runs, as the command line leads them, and the comparison with one that nothing happened to."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from small_runs import random_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.progress import Interrupted, Silent, StopRequest
from unsqueeze.training.arms import train_arm

TINY: dict[str, Any] = {
    "data": {"num_test": 2},
    "rl": {"steps": 4, "prompts_per_step": 3, "group_size": 4},
    "irl": {"every_steps": 3, "steps": 1},
    "evaluation": {"n": 2},
}


def tiny_recipe(**sections: Any) -> Recipe:
    """A run of a quarter of a second: an RL phase of three steps, IRL, a fourth step. Needs ``judged_by_hash``."""
    merged = TINY | {name: TINY.get(name, {}) | section for name, section in sections.items()}
    return random_recipe(**merged)


class Told(Silent):
    """Keeps what a person would be warned of."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class StopOnceSaved(StopRequest):
    """Asks to stop at the first safe point after the checkpoint of a step."""

    def __init__(self, path: Path, step: int) -> None:
        super().__init__()
        self._saved = path / "checkpoints" / f"step-{step:06}"

    def check(self) -> None:
        if self._saved.exists():
            raise Interrupted


def live(recipe: Recipe, path: Path, stop: StopRequest | None = None, shown: Silent | None = None) -> None:
    """Train in ``path`` to the end: from the start, or from where the run there is."""
    train_arm("tiny", recipe, path, shown or Silent(), stop or StopRequest())


def live_twice(recipe: Recipe, path: Path, step: int) -> None:
    """Train in ``path``, stop once the checkpoint of ``step`` is saved, and go on to the end in a second life."""
    try:
        live(recipe, path, StopOnceSaved(path, step))
    except Interrupted:
        live(recipe, path)
    else:
        raise AssertionError(f"it was never stopped after step {step}")


def crash_benchmark() -> ModuleType:
    """``benchmarks/crash.py``, which is no part of a package."""
    name = "benchmark_of_crashes"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / "benchmarks" / "crash.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def differences(whole: Path, resumed: Path) -> list[str]:
    """In what a finished run differs from one that nothing happened to."""
    found: list[str] = crash_benchmark().differences(whole, resumed)
    return found
