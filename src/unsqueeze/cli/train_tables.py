"""Tables of ``unsqueeze train``: what a run will need, what training did, and what to type next."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from unsqueeze.api.training import Trained, TrainedArm
from unsqueeze.cli.compare_tables import between, signed
from unsqueeze.cli.evaluate import estimates
from unsqueeze.cli.options import chance
from unsqueeze.config.data_settings import DataSettings
from unsqueeze.cost.units import in_bytes, in_time
from unsqueeze.metrics.comparison import Comparison
from unsqueeze.metrics.intervals import Estimate
from unsqueeze.metrics.summary import Summary
from unsqueeze.progress import Progress
from unsqueeze.store.best import Best
from unsqueeze.store.names import step_file
from unsqueeze.tables import shown_ks
from unsqueeze.training.arms import CheckedArm

MOST_NAME_WIDTH = 12
"""Columns that the names of two arms get in a narrow window, one below the other; longer ones are folded."""

NO_BEST = (
    "No checkpoint is called the best: there are no validation problems (data.num_validation), and test problems must "
    "not choose."
)


def print_plans(console: Console, arms: Mapping[str, CheckedArm]) -> None:
    """Print the plan of every arm in a few lines."""
    for name, arm in arms.items():
        for line in plan_lines(arm):
            console.print(f"{name}: {line}", markup=False, highlight=False, soft_wrap=True)


def plan_lines(arm: CheckedArm) -> list[str]:
    """Return the plan of one arm in a few lines."""
    work, disk, rl, irl = arm.estimate.workload, arm.estimate.disk, arm.recipe.rl, arm.recipe.irl
    phases = f"{work.rl_phases} RL" + (f" and {work.irl_phases} IRL" if irl else "")
    updates = f", {work.irl_updates} IRL updates" if irl else ""
    return [
        f"{phases} phase{'s' if work.rl_phases + work.irl_phases > 1 else ''}: {rl.steps} RL steps of "
        f"{rl.prompts_per_step} × {rl.group_size} rollouts{updates}; {work.evaluations} evaluations of "
        f"{work.problems_per_evaluation} × {arm.recipe.evaluation.n} samples; {work.checkpoints} "
        f"checkpoint{'s' if work.checkpoints > 1 else ''}",
        f"estimated: {in_bytes(arm.estimate.memory.peak)} of memory, {in_time(arm.estimate.duration.total)} "
        f"({arm.estimate.duration.irl_share:.1%} of RL's for IRL), {in_bytes(disk.total)} of disk "
        f"({in_bytes(arm.free_space)} free); how: docs/planning.md",
        f"tried in {arm.seconds:.1f} s: data, prompts, model, gold answers, a generation, a loss, a checkpoint",
        *arm.left_out,
    ]


def print_results(console: Console, progress: Progress, trained: Trained) -> None:
    """Print the table of all arms, what no one may miss, and where everything is."""
    arms = list(trained.arms.values())
    console.print(table_caption(arms[0]), highlight=False, soft_wrap=True)
    console.print(results_table(arms))
    most = arms[0].before.max_k
    console.print("Paired differences in points, 95 % intervals over problems, p by sign flips", highlight=False)
    console.print(differences_table(trained.comparisons(shown_ks(most), progress=progress), most))
    for arm in arms:
        for warning in filter(None, (report.warning() for report in arm.reports)):
            progress.warn(f"{arm.name}: {warning}")
        if arm.best:
            progress.say(f"{arm.name}: {describe_best(arm.best, arm)}")
    if not any(arm.best for arm in arms):
        progress.say(NO_BEST)
    for arm in arms:
        progress.say(f"{arm.name}: {arm.path}")


def differences_table(comparisons: Mapping[tuple[str, str], Comparison], n: int) -> Table:
    """Return a line a pair: differences of Avg@n and Pass@k with interval and p, and the problems solved by one alone.

    A problem is gained where only the former of the two has a correct sample, lost where only the latter has.
    """
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0))
    # In a narrow window the numbers would take all the room, and nobody could tell the lines apart.
    longest = max(max(len(f"{other} −"), len(first)) for other, first in comparisons)
    table.add_column("", overflow="fold", min_width=min(longest, MOST_NAME_WIDTH))
    ks = list(next(iter(comparisons.values())).pass_at)
    for heading in (f"Avg@{n}", *(f"Pass@{k}" for k in ks), "gained", "lost"):
        table.add_column(heading, justify="right", no_wrap=True)
    for (other, first), comparison in comparisons.items():
        contrasts = [comparison.avg, *comparison.pass_at.values()]
        cells = [
            f"{signed(one.paired.difference.mean)}\n{tight(one.paired.difference)}\np {chance(one.paired.p_value)}"
            for one in contrasts
        ]
        table.add_row(f"{other} −\n{first}", *cells, str(comparison.num_gained), str(comparison.num_lost))
    return table


def tight(estimate: Estimate) -> str:
    """Return an interval in points without room around it: four of them go into eighty columns beside a name."""
    return between(estimate).replace(" ", "")


def next_after(recipe: str, overrides: Sequence[str], directory: Path, trained: Trained) -> dict[str, str]:
    """Return the commands that go on from a finished training, to be typed as they are, and what each is for."""
    arm = list(trained.arms.values())[-1]
    settings = arm.run.recipe
    seed, several = settings.seed + 1, len(trained) > 1
    again = Path(f"{directory}-seed-{seed}")
    kept = [override for override in overrides if override.partition("=")[0] != "seed"]
    flags = [part for override in (*kept, f"seed={seed}") for part in ("--set", override)]
    return {
        shlex.join(["unsqueeze", "compare", *as_sides(directory, several)]): "the paired comparison at every k",
        shlex.join(["unsqueeze", "diagnose", str(arm.path), *as_task(settings.data)]): "how squeezed the model is",
        shlex.join(["unsqueeze", "train", recipe, *flags, "--run", str(again)]): "one seed is one seed: another",
        shlex.join(
            ["unsqueeze", "compare", *as_sides(directory, several), *as_sides(again, several)]
        ): "and both together, paired by problem and seed",
    }


def as_sides(directory: Path, several: bool) -> list[str]:
    """Return what ``compare`` is told: the folder of several arms, or a run and the model that it began with."""
    base = directory / "evals" / step_file(0, ".parquet")
    return [str(directory)] if several else [f"base={base}", f"trained={directory}"]


def as_task(data: DataSettings) -> list[str]:
    """Return the options by which ``eval`` and ``diagnose`` find the held-out problems of a run."""
    if data.test_path is None:
        name = data.options.get("name")
        return ["--task", data.kind if name is None else f"{data.kind}:{name}"]
    fields = dict(zip(("--problem-field", "--answer-field"), data.fields_of(data.test_path), strict=True))
    defaults = {"--problem-field": "problem", "--answer-field": "answer"}
    named = [part for flag, field in fields.items() if field != defaults[flag] for part in (flag, field)]
    return ["--task", data.test_path, *named]


def describe_best(best: Best, arm: TrainedArm) -> str:
    """Say which checkpoint is best, on which problems it was chosen, and how to name it."""
    return (
        f"best checkpoint after step {best.step}, chosen on {best.num_problems} validation problems: "
        f"Avg@{best.n} {100 * best.avg:.1f}, Pass@{best.n} {100 * best.pass_at_n:.1f}; "
        f"unsqueeze eval {arm.path / 'checkpoints' / 'best'}"
    )


def table_caption(arm: TrainedArm) -> str:
    """Caption the numbers of the table."""
    summary = arm.before
    return (
        f"{summary.n_problems} held-out problems, {summary.max_k} samples each at temperature {arm.temperature}; % "
        f"with 95 % intervals over problems, log-probs in nats per token"
    )


def results_table(arms: Sequence[TrainedArm]) -> Table:
    """Return base, then a line an arm: Avg@n, Pass@k with 95 % intervals, greedy log-prob, minutes."""
    first = arms[0].before
    ks = shown_ks(first.max_k)
    table = Table(box=box.SIMPLE)
    table.add_column("", overflow="fold")  # a name is shown whole, however narrow the terminal
    for heading in (f"Avg@{first.max_k}", *(f"Pass@{k}" for k in ks)):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("greedy\nlog-prob", justify="right")
    table.add_column("minutes", justify="right")
    table.add_row("base", *_cells(first, ks), "")
    for arm in arms:
        table.add_row(arm.name, *_cells(arm.after, ks), f"{arm.minutes:.1f}")
    return table


def _cells(summary: Summary, ks: Sequence[int]) -> list[str]:
    return [*estimates(summary, ks), f"{summary.greedy_logp:.3f}"]
