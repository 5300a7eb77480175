"""Which rollouts an IRL phase learns from: candidates read back from the store, scored, and chosen by L2TE."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unsqueeze.algos.schedule import Phase
from unsqueeze.algos.selection import in_pool, likelihood, select_demonstrations
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.policy.batch import Row
from unsqueeze.policy.reference import Reference
from unsqueeze.rollout.types import Group
from unsqueeze.store.demos import Demonstration
from unsqueeze.training.run import Run

ROWS_AT_ONCE = 2048
"""Candidates scored between two signs of progress."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A stored rollout without its text and the log-probs of its tokens: of those, the mean and the sum alone."""

    row: Row
    step: int
    group: int
    index: int
    reward: float
    mean_logp: float
    sum_logp: float


@dataclass(slots=True)
class Candidates:
    """Rollouts of one problem that demonstrations are chosen among together; the choice draws from ``rng``."""

    problem_id: str
    rng: np.random.Generator
    rollouts: list[Candidate] = field(default_factory=list)


def choose_demonstrations(run: Run, phase: Phase, reference: Reference | None) -> list[Row]:
    """L2TE over what RL generated in the last ``irl.replay_phases`` RL phases: stores the choice, returns its rows."""
    settings = run.recipe.irl
    assert settings is not None
    found = _of_groups(run, phase) if settings.replay_phases == 1 else _of_problems(run, phase, settings)
    scores = _scores(run, [one for each in found for one in each.rollouts], settings, reference)
    demonstrations: list[Demonstration] = []
    rows: list[Row] = []
    place = 0
    for each in found:
        scores_G = scores[place : place + len(each.rollouts)]
        place += len(each.rollouts)
        for demonstration, row in choose_from(each, scores_G, settings):
            demonstrations.append(demonstration)
            rows.append(row)
    if phase.number not in run.directory.demos.numbers():
        run.directory.demos.write(phase.number, demonstrations)
    return rows


def choose_from(
    candidates: Candidates, scores_G: NDArray[np.float64], settings: IrlSettings
) -> Iterator[tuple[Demonstration, Row]]:
    """Yield the demonstrations among the rollouts of one problem, by the pure rule of ``algos.selection``."""
    rank_G = scores_G.argsort(kind="stable").argsort(kind="stable")
    for chosen in select_demonstrations(
        scores_G,
        np.array([rollout.reward for rollout in candidates.rollouts]),
        settings.k,
        pool=settings.pool,
        quantile=settings.quantile,
        rng=candidates.rng,
    ):
        rollout = candidates.rollouts[chosen.index]
        demonstration = Demonstration(
            problem_id=candidates.problem_id,
            step=rollout.step,
            group=rollout.group,
            index=rollout.index,
            mean_logp=rollout.mean_logp,
            sum_logp=rollout.sum_logp,
            score=chosen.likelihood,
            reward=chosen.reward,
            reason=chosen.reason,
            rank=int(rank_G[chosen.index]),
        )
        yield demonstration, rollout.row


def _of_groups(run: Run, phase: Phase) -> list[Candidates]:
    """Every group of the last RL phase by itself, as the paper has it."""
    return [
        Candidates(group.problem.id, run.rng("l2te", group.rollouts[0].group), candidates_of(group))
        for group in _stored(run, phase.first_step, phase.last_step)
    ]


def _of_problems(run: Run, phase: Phase, settings: IrlSettings) -> list[Candidates]:
    """Every problem's distinct rollouts in the RL phases that may be replayed, in the order of generation.

    More than ``irl.replay_candidates`` that the pool may take from are thinned to so many as they are read, each with
    the same chance to stay (reservoir sampling, Vitter's algorithm R): memory and scoring are bounded, and what is kept
    was not chosen by how likely it is.
    """
    found: dict[str, Candidates] = {}
    seen: dict[str, set[bytes]] = {}
    for group in _stored(run, first_step_replayed(run, phase, settings.replay_phases), phase.last_step):
        name = group.problem.id
        kept = found.setdefault(name, Candidates(name, run.rng("l2te", phase.number, name)))
        known = seen.setdefault(name, set())
        eligible = candidates_of(group)
        mask_G = in_pool(np.array([one.reward for one in eligible]), settings.pool)
        for one in (one for one, is_eligible in zip(eligible, mask_G, strict=True) if is_eligible):
            tokens = one.row.tokens.tobytes()
            if tokens in known:
                continue
            known.add(tokens)
            if len(kept.rollouts) < settings.replay_candidates:
                kept.rollouts.append(one)
            elif (place := int(kept.rng.integers(len(known)))) < settings.replay_candidates:
                kept.rollouts[place] = one
    return [*found.values()]


def first_step_replayed(run: Run, phase: Phase, replay_phases: int | None) -> int:
    """Return the first step of the earliest RL phase that an IRL phase may choose from; None is the first of all."""
    phases = run.recipe.phases(len(run.train_problems))
    begun = [one.first_step for one in phases if one.kind == "rl" and one.number < phase.number]
    return begun[0] if replay_phases is None else begun[max(0, len(begun) - replay_phases)]


def _stored(run: Run, first_step: int, last_step: int) -> Iterator[Group]:
    """Read the groups of these steps back, one generation at a time."""
    for step in run.directory.rollouts.steps():
        if first_step <= step <= last_step:
            yield from run.directory.rollouts.read(step)


def candidates_of(group: Group) -> list[Candidate]:
    """Return the rollouts of a group as candidates, in their order."""
    return [
        Candidate(
            row=Row(prompt_tokens=rollout.prompt_tokens, tokens=rollout.completion.tokens, weight=0.0),
            step=rollout.step,
            group=rollout.group,
            index=rollout.index,
            reward=judgement.verdict.judged_reward,
            mean_logp=likelihood(rollout.completion.logp_raw, "mean"),
            sum_logp=likelihood(rollout.completion.logp_raw, "sum"),
        )
        for rollout, judgement in zip(group.rollouts, group.judgements, strict=True)
    ]


def _scores(
    run: Run, candidates: Sequence[Candidate], settings: IrlSettings, reference: Reference | None
) -> NDArray[np.float64]:
    """What candidates are ranked by, the least first, nats (``irl.rank_by``).

    ``behaviour``  log-likelihood under the policy that sampled it, as it was stored (the paper's)
    ``present``    under the policy that the phase begins with
    ``ratio``      of the latter less that under the base policy: negative where training has made it less likely
    """
    if settings.rank_by == "behaviour":
        return np.array([one.mean_logp if settings.likelihood == "mean" else one.sum_logp for one in candidates])
    max_tokens = run.recipe.rl.tokens_per_microbatch
    scores: list[float] = []
    with run.progress.work("scoring candidates of IRL", len(candidates)) as advance:
        for first in range(0, len(candidates), ROWS_AT_ONCE):
            run.stop.check()
            rows = [one.row for one in candidates[first : first + ROWS_AT_ONCE]]
            present = run.policy.logp(rows, max_tokens=max_tokens)
            if settings.rank_by == "ratio":
                assert reference is not None, "the recipe's reference is made where candidates are ranked against it"
                base = reference.logp(rows, max_tokens=max_tokens)
                present = [now_T - then_T for now_T, then_T in zip(present, base, strict=True)]
            scores += [likelihood(logp_T, settings.likelihood) for logp_T in present]
            advance(len(rows))
    return np.array(scores)
