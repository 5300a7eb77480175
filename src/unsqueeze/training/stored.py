"""What a run that goes on finds of what it stored before: mended where that can be, said in any case.

Training itself needs little of it (``training.resume``); people, and commands that read runs, need the rest.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from unsqueeze.config.recipe import Recipe
from unsqueeze.digests import check_sums
from unsqueeze.errors import RunError
from unsqueeze.evaluation.summarise import summarise_samples
from unsqueeze.metrics.summary import powers_of_two_up_to
from unsqueeze.seeds import derive_seed
from unsqueeze.store.evals import EvalWriter
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.samples import SAMPLE_SCHEMA
from unsqueeze.store.seal import check_seal
from unsqueeze.store.table import read_table
from unsqueeze.training.generate import generation_steps
from unsqueeze.training.state import state_fault

NAMED = 5
"""So many files are named; of further ones it is said how many there are."""


def mend_stored(directory: RunDirectory, recipe: Recipe) -> list[str]:
    """Read everything a run has stored; a sentence for each thing that is missing or damaged, and what was done.

    A summary of an evaluation is made again from its samples. What is damaged is moved aside, to ``NAME.damaged``,
    only where something else takes its place.
    """
    events = directory.journal.read()
    return [
        *_evaluations(directory.evals, "evaluated", "evaluation", events, recipe),
        *_evaluations(directory.validation, "validated", "validation", events, recipe),
        *_rollouts(directory, recipe),
        *_demonstrations(directory, events),
        *_checkpoints(directory),
    ]


def _evaluations(
    store: EvalWriter, event: str, name: str, events: Iterable[dict[str, Any]], recipe: Recipe
) -> Iterator[str]:
    """Evaluations that the journal says were made."""
    for record in {line["step"]: line for line in events if line["event"] == event}.values():
        step = record["step"]
        path, samples_path = store.summary_path(step), store.samples_path(step)
        summary, samples = _fault(store.summary, step), _seal_fault(samples_path)
        if summary is None and samples is not None:
            yield f"{samples_path}: {samples}. The summary beside it is whole; the single answers are lost."
        elif summary is not None and samples is None:
            _move_aside(path)
            store.finish(step, _summary_again(store, name, record, recipe))
            yield f"{summary} It was made again from the samples beside it."
        elif summary is not None:
            for damaged in (path, samples_path):
                _move_aside(damaged)
            yield (
                f"{summary} {samples_path}: {samples}. That evaluation is lost: it is made again only where it was "
                f"the one before training, or the last."
            )


def _summary_again(store: EvalWriter, name: str, record: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """The summary of stored samples, as it was but for how long it took."""
    step = record["step"]
    settings = recipe.evaluation
    n = settings.n if name == "evaluation" else settings.validation_n
    samples = read_table(store.samples_path(step), SAMPLE_SCHEMA)
    seed = derive_seed(recipe.seed, name, step)
    summary = summarise_samples(samples, powers_of_two_up_to(n), seed=seed % 2**32).to_json_object()
    del summary["benchmarks"]
    return summary | {
        "greedy_logp": record["greedy_logp"],
        "step": step,
        "policy_version": record.get("policy_version"),
        "temperature": settings.temperature,
        "seconds": None,
        "made_again": True,
    }


def _rollouts(directory: RunDirectory, recipe: Recipe) -> Iterator[str]:
    """The rollouts of the steps up to the last checkpoint."""
    done = directory.checkpoints.latest() or 0
    num_train = directory.info.get("data", {}).get("num_train")
    expected = {
        steps[0]
        for phase in (recipe.phases(num_train) if num_train else ())
        if phase.kind == "rl"
        for steps in generation_steps(phase.first_step, phase.last_step, 0, recipe.rl.steps_per_generation)
        if steps[0] <= done
    }
    store = directory.rollouts
    paths = [store.path(step) for step in sorted(expected | set(store.steps()))]
    yield from _told(paths, _seal_fault, "Training reads those of its present phase only, and says so where it does.")


def _demonstrations(directory: RunDirectory, events: Iterable[dict[str, Any]]) -> Iterator[str]:
    done = {line["phase"] for line in events if line["event"] == "phase_finished" and line.get("kind") == "irl"}
    store = directory.demos
    paths = [store.path(number) for number in sorted(done | set(store.numbers()))]
    yield from _told(paths, _seal_fault, "Training does not need them any more.")


def _checkpoints(directory: RunDirectory) -> Iterator[str]:
    """Exported policies, and states that a run does not go on from: the last one is read by whoever does."""
    folders = [directory.checkpoints.path(step) for step in directory.checkpoints.steps()]
    yield from _told(
        [folder / "policy" for folder in folders],
        policy_fault,
        "That of the last checkpoint is written again; of another, state/ holds the weights.",
    )
    yield from _told(
        [folder / "state" for folder in folders[:-1]], state_fault, "That checkpoint is not one to go back to."
    )


def policy_fault(folder: Path) -> str | None:
    """Say what is wrong with an exported policy, if anything is."""
    if not folder.is_dir():
        return "it does not exist"
    try:
        check_sums(folder)
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _told(paths: Iterable[Path], fault_of: Callable[[Path], str | None], consequence: str) -> Iterator[str]:
    """One sentence about all of them in which there is a fault."""
    faults = [f"{path}: {fault}" for path in paths if (fault := fault_of(path)) is not None]
    if faults:
        more = f"; and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
        yield f"{'; '.join(faults[:NAMED])}{more}. {consequence}"


def _fault(read: Callable[[int], object], step: int) -> str | None:
    try:
        read(step)
    except RunError as error:
        return str(error)
    return None


def _seal_fault(path: Path) -> str | None:
    try:
        check_seal(path)
    except FileNotFoundError:
        return "it does not exist"
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _move_aside(path: Path) -> None:
    if path.exists():
        path.replace(path.with_name(f"{path.name}.damaged"))
