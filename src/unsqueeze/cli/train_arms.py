"""The arms of a recipe, one after the other, and the table that sets them side by side."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import transformers
from rich import box
from rich.console import Console
from rich.table import Table

from unsqueeze.cli.progress import TerminalProgress
from unsqueeze.cli.train_plan import check_arms
from unsqueeze.config.recipe import Recipe
from unsqueeze.device_errors import device_errors
from unsqueeze.distributed.processes import ONE, Processes, connection_errors
from unsqueeze.distributed.stop import SharedStop
from unsqueeze.errors import Interrupted, RunError, UnsqueezeError
from unsqueeze.progress import Progress, StopRequest
from unsqueeze.store.best import Best, best_checkpoint
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training.base_evaluation import take_base_evaluation
from unsqueeze.training.loop import train
from unsqueeze.training.phase_report import PhaseReport
from unsqueeze.training.same_run import changed_settings
from unsqueeze.training.setup import load_parts, open_directory, put_together

NO_BEST = (
    "No checkpoint is called the best: there are no validation problems (data.num_validation), and test problems must "
    "not choose."
)
TABLE_KS = (8, 32, 128)
ENDS = ("finished", "interrupted", "failed")
"""Events that close one process's work on a run, and say how long it took."""


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One line of the final table, from the evaluations stored in the arm's directory."""

    name: str
    path: Path
    before: dict[str, Any]
    after: dict[str, Any]
    minutes: float
    reports: list[PhaseReport]
    best: Best | None


def train_arms(
    arms: Mapping[str, Recipe], paths: Mapping[str, Path], console: Console, processes: Processes = ONE
) -> bool:
    """Train every arm in its directory, or go on with it, and print the table. False if the user stopped it.

    All arms are checked before the first is trained.
    """
    silence_transformers()
    check_arms(arms, paths, console, processes)
    stop = SharedStop(processes) if processes.size > 1 else StopRequest()
    results: list[ArmResult] = []
    with TerminalProgress(console) as progress, stop.listening():
        begun_here: dict[Path, Recipe] = {}
        for name, arm in arms.items():
            is_new = not (paths[name] / "run.json").exists()
            try:
                results.append(train_arm(name, arm, paths[name], progress, stop, processes, begun_here))
            except (Interrupted, KeyboardInterrupt):
                progress.warn(
                    f"stopped as asked; what was done is in {paths[name]}. Go on with the same command and --resume."
                )
                return False
            except RunError:
                progress.warn(
                    f"it failed; what was done is in {paths[name]}. Once the cause is gone, go on with the same "
                    f"command and --resume."
                )
                raise
            if is_new and processes.size == 1:  # other processes may not see this one's disk
                begun_here[paths[name]] = arm
    console.print(table_caption(results[0].before), highlight=False, soft_wrap=True)
    console.print(results_table(results))
    for result in results:
        for warning in filter(None, (report.warning() for report in result.reports)):
            progress.warn(f"{result.name}: {warning}")
        if result.best:
            progress.say(f"{result.name}: {describe_best(result.best, result.path)}")
    if not any(result.best for result in results):
        progress.say(NO_BEST)
    for result in results:
        progress.say(f"{result.name}: {result.path}")
    return True


def train_arm(
    name: str,
    recipe: Recipe,
    path: Path,
    progress: Progress,
    stop: StopRequest,
    processes: Processes = ONE,
    begun_here: Mapping[Path, Recipe] = MappingProxyType({}),
) -> ArmResult:
    """Train one arm in its directory, or go on with it; a stop or a failure is journalled and let through.

    ``begun_here``: runs that this process began before; one that begins alike lends its evaluation before training.
    """
    with stop.awaited(), processes.agreeing():
        parts = load_parts(recipe, processes)
    with closing(open_directory(recipe, parts, path)) as directory:
        journal = directory.journal
        if not any(event["event"] == "finished" for event in journal.read()):
            begun = time.perf_counter()
            if journal.read():
                journal.append("resumed", changed=changed_settings(directory, recipe))
            else:
                journal.append("started")
            run = put_together(recipe, parts, directory, progress=progress, stop=stop)
            try:
                with (
                    stop.awaited(),
                    connection_errors(),
                    device_errors(
                        "training", "Lower rollout.max_rows and rl.tokens_per_microbatch; --resume allows it."
                    ),
                ):
                    take_base_evaluation(directory, recipe, begun_here)
                    train(run, reference=parts.reference)
                best = best_checkpoint(directory)
                journal.append("finished", seconds=time.perf_counter() - begun, best=best and asdict(best))
            except (Interrupted, KeyboardInterrupt):
                directory.last_words("interrupted", seconds=time.perf_counter() - begun)
                raise
            except UnsqueezeError as error:
                with suppress(RunError):  # the journal may be what cannot be written; the first error is to be seen
                    directory.last_words("failed", error=str(error), seconds=time.perf_counter() - begun)
                raise
            finally:
                run.tracking.close()
                run.verifier.close()
                run.engine.close()
        return arm_result(name, recipe, directory)


