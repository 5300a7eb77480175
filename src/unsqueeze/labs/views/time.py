"""A row an arm: what an iteration takes (Table 5 of arXiv 2604.16995)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unsqueeze.labs.gather import Gathered, Results
from unsqueeze.labs.grid import PlannedRun
from unsqueeze.labs.views.cells import name_column, spread, spread_column
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.tables import Column, Table
from unsqueeze.training.phase_report import PhaseReport


def time(found: Results) -> Table:
    """Seconds of RL and of IRL a pass over the training problems: mean over seeds."""
    trained = {cell: [run for run in runs if isinstance(run.run, PlannedRun)] for cell, runs in found.cells.items()}
    rows = [[cell.label, *_cells(runs), len(runs)] for cell, runs in trained.items() if runs]
    return Table(
        columns=[
            name_column(),
            spread_column("RL, s a pass", scale=1.0),
            spread_column("IRL, s a pass", digits=2, scale=1.0),
            spread_column("IRL / RL, %"),
            spread_column("generated tokens/s", digits=0, scale=1.0),
            spread_column("peak device memory, GB", scale=1.0),
            spread_column("rollouts a problem", digits=1, scale=1.0),
            spread_column("sampled tokens, k", digits=0, scale=1e-3),
            Column("seeds"),
        ],
        rows=rows,
        title="Time",
        caption="Seconds of the phases' own work a pass over the training problems, of runs that shared the machine: "
        "mean over seeds [smallest, largest]. Rollouts and sampled tokens are those of training; IRL adds none.",
    )


@dataclass(frozen=True, slots=True)
class _Cost:
    """Seconds of RL and of IRL a pass; tokens a second of sampling; GB; rollouts a problem and tokens of training."""

    rl_s: float
    irl_s: float
    tokens_per_s: float | None
    peak_gb: float | None
    rollouts: float
    tokens: float


def _cells(runs: Sequence[Gathered]) -> list[Any]:
    costs = [_cost_of(run) for run in runs]
    with_irl = any(cost.irl_s for cost in costs)
    return [
        spread([cost.rl_s for cost in costs]),
        spread([cost.irl_s for cost in costs]) if with_irl else None,
        spread([cost.irl_s / cost.rl_s for cost in costs]) if with_irl else None,
        spread([cost.tokens_per_s for cost in costs]),
        spread([cost.peak_gb for cost in costs]),
        spread([cost.rollouts for cost in costs]),
        spread([cost.tokens for cost in costs]),
    ]


def _cost_of(run: Gathered) -> _Cost:
    directory = RunDirectory.open(run.path)
    reports = PhaseReport.all_in(directory.journal.read())
    steps = [record for record in directory.metrics.read() if record["kind"] == "rl"]
    num_train = int(directory.info["data"]["num_train"])
    passes = run.run.recipe.rl.steps * run.run.recipe.rl.prompts_per_step / num_train

    def total(name: str) -> float:
        return float(sum(step.get(name) or 0 for step in steps))

    def seconds_a_pass(kind: str) -> float:
        return sum(report.seconds for report in reports if report.kind == kind) / passes

    peaks = [step["peak_device_mb"] for step in steps if step.get("peak_device_mb") is not None]
    sampled_s = total("generate_s")
    return _Cost(
        rl_s=seconds_a_pass("rl"),
        irl_s=seconds_a_pass("irl"),
        tokens_per_s=total("sampled_tokens") / sampled_s if sampled_s else None,
        peak_gb=max(peaks) / 1024 if peaks else None,
        rollouts=total("num_sampled") / num_train,
        tokens=total("sampled_tokens"),
    )
