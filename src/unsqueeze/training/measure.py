"""The measurements around a phase, from which its report is made."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import numpy as np

from unsqueeze.algos.schedule import Phase
from unsqueeze.evaluation.greedy import greedy_logp
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.types import Engine
from unsqueeze.training.gauges import measure
from unsqueeze.training.holding import in_band
from unsqueeze.training.outcomes import answer_shares
from unsqueeze.training.phase_report import PhaseReport
from unsqueeze.training.phase_start import PhaseStart, snapshot, weight_change
from unsqueeze.training.probe import Probe
from unsqueeze.training.run import Run
from unsqueeze.training.watching import NLL_ROWS_PER_PROMPT, Stopwatch


def start_phase(run: Run, phase: Phase) -> PhaseStart:
    """Remember the policy as it is now, and show how peaked it is."""
    clock, stopwatch = time.perf_counter(), Stopwatch()
    run.watch.stopwatch = stopwatch
    with stopwatch.running():
        measured = measure(run)
        samples = measured.samples
        if phase.kind == "irl" and run.recipe.irl is not None and run.recipe.irl.kl_budget is not None:
            # The budget is spent on these: which they are decides what is learned.
            run.engine.sync(run.policy)
            samples = run.probe.sample(run.engine, run.policy, seed=run.seed("probe", phase.number))
        start = PhaseStart(
            weights=snapshot(run.policy),
            samples=samples,
            floor=run.probe.floor(run.policy, samples),
            greedy_logp=measured.greedy_logp,
            version=run.policy.version,
            clock=clock,
            stopwatch=stopwatch,
        )
    run.progress.gauge(start.greedy_logp)
    return start


def finish_phase(run: Run, phase: Phase, start: PhaseStart, own_rows: Sequence[Row], nll_before: float) -> PhaseReport:
    """Measure what the phase did, write it to the journal, and warn if it did nothing."""
    seconds = start.working_seconds()
    with start.stopwatch.running():
        greedy = measure(run).greedy_logp
        with run.progress.work(f"phase {phase.number}: report", len(own_rows) + len(start.samples.rows)) as advance:
            report = measure_report(
                run.policy,
                run.probe,
                start,
                phase=phase,
                seconds=seconds,
                share_of_rl_seconds=seconds / last_rl_seconds(run) if phase.kind == "irl" else None,
                own_rows=own_rows,
                nll_before=nll_before,
                greedy_logp_after=greedy,
                on_scored=advance,
            )
        answers = answers_of(run, phase) if report.did_nothing else None
        needless = phase.kind == "irl" and report.num_updates == 0 and in_band(run)
    report = replace(report, measuring_s=start.stopwatch.seconds, answers=answers, in_band=needless)
    run.progress.gauge(report.greedy_logp_after)
    run.directory.journal.append("phase_finished", **report.to_json_object(), watched=run.watched_set)
    run.tracking.phase_report(report.to_json_object())
    for callback in run.callbacks:
        callback.on_phase(report)
    if warning := report.warning():
        run.progress.warn(warning)
    return report


def measure_start(policy: Policy, engine: Engine, probe: Probe, *, seed: int) -> PhaseStart:
    """Remember a policy before a phase: its weights, samples of it, how peaked it is."""
    clock, stopwatch = time.perf_counter(), Stopwatch()
    with stopwatch.running():
        engine.sync(policy)
        samples = probe.sample(engine, policy, seed=seed)
        return PhaseStart(
            weights=snapshot(policy),
            samples=samples,
            floor=probe.floor(policy, samples),
            greedy_logp=greedy_logp(engine, probe.prompts, probe.sampling),
            version=policy.version,
            clock=clock,
            stopwatch=stopwatch,
        )


def measure_report(
    policy: Policy,
    probe: Probe,
    start: PhaseStart,
    *,
    phase: Phase,
    seconds: float,
    share_of_rl_seconds: float | None,
    own_rows: Sequence[Row],
    nll_before: float,
    greedy_logp_after: float,
    on_scored: Callable[[int], None] = lambda _: None,
) -> PhaseReport:
    """Report what a phase begun at ``start`` did to the policy, and to ``own_rows``, whose NLL was ``nll_before``.

    ``on_scored`` is told how many rows were scored.
    """
    change = weight_change(policy, start.weights)
    nll_after = mean_nll_of(policy, own_rows, max_tokens=probe.max_batch_tokens)
    on_scored(len(own_rows))
    kl_moved = probe.kl_moved(policy, start.samples)
    on_scored(len(start.samples.rows))
    return PhaseReport(
        phase=phase.number,
        kind=phase.kind,
        first_step=phase.first_step,
        last_step=phase.last_step,
        num_updates=policy.version - start.version,
        seconds=seconds,
        share_of_rl_seconds=share_of_rl_seconds,
        update_norm=change.update_norm,
        relative_update_norm=change.relative_update_norm,
        share_moved=change.share_moved,
        share_moved_bf16=change.share_moved_bf16,
        nll_before=nll_before,
        nll_after=nll_after,
        kl_moved=kl_moved,
        **asdict(start.floor),
        greedy_logp_before=start.greedy_logp,
        greedy_logp_after=greedy_logp_after,
        measuring_s=start.stopwatch.seconds,
        num_watched=len(probe.prompts),
    )


def last_rl_seconds(run: Run) -> float:
    """Read from the journal how long the last RL phase took."""
    event = run.directory.journal.last("phase_finished", kind="rl")
    assert event is not None, "an IRL phase follows an RL phase"
    return float(event["seconds"])


def answers_of(run: Run, phase: Phase) -> dict[str, float]:
    """Return what the rollouts of a phase were like."""
    steps = [step for step in run.directory.rollouts.steps() if phase.first_step <= step <= phase.last_step]
    by_generation = [
        (len(groups), answer_shares(groups, boxed=run.needs_box)) for groups in map(run.directory.rollouts.read, steps)
    ]
    total = sum(number for number, _ in by_generation)
    names = by_generation[0][1]
    return {name: sum(number * shares[name] for number, shares in by_generation) / total for name in names}


def num_nll_rows(run: Run) -> int:
    """Return on how many rows of a phase's own batch its report measures the NLL."""
    return NLL_ROWS_PER_PROMPT * len(run.probe.prompts)


