"""A row an arm: what an iteration takes (Table 5 of arXiv 2604.16995)."""

from collections.abc import Sequence
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
            spread_column("rollouts a problem", digits=1, scale=1.0),
            spread_column("sampled tokens, k", digits=0, scale=1e-3),
            Column("seeds"),
        ],
        rows=rows,
        title="Time",
        caption="Seconds of the phases' own work a pass over the training problems, of runs that shared the machine: "
        "mean over seeds [smallest, largest]. Rollouts and sampled tokens are those of training; IRL adds none.",
    )


def _cells(runs: Sequence[Gathered]) -> list[Any]:
    found = [_measured(run) for run in runs]
    rl, irl, rollouts, tokens = ([each[i] for each in found] for i in range(4))
    shares = [each[1] / each[0] if each[0] else 0.0 for each in found]
    of_irl = [spread(irl), spread(shares)] if any(irl) else [None, None]
    return [spread(rl), *of_irl, spread(rollouts), spread(tokens)]


def _measured(run: Gathered) -> tuple[float, float, float, float]:
    """Seconds of RL and of IRL a pass, rollouts a problem, and tokens sampled in training."""
    directory = RunDirectory.open(run.path)
    reports = PhaseReport.all_in(directory.journal.read())
    rl = run.run.recipe.rl
    num_train = int(directory.info["data"]["num_train"])
    passes = rl.steps * rl.prompts_per_step / num_train
    seconds = [sum(each.seconds for each in reports if each.kind == kind) / passes for kind in ("rl", "irl")]
    records = [record for record in directory.metrics.read() if record["kind"] == "rl"]
    rollouts, tokens = (sum(record.get(name) or 0 for record in records) for name in ("num_sampled", "sampled_tokens"))
    return seconds[0], seconds[1], rollouts / num_train, float(tokens)