def arm_result(name: str, recipe: Recipe, directory: RunDirectory) -> ArmResult:
    """What a finished arm left on disk."""
    events = directory.journal.read()
    try:
        seconds = sum(event["seconds"] for event in events if event["event"] in ENDS)
        # A phase that was cut off and went on may stand in the journal twice; the last word counts.
        reports = {event["phase"]: event for event in events if event["event"] == "phase_finished"}
        phases = [PhaseReport.from_json_object(report) for report in reports.values()]
    except (KeyError, TypeError) as error:
        raise RunError(f"{directory.journal.path} has an event without {error}; the file was edited.") from error
    return ArmResult(
        name=name,
        path=directory.path,
        before=_summary(directory, 0),
        after=_summary(directory, recipe.rl.steps),
        minutes=seconds / 60,
        reports=phases,
        best=best_checkpoint(directory),
    )


def _summary(directory: RunDirectory, step: int) -> dict[str, Any]:
    """An evaluation that says all that the table needs. RunError naming the file where it does not."""
    summary = directory.evals.summary(step)
    try:
        table_caption(summary)
        _cells(summary, _table_ks(summary))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        path = directory.evals.summary_path(step)
        raise RunError(f"{path} does not say what an evaluation says ({error!r}); the file was edited.") from error
    return summary


def describe_best(best: Best, path: Path) -> str:
    """Which checkpoint is best, on which problems it was chosen, and how to name it."""
    return (
        f"best checkpoint after step {best.step}, chosen on {best.num_problems} validation problems: "
        f"Avg@{best.n} {100 * best.avg:.1f}, Pass@{best.n} {100 * best.pass_at_n:.1f}; "
        f"unsqueeze eval {path / 'checkpoints' / 'best'}"
    )


def silence_transformers() -> None:
    """Its bars over the loading of a few files would stand between a person and the run's own progress."""
    transformers.utils.logging.disable_progress_bar()


def table_caption(summary: Mapping[str, Any]) -> str:
    """What the numbers of the table are."""
    return (
        f"{summary['n_problems']} held-out problems, {max(map(int, summary['pass_at']))} samples each at temperature "
        f"{summary['temperature']}; % with 95 % intervals over problems, log-probs in nats per token"
    )


def results_table(results: Sequence[ArmResult]) -> Table:
    """base, then a line an arm: Avg@n, Pass@k with 95 % intervals over problems, greedy log-prob, minutes."""
    first = results[0].before
    ks = _table_ks(first)
    num_samples = ks[-1]
    table = Table(box=box.SIMPLE)
    table.add_column("", overflow="fold")  # a name is shown whole, however narrow the terminal
    for heading in (f"Avg@{num_samples}", *(f"Pass@{k}" for k in ks)):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("greedy\nlog-prob", justify="right")
    table.add_column("minutes", justify="right")
    table.add_row("base", *_cells(first, ks), "")
    for result in results:
        table.add_row(result.name, *_cells(result.after, ks), f"{result.minutes:.1f}")
    return table


def _table_ks(summary: Mapping[str, Any]) -> list[int]:
    num_samples = max(map(int, summary["pass_at"]))
    return sorted({k for k in TABLE_KS if k < num_samples} | {num_samples})


def _cells(summary: Mapping[str, Any], ks: Sequence[int]) -> list[str]:
    avg = {"mean": summary["avg"], "low": summary["avg_low"], "high": summary["avg_high"]}
    estimates = [avg, *(summary["pass_at"][str(k)] for k in ks)]
    return [*map(_percent, estimates), f"{summary['greedy_logp']:.3f}"]


def _percent(estimate: Mapping[str, float]) -> str:
    return f"{100 * estimate['mean']:.1f}\n{100 * estimate['low']:.0f}–{100 * estimate['high']:.0f}"
