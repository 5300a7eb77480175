"""Unsqueeze: RL on verifiable rewards without squeezing out exploration (SPS, arXiv 2604.16995).

    import unsqueeze as uq

docs/api.md has every name by what it is for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unsqueeze import losses, testing
    from unsqueeze.algos.surrogate import ALGORITHMS
    from unsqueeze.api.averaging import average
    from unsqueeze.api.converting import convert
    from unsqueeze.api.demonstrations import irl
    from unsqueeze.api.evaluating import diagnose, evaluate
    from unsqueeze.api.exporting_recipes import export_recipe
    from unsqueeze.api.health import doctor
    from unsqueeze.api.judging import compare, compare_all, export, judge, judge_file, score
    from unsqueeze.api.lab import lab, suites
    from unsqueeze.api.paths import compare_paths
    from unsqueeze.api.planning import plan
    from unsqueeze.api.plugins import plugin
    from unsqueeze.api.problems import load_problems
    from unsqueeze.api.runs import open_arms, open_run
    from unsqueeze.api.selecting import select
    from unsqueeze.api.training import check, train
    from unsqueeze.config.load import load_recipe
    from unsqueeze.config.recipe import Recipe
    from unsqueeze.evaluation.models import load_model, served
    from unsqueeze.evaluation.result import Evaluation
    from unsqueeze.metrics.passk import pass_at_k
    from unsqueeze.metrics.summary import Summary
    from unsqueeze.report.plotting import plot
    from unsqueeze.report.write import write_figures, write_report
    from unsqueeze.tasks.problem import Problem
    from unsqueeze.tasks.task import Task
    from unsqueeze.training.callbacks import Callback
    from unsqueeze.verify.verdict import Verdict

__version__ = "0.1.0"

_PLACES = {
    "ALGORITHMS": "unsqueeze.algos.surrogate",
    "Callback": "unsqueeze.training.callbacks",
    "Evaluation": "unsqueeze.evaluation.result",
    "Problem": "unsqueeze.tasks.problem",
    "Recipe": "unsqueeze.config.recipe",
    "Summary": "unsqueeze.metrics.summary",
    "Task": "unsqueeze.tasks.task",
    "Verdict": "unsqueeze.verify.verdict",
    "average": "unsqueeze.api.averaging",
    "check": "unsqueeze.api.training",
    "compare": "unsqueeze.api.judging",
    "compare_all": "unsqueeze.api.judging",
    "compare_paths": "unsqueeze.api.paths",
    "convert": "unsqueeze.api.converting",
    "diagnose": "unsqueeze.api.evaluating",
    "doctor": "unsqueeze.api.health",
    "evaluate": "unsqueeze.api.evaluating",
    "export": "unsqueeze.api.judging",
    "export_recipe": "unsqueeze.api.exporting_recipes",
    "irl": "unsqueeze.api.demonstrations",
    "judge": "unsqueeze.api.judging",
    "judge_file": "unsqueeze.api.judging",
    "lab": "unsqueeze.api.lab",
    "load_model": "unsqueeze.evaluation.models",
    "load_problems": "unsqueeze.api.problems",
    "load_recipe": "unsqueeze.config.load",
    "open_arms": "unsqueeze.api.runs",
    "open_run": "unsqueeze.api.runs",
    "pass_at_k": "unsqueeze.metrics.passk",
    "plan": "unsqueeze.api.planning",
    "plugin": "unsqueeze.api.plugins",
    "plot": "unsqueeze.report.plotting",
    "score": "unsqueeze.api.judging",
    "select": "unsqueeze.api.selecting",
    "served": "unsqueeze.evaluation.models",
    "suites": "unsqueeze.api.lab",
    "train": "unsqueeze.api.training",
    "write_figures": "unsqueeze.report.write",
    "write_report": "unsqueeze.report.write",
}
"""The module of each public name, loaded when the name is first asked for: ``import unsqueeze`` is instant."""

_MODULES = ("losses", "testing")

__all__ = [
    "ALGORITHMS",
    "Callback",
    "Evaluation",
    "Problem",
    "Recipe",
    "Summary",
    "Task",
    "Verdict",
    "__version__",
    "average",
    "check",
    "compare",
    "compare_all",
    "compare_paths",
    "convert",
    "diagnose",
    "doctor",
    "evaluate",
    "export",
    "export_recipe",
    "irl",
    "judge",
    "judge_file",
    "lab",
    "load_model",
    "load_problems",
    "load_recipe",
    "losses",
    "open_arms",
    "open_run",
    "pass_at_k",
    "plan",
    "plot",
    "plugin",
    "score",
    "select",
    "served",
    "suites",
    "testing",
    "train",
    "write_figures",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    if name in _MODULES:
        return import_module(f"unsqueeze.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *_PLACES, *_MODULES})
