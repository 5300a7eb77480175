"""Make the parts of a run from a recipe: everything that can be wrong with the input is found here, before training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unsqueeze.algos.groups import Estimator
from unsqueeze.config.recipe import Recipe
from unsqueeze.distributed.processes import ONE, Processes
from unsqueeze.errors import UnsqueezeError, UserError
from unsqueeze.policy.policy import Policy
from unsqueeze.policy.reference import Reference, make_reference
from unsqueeze.progress import Progress, Silent, StopRequest
from unsqueeze.rollout.engines import make_engine
from unsqueeze.rollout.stops import end_texts
from unsqueeze.store.provenance import provenance
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.shared import SharedDirectory
from unsqueeze.tasks.prompts import PromptBuilder
from unsqueeze.tasks.styles import wording_of_settings
from unsqueeze.tasks.task import Data, Task, task_named
from unsqueeze.tasks.turns import named_tokens
from unsqueeze.track.tracking import Tracking
from unsqueeze.training.callbacks import Callback
from unsqueeze.training.estimating import estimator_of
from unsqueeze.training.fitting import fitting
from unsqueeze.training.run import Run
from unsqueeze.training.same_run import check_same_run
from unsqueeze.verify.shared import SharedVerifier
from unsqueeze.verify.verdict import Verifier
from unsqueeze.verify.verifiers import Borrowed, make_verifier, name_of, start


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """Parts that a caller gives in Python beside the recipe; None is what the recipe says."""

    data: Data | None = None
    verifier: Verifier | None = None
    estimator: Estimator | None = None
    callbacks: Sequence[Callback] = ()

    def record(self) -> dict[str, str | None]:
        """Return the names of what is not in the recipe, for ``run.json``."""
        return {
            "verifier": None if self.verifier is None else name_of(self.verifier),
            "advantages": None if self.estimator is None else name_of(self.estimator),
        }


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts that a recipe needs before it has a run directory."""

    policy: Policy
    reference: Reference | None
    prompts: PromptBuilder
    data: Data
    task: Task
    own: Own
    end_ids: tuple[int, ...] = ()


def load_parts(
    recipe: Recipe,
    processes: Processes = ONE,
    own: Own = Own(),
    data: Data | None = None,
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> Parts:
    """Load data, model and tokenizer, and check that every prompt fits. Raises UserError before anything is written.

    ``data``: that of the recipe, where it is loaded.
    """
    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    if recipe.rollout.engine == "vllm":
        from unsqueeze.rollout.vllm_engine import import_vllm

        import_vllm()
    task = task_named(recipe.data.kind if own.data is None else own.data.train[0].task)
    data = data or own.data or task.load(recipe.data)
    check_steps(recipe, data)
    torch.manual_seed(recipe.seed)
    policy = Policy.load(recipe.model, processes, strategy=recipe.parallel.strategy)
    prompts = PromptBuilder(
        tokenizer=policy.tokenizer, wording=wording_of_settings(recipe.prompt.model_dump(mode="json"))
    )
    data = fitting(recipe, policy, prompts, data, progress)
    check_steps(recipe, data)
    end_ids = named_tokens(recipe.rollout.end_tokens, policy.tokenizer)
    return Parts(policy, make_reference(policy, recipe), prompts, data, task, own, end_ids)


def check_steps(recipe: Recipe, data: Data) -> None:
    """UserError where there are too few training problems for a step, or for the phases of the recipe."""
    if recipe.rl.prompts_per_step > len(data.train):
        raise UserError(
            f"rl.prompts_per_step is {recipe.rl.prompts_per_step}, but there are only {len(data.train)} training "
            f"problems; a step cannot take more problems than there are."
        )
    recipe.phases(len(data.train))


def open_directory(recipe: Recipe, parts: Parts, path: Path) -> RunDirectory:
    """The run directory as all processes use it; the main process alone reads and writes it. See ``open_own``."""
    processes = parts.policy.processes
    with processes.agreeing():
        directory = open_own(recipe, parts, path) if processes.is_main else None
    if processes.size > 1:
        return SharedDirectory(path, directory, processes)
    assert directory is not None
    return directory


def open_own(recipe: Recipe, parts: Parts, path: Path) -> RunDirectory:
    """A new run directory with everything needed to repeat the run, or the one that is there, to go on with it.

    Either is locked until it is closed. Raises UserError if it is in use, or of another recipe.
    """
    if not (path / "run.json").exists():
        return RunDirectory.create(path, run_info(recipe, parts))
    directory = RunDirectory.resume(path)
    try:
        check_same_run(directory, recipe, data_info(parts.data), parts.own.record())
    except UnsqueezeError:
        directory.close()
        raise
    return directory


def put_together(
    recipe: Recipe, parts: Parts, directory: RunDirectory, *, progress: Progress, stop: StopRequest
) -> Run:
    """The parts of a run as one value; starts the engine and the verifier."""
    policy = parts.policy
    own = parts.own
    verifier = make_verifier(parts.task, recipe.verify) if own.verifier is None else Borrowed(own.verifier)
    start(verifier)
    return Run(
        recipe=recipe,
        policy=policy,
        engine=make_engine(recipe.rollout, policy),
        task=parts.task,
        estimator=own.estimator or estimator_of(recipe.rl),
        verifier=SharedVerifier(verifier, policy.processes) if policy.processes.size > 1 else verifier,
        prompt_tokens=parts.prompts.tokens,
        end_ids=parts.end_ids,
        train_problems=parts.data.train,
        test_problems=parts.data.test,
        validation_problems=parts.data.validation,
        callbacks=own.callbacks,
        directory=directory,
        progress=progress,
        tracking=Tracking(recipe.trackers if policy.processes.is_main else (), warn=progress.warn),
        stop=stop,
    )


def run_info(recipe: Recipe, parts: Parts) -> dict[str, Any]:
    """The content of run.json."""
    return {
        "recipe": recipe.model_dump(mode="json"),
        "data": data_info(parts.data),
        "own": parts.own.record(),
        "hub_commits": dict(parts.data.hub_commits),
        "end_tokens": end_texts(parts.policy.model, parts.policy.tokenizer, parts.end_ids),
        "num_parameters": sum(parameter.numel() for _, parameter in parts.policy.trainable()),
        **machine_info(parts.policy),
    }


def machine_info(policy: Policy) -> dict[str, Any]:
    """What the bits of a run depend on beside its recipe and its data: device, processes, threads, versions, commit."""
    return {
        "device": str(policy.device),
        "processes": policy.processes.size,
        "threads": torch.get_num_threads(),
        **provenance(),
    }


def data_info(data: Data) -> dict[str, Any]:
    """Count the problems, and hash the files or data sets they come from."""
    return {
        "num_train": len(data.train),
        "num_test": len(data.test),
        "num_validation": len(data.validation) or None,
        "num_dropped": dict(data.dropped) or None,
        "num_skipped": {path: len(found) for path, found in data.skipped.items()} or None,
        "sha256": dict(data.sha256),
    }
