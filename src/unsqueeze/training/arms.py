"""The arms of a recipe, checked together and trained one after the other."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from unsqueeze.config.left_out import left_out
from unsqueeze.config.recipe import Recipe
from unsqueeze.cost.estimate import Estimate
from unsqueeze.device_errors import device_errors
from unsqueeze.distributed.processes import ONE, Processes, connection_errors
from unsqueeze.errors import Interrupted, RunError, UnsqueezeError, UserError
from unsqueeze.evaluation.unreadable import Unreadable
from unsqueeze.metrics.summary import Summary
from unsqueeze.progress import Progress, Silent, StopRequest
from unsqueeze.store.best import Best, best_checkpoint
from unsqueeze.store.journal import ENDS
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.tasks.task import Data
from unsqueeze.training.base_evaluation import take_base_evaluation
from unsqueeze.training.loop import train
from unsqueeze.training.phase_report import PhaseReport
from unsqueeze.training.preflight import free_space, preflight
from unsqueeze.training.same_run import changed_machine, changed_settings, other_machine
from unsqueeze.training.setup import Own, Parts, load_parts, machine_info, open_directory, put_together
from unsqueeze.training.stored import mend_stored
from unsqueeze.training.tracked import tell_finished


@dataclass(frozen=True, slots=True)
class ArmResult:
    """Outcome of an arm, from the files in its directory."""

    name: str
    path: Path
    before: Summary
    after: Summary
    minutes: float
    reports: list[PhaseReport]
    best: Best | None


_MOST_NAMED = 3
"""Records that a line names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedArm:
    """An arm that was tried: what it will need and has, which gold answers cannot be read, how long the trial took, and
    what of its parts is kept.
    """

    recipe: Recipe
    estimate: Estimate
    unreadable: Unreadable
    free_space: int
    seconds: float
    data: Data
    parts: Parts | None
    """Parts, ready to be trained with; None where several arms would hold a model each until their turn."""

    @property
    def left_out(self) -> list[str]:
        """What its algorithm is known for and the recipe leaves out, each with the setting that adds it; and how many
        problems are left out.
        """
        most = self.recipe.data.max_prompt_tokens
        dropped = [
            f"data.max_prompt_tokens is {most}, which leaves out {count} of {count + len(problems)} {name} problems"
            for name, problems in self.data.sets().items()
            if (count := self.data.dropped.get(name, 0))
        ]
        skipped = [
            f"data.skip_bad leaves out {len(found):,} of the records of {path}: {' '.join(found[:_MOST_NAMED])}"
            for path, found in self.data.skipped.items()
        ]
        return [*left_out(self.recipe), *dropped, *skipped]


def check_directories(directory: Path, paths: Mapping[str, Path], *, resume: bool) -> None:
    """Check that a run that exists is gone on with only by ``resume``, and that nothing else is resumed."""
    present = [path for path in (directory, *paths.values()) if (path / "run.json").exists()]
    if present and not resume:
        raise UserError(
            f"{present[0]} holds a run already; resume it (--resume), or name another run directory (--run)."
        )
    if resume and not present:
        raise UserError(f"{directory} holds no run to resume; leave resume (--resume) out to start one there.")


