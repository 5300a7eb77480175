"""A row an arm: what an iteration takes (Table 5 of arXiv 2604.16995)."""

from collections.abc import Sequence
from typing import Any

from unsqueeze.labs.gather import Gathered, Results
from unsqueeze.labs.views.cells import name_column, spread, spread_column
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.tables import Column, Table
from unsqueeze.training.phase_report import PhaseReport


def time(found: Results) -> Table:
    """Seconds of RL and of IRL a pass over the training problems: mean over seeds."""
    rows = [[cell.label, *_cells(runs), len(runs)] for cell, runs in found.cells.items() if runs]
    return Table(
        columns=[
            name_column(),
            spread_column("RL, s a pass", scale=1.0),
            spread_column("IRL, s a pass", digits=2, scale=1.0),
            spread_column("IRL / RL, %"),
            spread_column("sampled tokens, k", digits=0, scale=1e-3),
            Column("seeds"),
        ],
        rows=rows,
        title="Time",
        caption="Seconds of the phases' own work a pass over the training problems, of runs that shared the machine: "
        "mean over seeds [smallest, largest]. Sampled tokens: of training, which IRL adds none to.",
    )


def _cells(runs: Sequence[Gathered]) -> list[Any]:
    found = [_measured(run) for run in runs]
    rl, irl, tokens = ([each[i] for each in found] for i in range(3))
    shares = [each[1] / each[0] if each[0] else 0.0 for each in found]
    return [spread(rl), spread(irl) if any(irl) else None, spread(shares) if any(irl) else None, spread(tokens)]


def _measured(run: Gathered) -> tuple[float, float, float]:
    """Seconds of RL and of IRL a pass, and tokens sampled in training."""
    directory = RunDirectory.open(run.path)
    reports = PhaseReport.all_in(directory.journal.read())
    rl = run.run.recipe.rl
    passes = rl.steps * rl.prompts_per_step / int(directory.info["data"]["num_train"])
    seconds = [sum(each.seconds for each in reports if each.kind == kind) / passes for kind in ("rl", "irl")]
    tokens = sum(record["sampled_tokens"] for record in directory.metrics.read() if record.get("sampled_tokens"))
    return seconds[0], seconds[1], float(tokens)
