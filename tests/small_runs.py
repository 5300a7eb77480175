"""A training run small enough for a test: a tiny random model, Countdown, and everything in a temporary folder."""

from pathlib import Path
from typing import Any

from unsqueeze.config.load import check_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.progress import Silent, StopRequest
from unsqueeze.training.loop import train
from unsqueeze.training.phase_report import PhaseReport
from unsqueeze.training.run import Run
from unsqueeze.training.setup import load_parts, open_directory, put_together

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 3,
    "threads": 1,
    "data": {"kind": "countdown", "num_train": 12, "num_test": 4},
    "rollout": {"max_tokens": 20},
    "rl": {"steps": 5, "prompts_per_step": 4, "group_size": 4, "learning_rate": 1e-3},
    "irl": {"every_steps": 2, "k": 2, "steps": 2, "batch_size": 8, "learning_rate": 1e-3},
    "evaluation": {"n": 4},
    "checkpoint": {"every_steps": 1},
}


def small_recipe(**sections: Any) -> Recipe:
    """The recipe above, with whole sections replaced key by key."""
    raw = dict(SMALL)
    for name, value in sections.items():
        inner = raw.get(name)
        raw[name] = inner | value if isinstance(inner, dict) and isinstance(value, dict) else value
    return check_recipe(raw, "test")


def prepare(recipe: Recipe, path: Path, *, stop: StopRequest | None = None) -> tuple[Run, Any]:
    """The run of a recipe in a folder (a new one, or one to go on with) and its reference policy."""
    parts = load_parts(recipe)
    directory = open_directory(recipe, parts, path)
    run = put_together(recipe, parts, directory, progress=Silent(), stop=stop or StopRequest())
    return run, parts.reference


def run_to_end(recipe: Recipe, path: Path) -> tuple[Run, list[PhaseReport]]:
    """Train to the end; returns the run and the reports of its phases."""
    run, reference = prepare(recipe, path)
    reports = train(run, reference=reference)
    run.verifier.close()
    run.directory.close()
    return run, reports


def weights(run: Run) -> dict[str, Any]:
    """A copy of the policy's weights."""
    return {name: parameter.detach().clone() for name, parameter in run.policy.trainable()}


def without_timings(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics with everything but the seconds, which no two runs share."""
    return [{key: value for key, value in record.items() if not key.endswith("_s")} for record in records]


def evaluation_record(num_problems: int, avg: float | None, pass_at: dict[int, float | None]) -> dict[str, Any]:
    """The record of an evaluation, of which only the means matter."""

    def estimate(mean: float | None) -> dict[str, float | None]:
        return {"mean": mean, "low": None, "high": None}

    return {
        "n_problems": num_problems,
        "avg": avg,
        "avg_low": None,
        "avg_high": None,
        "pass_at": {str(k): estimate(mean) for k, mean in pass_at.items()},
        "coverage": estimate(None),
        "greedy_logp": -0.1,
    }