def check_arms(
    arms: Mapping[str, Recipe],
    paths: Mapping[str, Path],
    processes: Processes = ONE,
    own: Own = Own(),  # noqa: B008 - frozen
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> dict[str, CheckedArm]:
    """Try every arm before the first is trained, so that a mistake in the last is found in the first seconds.

    Arms with the same data load it once, and a single arm keeps all its parts, to be trained with: nothing is loaded
    twice but the models of several arms, of which there is one at a time. Raises UserError or RunError saying what is
    wrong.
    """
    checked: dict[str, CheckedArm] = {}
    for name, arm in arms.items():
        begun = time.perf_counter()
        data = next((other.data for other in checked.values() if _have_same_data(other.recipe, arm)), None)
        with processes.agreeing():
            parts = load_parts(arm, processes, own, data, progress)
        estimate, unreadable = preflight(arm, parts, paths[name], progress)
        checked[name] = CheckedArm(
            recipe=arm,
            estimate=estimate,
            unreadable=unreadable,
            free_space=free_space(paths[name]),
            seconds=time.perf_counter() - begun,
            data=parts.data,
            parts=parts if len(arms) == 1 else None,
        )
    return checked


def _have_same_data(one: Recipe, other: Recipe) -> bool:
    """Tell whether two arms have the same problems: which prompts are too long depends on tokenizer and wording too."""
    if one.data != other.data:
        return False
    return one.data.max_prompt_tokens is None or (one.model.path, one.prompt) == (other.model.path, other.prompt)


def train_arm(
    name: str,
    recipe: Recipe,
    path: Path,
    progress: Progress,
    stop: StopRequest,
    processes: Processes = ONE,
    begun_here: Mapping[Path, Recipe] = MappingProxyType({}),
    *,
    own: Own = Own(),  # noqa: B008 - frozen
    data: Data | None = None,
    parts: Parts | None = None,
) -> ArmResult:
    """Train one arm in its directory, or go on with it; a stop or a failure is journalled and let through.

    ``begun_here``: runs that this process began before; one that begins alike lends its evaluation before training.
    ``data`` or all ``parts``: those of the recipe, where they are loaded.
    """
    if parts is None:
        with stop.awaited(), processes.agreeing():
            parts = load_parts(recipe, processes, own, data, progress)
    with closing(open_directory(recipe, parts, path)) as directory:
        journal = directory.journal
        if began := journal.read():
            # The main process reads its own disk, which the others may not see.
            for fault in processes.on_main(lambda: mend_stored(RunDirectory.open(path), recipe)):
                progress.warn(fault)
        if not (_is_finished(began, recipe.rl.steps) and {0, recipe.rl.steps} <= set(directory.evals.steps())):
            begun = time.perf_counter()
            if began:
                elsewhere = changed_machine(directory.info, machine_info(parts.policy))
                journal.append("resumed", changed=changed_settings(directory, recipe), machine=elsewhere)
                if elsewhere:
                    progress.warn(other_machine(elsewhere))
            else:
                journal.append("started")
            run = put_together(recipe, parts, directory, progress=progress, stop=stop)
            try:
                with (
                    stop.awaited(),
                    connection_errors(),
                    device_errors(
                        "training", "Lower rollout.max_rows and rl.tokens_per_microbatch; a resumed run may."
                    ),
                ):
                    take_base_evaluation(directory, recipe, begun_here)
                    train(run, reference=parts.reference)
                best = best_checkpoint(directory)
                journal.append(
                    "finished",
                    steps=recipe.rl.steps,
                    seconds=time.perf_counter() - begun,
                    best=best and asdict(best),
                )
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
        elif parts.policy.processes.is_main:
            tell_finished(recipe, path, len(recipe.phases(len(parts.data.train))), progress.warn)
        return arm_result(name, recipe, directory)


def _is_finished(events: Sequence[Mapping[str, Any]], steps: int) -> bool:
    """Tell whether a run has come to its end: one that was given more steps may have finished with fewer."""
    return any(event["event"] == "finished" and event.get("steps", steps) == steps for event in events)


def arm_result(name: str, recipe: Recipe, directory: RunDirectory) -> ArmResult:
    """Read what a finished arm left on disk."""
    events = directory.journal.read()
    try:
        seconds = sum(event["seconds"] for event in events if event["event"] in ENDS)
        phases = PhaseReport.all_in(events)
    except (KeyError, TypeError) as error:
        raise RunError(f"{directory.journal.path} has an event without {error}; the file was edited.") from error
    return ArmResult(
        name=name,
        path=directory.path,
        before=directory.evals.summary(0),
        after=directory.evals.summary(recipe.rl.steps),
        minutes=seconds / 60,
        reports=phases,
        best=best_checkpoint(directory),
    )
