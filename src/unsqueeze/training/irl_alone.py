"""One IRL phase on a checkpoint, outside of a run: for those who train with something else and want SPS in between."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unsqueeze.algos.schedule import Phase
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.evaluation.greedy import greedy_logp
from unsqueeze.policy.batch import Row
from unsqueeze.policy.optimize import make_optimizer
from unsqueeze.policy.policy import Policy
from unsqueeze.progress import Progress
from unsqueeze.rollout.types import Engine
from unsqueeze.seeds import derive_seed
from unsqueeze.training.irl_phase import irl_updates
from unsqueeze.training.measure import mean_nll_of, measure_report, measure_start
from unsqueeze.training.phase_report import PhaseReport
from unsqueeze.training.probe import Probe

NLL_ROWS = 512
"""Demonstrations on which the report measures the NLL."""
NUM_WATCHED = 16
"""Prompts on which the KL is watched."""


@dataclass(frozen=True, slots=True)
class IrlOutcome:
    """Outcome of the phase: its report, its updates as lines of metrics, and whether a KL budget was left unspent."""

    report: PhaseReport
    updates: list[dict[str, Any]]
    budget_unspent: bool


def irl_alone(
    policy: Policy,
    engine: Engine,
    demonstrations: Sequence[Row],
    settings: IrlSettings,
    probe: Probe,
    *,
    seed: int,
    progress: Progress,
    check_stop: Callable[[], None],
) -> IrlOutcome:
    """Train ``policy``, in place, on the demonstrations. Raises what ``check_stop`` raises, with the weights whole."""
    phase = Phase(number=1, kind="irl", first_step=0, last_step=0)
    start = measure_start(policy, engine, probe, seed=derive_seed(seed, "probe", phase.number))
    progress.gauge(start.greedy_logp)
    own_rows = demonstrations[:NLL_ROWS]
    with start.stopwatch.running():
        nll_before = mean_nll_of(policy, own_rows, max_tokens=probe.max_batch_tokens)
    total = settings.num_updates(len(demonstrations))
    engine.rest()
    updates: list[dict[str, Any]] = []
    update = None
    with progress.work("IRL", total) as advance:
        for update in irl_updates(
            policy,
            settings,
            demonstrations,
            optimizer=make_optimizer(policy, settings),
            rng=np.random.default_rng(derive_seed(seed, "irl", phase.number)),
            tokens_per_microbatch=probe.max_batch_tokens,
            kl_moved=lambda: probe.kl_moved(policy, start.samples),
            check_stop=check_stop,
        ):
            updates.append(update.to_record())
            progress.step({"kind": "irl", **updates[-1]})
            advance(1)
    seconds = start.working_seconds()
    with start.stopwatch.running():
        engine.sync(policy)
        report = measure_report(
            policy,
            probe,
            start,
            phase=phase,
            seconds=seconds,
            share_of_rl_seconds=None,
            own_rows=own_rows,
            nll_before=nll_before,
            greedy_logp_after=greedy_logp(engine, probe.prompts, probe.sampling),
        )
    report = replace(report, measuring_s=start.stopwatch.seconds)
    return IrlOutcome(report, updates, update is not None and update.budget_unspent(settings, total))