def first_rollouts(run: Run, phase: Phase, count: int) -> list[Row]:
    """Return the first rollouts of an RL phase."""
    rollouts = [rollout for group in run.directory.rollouts.read(phase.first_step) for rollout in group.rollouts]
    return [
        Row(prompt_tokens=rollout.prompt_tokens, tokens=rollout.completion.tokens, weight=0.0)
        for rollout in rollouts[:count]
    ]


def mean_nll_at(run: Run, start: PhaseStart, rows: Sequence[Row]) -> float:
    """Return ``mean_nll`` under the weights that a phase began with; the present ones are put back.

    Both sides of a phase thus come from the trainer's own forward pass: a phase without updates changes nothing,
    whatever log-probs the engine gave.
    """
    present = snapshot(run.policy)
    run.policy.put_weights(start.weights)
    try:
        return mean_nll(run, rows)
    finally:
        run.policy.put_weights(present)


def mean_nll(run: Run, rows: Sequence[Row]) -> float:
    """``mean_nll_of`` the policy of a run."""
    return mean_nll_of(run.policy, rows, max_tokens=run.recipe.rl.tokens_per_microbatch)


def mean_nll_of(policy: Policy, rows: Sequence[Row], *, max_tokens: int) -> float:
    """Mean NLL of the rows' tokens under the policy as it is, computed in fp32, nats per token; NaN without rows."""
    if not rows:
        return float("nan")
    logp = policy.logp(rows, max_tokens=max_tokens, in_fp32=True)
    return -float(np.mean(np.concatenate(logp), dtype=np.float64))
