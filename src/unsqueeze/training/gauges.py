"""Gauges of squeezing at fixed RL steps and where phases end: what arms are compared by while they train."""

import time
from dataclasses import asdict, dataclass

from unsqueeze.algos.schedule import Phase
from unsqueeze.evaluation.greedy import greedy_logp
from unsqueeze.training.probe import SAMPLES_PER_PROMPT
from unsqueeze.training.run import Run
from unsqueeze.training.watching import Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """How peaked a policy is on the watched prompts, nats per token.

    ``greedy_logp`` is the mean log-prob of greedy answers, ``entropy`` −mean log-prob of answers drawn at temperature
    1, from the same random numbers at every step and in every arm. The entropy is computed in fp32, the greedy log-prob
    by the engine: ``logp_rounding`` is what the engine's log-probs are off by, on the answers of the entropy.
    ``seconds``: what measuring took.
    """

    greedy_logp: float
    entropy: float
    logp_rounding: float
    seconds: float


def are_due(step: int, phase: Phase, every_steps: int | None) -> bool:
    """Tell whether gauges are read after RL step ``step``: every so many steps, and with the last of the phase."""
    return step == phase.last_step or (every_steps is not None and step % every_steps == 0)


def measure_gauges(run: Run) -> Gauges:
    """Read the gauges of the policy as it is; nothing that training depends on changes."""
    begun = time.perf_counter()
    measured = measure(run)
    return Gauges(
        greedy_logp=measured.greedy_logp,
        entropy=measured.samples.entropy,
        logp_rounding=measured.samples.logp_rounding,
        seconds=time.perf_counter() - begun,
    )


def measure(run: Run) -> Measured:
    """Measure the policy as it is on the watched prompts; of one that was measured last, say what was found."""
    watch, policy = run.watch, run.policy
    if watch.last is not None and watch.last.version == policy.version:
        return watch.last
    probe = run.probe
    total = len(probe.prompts) * (SAMPLES_PER_PROMPT + 1)
    with watch.stopwatch.running(), run.progress.work("measuring on watched prompts", total) as advance:
        run.engine.sync(policy)
        samples = probe.sample(run.engine, policy, seed=run.seed("gauges"), on_finished=advance)
        greedy = greedy_logp(run.engine, probe.prompts, probe.sampling, on_finished=advance)
    watch.last = Measured(version=policy.version, samples=samples, greedy_logp=greedy)
    return watch.last


def gauge_start(run: Run) -> None:
    """Read the gauges before training."""
    gauges = _read(run, step=0, phase=None, kind=None)
    run.tracking.gauges(0, {"greedy_logp": gauges.greedy_logp, "entropy": gauges.entropy})


def gauge_step(run: Run, phase: Phase, step: int) -> dict[str, float]:
    """Read the gauges after an optimizer step (``step`` is the RL step): fields of its line of metrics."""
    gauges = _read(run, step=step, phase=phase.number, kind=phase.kind)
    return {
        "gauge_greedy_logp": gauges.greedy_logp,
        "gauge_entropy": gauges.entropy,
        "gauge_logp_rounding": gauges.logp_rounding,
        "gauges_s": gauges.seconds,
    }


def _read(run: Run, *, step: int, phase: int | None, kind: str | None) -> Gauges:
    """Measure, journal and show them."""
    gauges = measure_gauges(run)
    run.directory.journal.append(
        "gauged", step=step, phase=phase, kind=kind, policy_version=run.policy.version, **asdict(gauges)
    )
    run.progress.gauge(gauges.greedy_logp)
    return gauges
