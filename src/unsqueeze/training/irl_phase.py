"""An IRL phase: raise the likelihood of the demonstrations (Eq. 4)."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unsqueeze.algos.aggregation import token_weights
from unsqueeze.algos.objectives import LossOutput
from unsqueeze.algos.schedule import Phase
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.extensions import IRL_LOSSES
from unsqueeze.policy.batch import Row, TokenBatch
from unsqueeze.policy.optimize import StepResult, make_optimizer, optimizer_step
from unsqueeze.policy.policy import Policy
from unsqueeze.training.gauges import gauge_step
from unsqueeze.training.holding import in_band
from unsqueeze.training.phase_start import PhaseStart
from unsqueeze.training.run import Run

DEMONSTRATION_TOKENS_ON_CPU = 2048
"""Tokens of a micro-batch of demonstrations on a CPU, where more would be allowed: what a layer leaves for the next
stays in the cache, and rows, which share no prompts, are padded to those of about their length."""


def irl_phase(
    run: Run, phase: Phase, start: PhaseStart, demonstrations: Sequence[Row], optimizer: torch.optim.Optimizer | None
) -> None:
    """The IRL phase of a run: every update becomes a line of metrics.

    Without an ``optimizer`` that lives on from phase to phase, a fresh one is made.
    """
    settings = settings_of_phase(run, phase)
    total = settings.num_updates(len(demonstrations))
    done = None
    if in_band(run):
        return
    run.engine.rest()
    with run.progress.work(f"phase {phase.number}: IRL", total) as advance:
        for done in irl_updates(
            run.policy,
            settings,
            demonstrations,
            optimizer=optimizer or make_optimizer(run.policy, settings),
            rng=run.rng("irl", phase.number),
            tokens_per_microbatch=run.recipe.rl.tokens_per_microbatch,
            kl_moved=lambda: run.probe.kl_moved(run.policy, start.samples),
            check_stop=run.stop.check,
        ):
            held = in_band(run)
            is_last = done.number == total or done.met_budget(settings) or held
            gauges = gauge_step(run, phase, phase.last_step) if is_last else {}
            run.record(kind="irl", phase=phase.number, step=phase.last_step, **done.to_record(), **gauges)
            advance(1)
            if held:
                break
            if settings.hold is not None:
                run.engine.rest()  # the gauge was sampled
    if done is not None and done.budget_unspent(settings, total):
        run.progress.warn(
            f"IRL phase {phase.number} took all its {total} updates without spending irl.kl_budget "
            f"{settings.kl_budget:g} nats/token on {run.watched_set} prompts; raise irl.steps or irl.learning_rate."
        )


def settings_of_phase(run: Run, phase: Phase) -> IrlSettings:
    """Return the settings of an IRL phase, whose learning rate follows from its place among those of the run."""
    settings = run.recipe.irl
    assert settings is not None
    numbers = [one.number for one in run.recipe.phases(len(run.train_problems)) if one.kind == "irl"]
    share = rate_share(settings.phase_schedule, numbers.index(phase.number) + 1, len(numbers))
    return settings.model_copy(update={"learning_rate": settings.learning_rate * share})


@dataclass(frozen=True, slots=True, kw_only=True)
class IrlUpdate:
    """One optimizer step of an IRL phase. ``kl_moved`` (nats per token) is known only where a budget asks for it."""

    number: int
    policy_version: int
    result: StepResult
    kl_moved: float | None
    num_demonstrations: int
    seconds: float

    def to_record(self) -> dict[str, Any]:
        """Its line of metrics."""
        return {
            "irl_update": self.number,
            "policy_version": self.policy_version,
            "loss": self.result.loss,
            "grad_norm": self.result.grad_norm,
            **self.result.metrics,
            "kl_moved": self.kl_moved,
            "num_demonstrations": self.num_demonstrations,
            "update_s": self.seconds,
        }

    def met_budget(self, settings: IrlSettings) -> bool:
        """Tell whether this update spent the KL budget, where there is one."""
        return bool(settings.kl_budget and self.kl_moved is not None and self.kl_moved >= settings.kl_budget)

    def budget_unspent(self, settings: IrlSettings, total: int) -> bool:
        """Tell whether this was the last update that was allowed and the budget is not spent."""
        return settings.kl_budget is not None and self.number == total and not self.met_budget(settings)


def irl_updates(
    policy: Policy,
    settings: IrlSettings,
    demonstrations: Sequence[Row],
    *,
    optimizer: torch.optim.Optimizer,
    rng: np.random.Generator,
    tokens_per_microbatch: int,
    kl_moved: Callable[[], float],
    check_stop: Callable[[], None],
) -> Iterator[IrlUpdate]:
    """The optimizer steps of an IRL phase: a given number, or until ``kl_moved`` has reached the KL budget.

    ``kl_moved`` measures how far watched prompts have moved (nats per token); it is called only for a budget.
    ``check_stop`` is called before every update and may raise.
    """
    total = settings.num_updates(len(demonstrations))
    rows = demonstrations
    if settings.kl_guard > 0:
        rows = with_start_logp(policy, demonstrations, max_tokens=tokens_per_microbatch)
    batches = demonstration_batches(len(rows), settings.batch_size, rng)
    at_once = (
        min(tokens_per_microbatch, DEMONSTRATION_TOKENS_ON_CPU)
        if policy.device.type == "cpu"
        else tokens_per_microbatch
    )
    for number in range(1, total + 1):
        check_stop()
        begun = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate_share(settings.schedule, number, total)
        batch = with_weights([rows[i] for i in next(batches)], settings)
        result = optimizer_step(
            policy,
            optimizer,
            batch,
            partial(demonstration_loss, loss=IRL_LOSSES.resolve(settings.loss), kl_guard=settings.kl_guard),
            tokens_per_microbatch=at_once,
            max_grad_norm=settings.max_grad_norm,
        )
        update = IrlUpdate(
            number=number,
            policy_version=policy.version,
            result=result,
            kl_moved=kl_moved() if settings.kl_budget else None,
            num_demonstrations=len(batch),
            seconds=time.perf_counter() - begun,
        )
        yield update
        if update.met_budget(settings):
            return


def rate_share(schedule: str, number: int, total: int) -> float:
    """The share of the learning rate of update or phase ``number`` of ``total`` (from 1): 1 at first, falling to 0."""
    done = (number - 1) / total
    if schedule == "linear":
        return 1 - done
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0


def with_start_logp(policy: Policy, rows: Sequence[Row], *, max_tokens: int) -> list[Row]:
    """The rows with the log-probs of the policy as it is now, at the start of the phase."""
    logp = policy.logp(rows, max_tokens=max_tokens)
    return [replace(row, logp_ref=logp_T) for row, logp_T in zip(rows, logp, strict=True)]


def demonstration_loss(
    logp_NT: Tensor, entropy_NT: Tensor, batch: TokenBatch, *, loss: Callable[..., LossOutput], kl_guard: float
) -> LossOutput:
    """Return the IRL loss of a token batch."""
    return loss(logp_NT, batch.mask_NT, batch.weights_N, logp_start_NT=batch.logp_ref_NT, kl_guard=kl_guard)


def demonstration_batches(count: int, batch_size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """Batches of indices without end: seeded passes over all ``count``, none twice inside one batch.

    A batch never spans two passes; where fewer than ``batch_size`` are left in a pass, the next one begins, so long as
    the pass gave at least one batch. With fewer than ``batch_size`` demonstrations in all, every batch holds them all.
    """
    size = min(batch_size, count)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - size + 1, size):
            yield [int(i) for i in order[start : start + size]]


def with_weights(rows: Sequence[Row], settings: IrlSettings) -> list[Row]:
    """The rows of one batch with the weights of the chosen reduction."""
    lengths_N = torch.tensor([len(row.tokens) for row in rows])
    weights_N = token_weights(
        lengths_N,
        settings.aggregation,
        num_rollouts=len(rows),
        num_tokens=int(lengths_N.sum()),
        # Both reductions of an IRL phase are means; neither looks at the generation limit.
        max_tokens=int(lengths_N.max()),
    )
    return [replace(row, weight=float(weight)) for row, weight in zip(rows, weights_N, strict=True)]
