"""The parts of one run, put together once and handed to the phases."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unsqueeze.algos.groups import Estimator
from unsqueeze.config.recipe import Recipe
from unsqueeze.policy.policy import Policy
from unsqueeze.progress import Progress, StopRequest
from unsqueeze.rollout.types import Engine, Sampling
from unsqueeze.seeds import derive_seed
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.task import Task
from unsqueeze.track.tracking import Tracking
from unsqueeze.training.callbacks import Callback
from unsqueeze.training.probe import Probe
from unsqueeze.training.watching import Watch, num_watched
from unsqueeze.verify.verdict import Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The parts of a run that a phase needs. Only the policy's weights change."""

    recipe: Recipe
    policy: Policy
    engine: Engine
    task: Task
    verifier: Verifier
    estimator: Estimator
    prompt_tokens: Callable[[Problem], Sequence[int]]
    train_problems: Sequence[Problem]
    test_problems: Sequence[Problem]
    directory: RunDirectory
    progress: Progress
    tracking: Tracking
    stop: StopRequest
    end_ids: tuple[int, ...] = ()
    validation_problems: Sequence[Problem] = ()
    callbacks: Sequence[Callback] = ()
    watch: Watch = field(default_factory=Watch)

    @property
    def rollout_sampling(self) -> Sampling:
        settings = self.recipe.rollout
        return Sampling(
            max_tokens=settings.max_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            stop=settings.stop,
            end_ids=self.end_ids,
        )

    @property
    def evaluation_sampling(self) -> Sampling:
        settings = self.recipe.evaluation
        return Sampling(
            max_tokens=self.recipe.rollout.max_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            top_k=settings.top_k,
            stop=self.recipe.rollout.stop,
            end_ids=self.end_ids,
        )

    @property
    def needs_box(self) -> bool:
        """Tell whether an answer counts in a box alone."""
        settings = self.recipe.verify
        return settings.credit == "boxed" and (settings.verifier or self.task.verifier) == "math"

    @property
    def watched_set(self) -> Literal["validation", "training"]:
        """The problems that phase reports and ``irl.kl_budget`` watch. Test problems steer nothing."""
        return "validation" if self.validation_problems else "training"

    @property
    def probe(self) -> Probe:
        """The watched problems (``watching.num_watched``), spread evenly over those there are."""
        problems = self.validation_problems or self.train_problems
        number = min(num_watched(self.recipe, len(self.train_problems)), len(problems))
        chosen = [problems[place * len(problems) // number] for place in range(number)]
        return Probe(
            prompts=tuple(tuple(self.prompt_tokens(problem)) for problem in chosen),
            sampling=replace(self.rollout_sampling, temperature=1.0, top_p=1.0, top_k=0),
            max_batch_tokens=self.recipe.rl.tokens_per_microbatch,
        )

    def seed(self, *names: str | int) -> int:
        return derive_seed(self.recipe.seed, *names)

    def rng(self, *names: str | int) -> np.random.Generator:
        return np.random.default_rng(self.seed(*names))

    def record(self, **fields: Any) -> None:
        """One optimizer step: a line of metrics on disk, and shown."""
        self.directory.metrics.append(fields)
        self.progress.step(fields)
        self.tracking.optimizer_step(fields)
        for callback in self.callbacks:
            callback.on_step(fields)


def int32(tokens: Sequence[int]) -> NDArray[np.int32]:
    return np.asarray(tokens, dtype=np.int32)
