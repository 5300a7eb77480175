"""The measurements around a phase, from which its report is made."""

from collections.abc import Sequence

import numpy as np

from unsqueeze.algos.schedule import Phase
from unsqueeze.evaluate.evaluate import greedy_logp
from unsqueeze.train.batch import Row
from unsqueeze.train.phase_report import PhaseReport, PhaseStart, snapshot, weight_change
from unsqueeze.train.run import Run


def start_phase(run: Run, phase: Phase) -> PhaseStart:
    """Remember the policy as it is now: its weights, samples of it, how peaked it is."""
    return PhaseStart(
        weights=snapshot(run.policy),
        samples=run.probe.sample(run.engine, run.policy, seed=run.seed("probe", phase.number)),
        greedy_logp=probe_greedy_logp(run),
        version=run.policy.version,
    )


def finish_phase(run: Run, phase: Phase, start: PhaseStart, own_rows: Sequence[Row], nll_before: float) -> PhaseReport:
    """Measure what the phase did, write it to the journal, and warn if it did nothing."""
    seconds = start.seconds_so_far()
    change = weight_change(run.policy, start.weights)
    report = PhaseReport(
        phase=phase.number,
        kind=phase.kind,
        first_step=phase.first_step,
        last_step=phase.last_step,
        num_updates=run.policy.version - start.version,
        seconds=seconds,
        share_of_rl_seconds=seconds / last_rl_seconds(run) if phase.kind == "irl" else None,
        update_norm=change.update_norm,
        relative_update_norm=change.relative_update_norm,
        share_moved=change.share_moved,
        share_moved_bf16=change.share_moved_bf16,
        nll_before=nll_before,
        nll_after=mean_nll(run, own_rows),
        kl_moved=run.probe.kl_moved(run.policy, start.samples),
        greedy_logp_before=start.greedy_logp,
        greedy_logp_after=probe_greedy_logp(run),
    )
    run.directory.journal.append("phase_finished", **report.to_json_object())
    if warning := report.warning():
        run.progress.warn(warning)
    return report


def last_rl_seconds(run: Run) -> float:
    """How long the last RL phase took, from the journal."""
    events = run.directory.journal.read()
    return next(
        event["seconds"] for event in reversed(events) if event["event"] == "phase_finished" and event["kind"] == "rl"
    )


def probe_greedy_logp(run: Run) -> float:
    """The mean log-prob of greedy answers to the watched prompts, nats per token; also shown."""
    value = greedy_logp(run.engine, run.probe.prompts, max_tokens=run.probe.max_tokens)
    run.progress.gauge(value)
    return value


def first_rollouts(run: Run, phase: Phase, count: int) -> tuple[list[Row], float]:
    """The first rollouts of an RL phase, with their mean NLL under the policy that sampled them (nats per token)."""
    rollouts = [rollout for group in run.directory.rollouts.read(phase.first_step) for rollout in group.rollouts]
    rollouts = rollouts[:count]
    rows = [
        Row(prompt_tokens=rollout.prompt_tokens, tokens=rollout.completion.tokens, weight=0.0) for rollout in rollouts
    ]
    logp_M = np.concatenate([rollout.completion.logp_behaviour for rollout in rollouts])
    return rows, -float(np.mean(logp_M, dtype=np.float64))


def mean_nll(run: Run, rows: Sequence[Row]) -> float:
    """Mean NLL of the rows' tokens under the policy as it is, nats per token; NaN without rows."""
    if not rows:
        return float("nan")
    logp = run.policy.score(rows, max_tokens=run.recipe.rl.tokens_per_microbatch)
    return -float(np.mean(np.concatenate(logp), dtype=np.float64))
