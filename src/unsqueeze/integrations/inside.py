"""SPS inside another trainer's run: each generation goes to disk at once, and an IRL phase learns from what is there.

FOLDER/rollouts/step-000012.parquet   a generation, as a run of our own stores it
FOLDER/demos/irl-001.parquet          what an IRL phase learned from
FOLDER/phases/irl-001.json            its report
FOLDER/set-aside-001/                 what a run that went on from an earlier checkpoint found there of a later time
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.distributed.processes import ONE, ManyProcesses, Processes
from unsqueeze.errors import RunError, UserError
from unsqueeze.integrations.responses import Asked, Scored, group_of
from unsqueeze.interop.demonstrations import distinct
from unsqueeze.policy.batch import Row
from unsqueeze.policy.optimize import make_optimizer
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.shared import SharedEngine
from unsqueeze.rollout.types import Group, Sampling
from unsqueeze.seeds import derive_seed
from unsqueeze.store.atomic import make_folder, write_atomically
from unsqueeze.store.demos import Demonstration, DemoWriter
from unsqueeze.store.names import numbered
from unsqueeze.store.rollouts import RolloutWriter
from unsqueeze.training.demonstrations import (
    Candidates,
    LogprobsOf,
    candidates_in,
    choose_from,
    likelihoods_now,
    scored,
)
from unsqueeze.training.irl_alone import NLL_ROWS, NUM_WATCHED
from unsqueeze.training.irl_phase import irl_updates, rate_share
from unsqueeze.training.measure import mean_nll_of
from unsqueeze.training.phase_start import snapshot, weight_change
from unsqueeze.training.probe import Probe


class TrainersProcesses(ManyProcesses):
    """The processes that another trainer has started; its connection may carry what is on a GPU alone."""

    def sum(self, values: Sequence[float]) -> list[float]:
        """Element by element, the sum over processes, as plain numbers."""
        return [math.fsum(each) for each in zip(*self.gather(list(values)), strict=True)]


@dataclass(slots=True)
class InsideState:
    """What a checkpoint must hold for the phases to go on as if never stopped.

    ``generations`` are those stored since the last IRL phase, by their first step; ``earlier`` those of each RL phase
    before it.
    """

    num_phases: int = 0
    last_step: int = 0
    num_groups: int = 0
    num_updates: int = 0
    generations: list[int] = field(default_factory=list)
    earlier: list[list[int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class InsideReport:
    """What an IRL phase did. NLL in nats per token, on the first demonstrations; None where there were none.

    ``num_rollouts`` are those that were chosen among; where several RL phases are replayed, distinct ones.
    ``kl_moved`` is how far watched prompts moved, nats per token; it is measured where a budget asks for it.
    """

    phase: int
    step: int
    num_rollouts: int
    num_demonstrations: int
    num_updates: int
    nll_before: float | None
    nll_after: float | None
    update_norm: float
    share_moved: float
    kl_moved: float | None
    seconds: float

    def to_metrics(self) -> dict[str, float]:
        """Return what is known as metrics by name; the step is that of the line they stand in."""
        return {name: float(value) for name, value in asdict(self).items() if value is not None and name != "step"}


class PhasesInside:
    """The rollouts and the IRL phases of a run whose RL is another trainer's; without ``settings``, rollouts alone.

    The main process alone touches files. All get the same rows, each computes with its share, and gradients are summed.
    """

    def __init__(
        self,
        folder: Path,
        settings: IrlSettings | None,
        *,
        seed: int,
        tokens_per_microbatch: int,
        processes: Processes = ONE,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.seed = seed
        self.tokens_per_microbatch = tokens_per_microbatch
        self.processes = processes
        self.rollouts = RolloutWriter(folder / "rollouts")
        self.demos = DemoWriter(folder / "demos")
        self.state = InsideState()

    def begin(self, step: int, saved: Mapping[str, Any] | None) -> None:
        """Go on at optimizer step ``step`` with the state of a checkpoint; without one, as if all began there.

        Files of a later time are set aside. UserError where rollouts that the next phase chooses from are missing.
        """
        self.state = InsideState(last_step=step) if saved is None else InsideState(**saved)
        self.processes.on_main(lambda: self._tidy(step))

    def _tidy(self, step: int) -> None:
        self._set_aside(step)
        missing = sorted(set(self._replayed()) - set(self.rollouts.steps()))
        if missing:
            raise UserError(
                f"the checkpoint of step {step} goes on with the rollouts of step {', '.join(map(str, missing))}, "
                f"which are not in {self.rollouts.folder}; copy those of the run that wrote the checkpoint."
            )

    def score(self, policy: Policy, asked: Sequence[Asked], *, temperature: float) -> list[Scored]:
        """Log-probs of all responses, in order, by a pass of the policy that sampled them at ``temperature``."""
        rows = [
            Row(prompt_tokens=one.prompt_tokens, tokens=one.tokens, weight=0.0)
            for each in asked
            for one in each.responses
        ]
        raw = behaviour = policy.logp(rows, max_tokens=self.tokens_per_microbatch)
        if temperature != 1:
            behaviour = policy.logp(rows, max_tokens=self.tokens_per_microbatch, temperature=temperature)
        return [Scored(*both) for both in zip(raw, behaviour, strict=True)]

    def store(self, step: int, asked: Sequence[Asked], logp: Sequence[Scored]) -> list[Group]:
        """Store a generation for optimizer step ``step``, from 1, with the log-probs of all responses, in order.

        Return its judged groups.
        """
        remaining = iter(logp)
        groups = [
            group_of(
                each,
                remaining,
                number=number,
                step=step,
                phase=2 * self.state.num_phases,
                policy_version=step - 1 + self.state.num_updates,
            )
            for number, each in enumerate(asked, start=self.state.num_groups)
        ]
        self.processes.on_main(lambda: self.rollouts.write(step, groups))
        self.state.num_groups += len(groups)
        if self.settings is not None:
            self.state.generations.append(step)
        return groups

    def phase(self, policy: Policy, step: int, *, num_phases: int, base_logp: LogprobsOf | None = None) -> InsideReport:
        """Choose among the rollouts of the last RL phases and train ``policy``, in place, with an optimizer anew.

        ``num_phases`` are the IRL phases of all the run; ``base_logp`` the log-probs of the base policy, where
        ``rank_by`` is ratio.
        """
        begun = time.perf_counter()
        settings = self.settings
        assert settings is not None, "rollouts alone were asked for"
        number = 2 * self.state.num_phases + 1
        share = rate_share(settings.phase_schedule, self.state.num_phases + 1, num_phases)
        settings = settings.model_copy(update={"learning_rate": settings.learning_rate * share})
        num_rollouts, rows = self._demonstrations(policy, number, settings, base_logp)
        before, nll_before = snapshot(policy), self._nll(policy, rows)
        seed = derive_seed(self.seed, "probe", number)
        kl_moved = _watching(policy, rows, self.tokens_per_microbatch, seed) if settings.kl_budget else None
        updates = irl_updates(
            policy,
            settings,
            rows,
            optimizer=make_optimizer(policy, settings),
            rng=self._rng("irl", number),
            tokens_per_microbatch=self.tokens_per_microbatch,
            kl_moved=kl_moved or (lambda: math.nan),
            check_stop=lambda: None,
        )
        done = list(updates)
        num_updates = len(done)
        self._check_equal(policy, step)
        change = weight_change(policy, before)
        report = InsideReport(
            phase=number,
            step=step,
            num_rollouts=num_rollouts,
            num_demonstrations=len(rows),
            num_updates=num_updates,
            nll_before=nll_before,
            nll_after=self._nll(policy, rows),
            update_norm=change.update_norm,
            share_moved=change.share_moved,
            kl_moved=done[-1].kl_moved if done else None,
            seconds=time.perf_counter() - begun,
        )
        path = self._phases / f"irl-{number:03d}.json"
        self.processes.on_main(lambda: write_atomically(path, json.dumps(asdict(report)).encode()))
        self.state = replace(
            self.state,
            num_phases=self.state.num_phases + 1,
            last_step=step,
            num_updates=self.state.num_updates + num_updates,
            generations=[],
            earlier=[*self.state.earlier, self.state.generations],
        )
        return report

    @property
    def _phases(self) -> Path:
        return self.folder / "phases"

    def _demonstrations(
        self, policy: Policy, number: int, settings: IrlSettings, base_logp: LogprobsOf | None
    ) -> tuple[int, list[Row]]:
        """Choose, and store the choice. Returns among how many, and the rows."""

        def score(rows: Sequence[Row]) -> list[float]:
            present = partial(policy.logp, max_tokens=self.tokens_per_microbatch)
            return [*chain.from_iterable(likelihoods_now(rows, settings.likelihood, present, base_logp))]

        def choose(ranked: Iterable[tuple[Candidates, NDArray[np.float64]]]) -> tuple[int, list[Row]]:
            num_rollouts = 0
            chosen: list[tuple[Demonstration, Row]] = []
            for candidates, scores_G in ranked:
                num_rollouts += len(candidates.rollouts)
                chosen += choose_from(candidates, scores_G, settings)
            self.demos.write(number, [demonstration for demonstration, _ in chosen])
            return num_rollouts, [row for _, row in chosen]

        on_main = self.processes.on_main
        if settings.rank_by == "behaviour":
            return on_main(lambda: choose(scored(self._candidates(number, settings), settings, score)))
        # Every process needs all that is to be scored, and scores its share.
        ranked = [*scored(on_main(lambda: [*self._candidates(number, settings)]), settings, score)]
        return on_main(lambda: choose(ranked))

    def _check_equal(self, policy: Policy, step: int) -> None:
        """RunError unless all processes have the same weights, to the bit."""
        digests = self.processes.gather(_digest(policy) if self.processes.size > 1 else b"")
        if len(set(digests)) > 1:
            raise RunError(f"the processes have different weights after the IRL phase of step {step}.")

    def _replayed(self) -> list[int]:
        """The generations that the next phase chooses from, by their first step."""
        if self.settings is None:
            return []
        phases = [*self.state.earlier, self.state.generations]
        return [*chain.from_iterable(phases[-(self.settings.replay_phases or len(phases)) :])]

    def _candidates(self, number: int, settings: IrlSettings) -> Iterable[Candidates]:
        """What phase ``number`` chooses from, as a run of our own does."""
        groups = (group for step in self._replayed() for group in self.rollouts.read_columns(step))
        return candidates_in(groups, settings, number, self._rng)

    def _rng(self, *names: str | int) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self.seed, *names))

    def _nll(self, policy: Policy, rows: Sequence[Row]) -> float | None:
        if not rows:
            return None
        return mean_nll_of(policy, rows[:NLL_ROWS], max_tokens=self.tokens_per_microbatch)

    def _set_aside(self, step: int) -> None:
        numbers = range(2 * self.state.num_phases + 1)
        later = [self.rollouts.path(one) for one in self.rollouts.steps() if one > step]
        later += [self.demos.path(one) for one in self.demos.numbers() if one not in numbers]
        later += [
            self._phases / f"irl-{one:03d}.json" for one in numbered(self._phases, "irl", ".json") if one not in numbers
        ]
        if not later:
            return
        place = 1 + max(numbered(self.folder, "set-aside"), default=0)
        for path in later:
            target = self.folder / f"set-aside-{place:03d}" / path.relative_to(self.folder)
            make_folder(target.parent)
            path.replace(target)


def _watching(policy: Policy, rows: Sequence[Row], max_tokens: int, seed: int) -> Callable[[], float]:
    """Draw from watched prompts, among those of the demonstrations; what is returned tells how far they have moved.

    Drawn are at most as many tokens as the longest demonstration has, from random numbers of their own.
    """
    prompts = distinct([row.prompt_tokens for row in rows], NUM_WATCHED)
    if not prompts:
        return lambda: 0.0
    probe = Probe(
        tuple(tuple(prompt.tolist()) for prompt in prompts),
        Sampling(max_tokens=max(len(row.tokens) for row in rows)),
        max_tokens,
    )
    samples = probe.sample(SharedEngine(HfEngine(policy.model, policy.tokenizer), policy.processes), policy, seed=seed)
    return lambda: probe.kl_moved(policy, samples)


def _digest(policy: Policy) -> bytes:
    digest = hashlib.sha256()
    for _, parameter in policy.trainable():
        digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.digest()
