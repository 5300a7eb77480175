"""Which rollouts an IRL phase learns from: candidates read back from the store, scored, and chosen by L2TE."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from unsqueeze.algos.schedule import Phase
from unsqueeze.algos.selection import Likelihood, in_pool, likelihood, likelihoods, select_demonstrations
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.policy.batch import Row
from unsqueeze.policy.reference import Reference
from unsqueeze.store.demos import Demonstration
from unsqueeze.store.rollouts import GroupColumns
from unsqueeze.training.run import Run

ROWS_AT_ONCE = 2048
"""Candidates scored between two signs of progress."""

LogprobsOf = Callable[[Sequence[Row]], list[NDArray[np.float32]]]
"""Log-probs of the tokens of each row, nats, under one policy."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A stored rollout without its text and the log-probs of its tokens: of those, the mean and the sum alone."""

    prompt_tokens: NDArray[np.int32]
    tokens: NDArray[np.int32]
    step: int
    group: int
    index: int
    reward: float
    mean_logp: float
    sum_logp: float

    def row(self) -> Row:
        """Return the response to score or to learn from, as yet without weight, with the same arrays of tokens."""
        return Row(prompt_tokens=self.prompt_tokens, tokens=self.tokens, weight=0.0)

    def apart(self) -> "Candidate":
        """Return it with tokens of its own: views would keep those of its whole generation in memory."""
        return replace(self, prompt_tokens=self.prompt_tokens.copy(), tokens=self.tokens.copy())


@dataclass(slots=True)
class Candidates:
    """Rollouts of one problem that demonstrations are chosen among together; the choice draws from ``rng``."""

    problem_id: str
    rng: np.random.Generator
    rollouts: list[Candidate] = field(default_factory=list)

    def stored_likelihood(self, kind: Likelihood) -> NDArray[np.float64]:
        """Return their log-likelihoods under the policies that sampled them, nats (``algos.selection.likelihood``)."""
        return np.array([one.mean_logp if kind == "mean" else one.sum_logp for one in self.rollouts])


def choose_demonstrations(run: Run, phase: Phase, reference: Reference | None) -> list[Row]:
    """L2TE over what RL generated in the last ``irl.replay_phases`` RL phases: stores the choice, returns its rows."""
    settings = run.recipe.irl
    assert settings is not None
    replayed = _stored(run, first_step_replayed(run, phase, settings.replay_phases), phase.last_step)
    found = candidates_in(replayed, settings, phase.number, run.rng)
    demonstrations: list[Demonstration] = []
    rows: list[Row] = []
    for candidates, scores_G in scored(found, settings, lambda rows: _scores(run, rows, settings, reference)):
        for demonstration, row in choose_from(candidates, scores_G, settings):
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
        yield demonstration, rollout.apart().row()


def candidates_in(
    groups: Iterable[GroupColumns], settings: IrlSettings, phase: int, rng: Callable[..., np.random.Generator]
) -> Iterable[Candidates]:
    """Return what IRL phase number ``phase`` ranks: every group by itself, as it is read, as the paper has it; where
    several RL phases are replayed, every problem's distinct rollouts.

    ``rng`` makes a generator of random numbers from names.
    """
    if settings.replay_phases == 1:
        return (Candidates(group.problem_id, rng("l2te", group.group), candidates_of(group)) for group in groups)
    return _of_problems(groups, settings, partial(rng, "l2te", phase))


def _of_problems(
    groups: Iterable[GroupColumns], settings: IrlSettings, rng_of: Callable[[str], np.random.Generator]
) -> list[Candidates]:
    """Return every problem's distinct rollouts, in the order of generation; ``rng_of`` a problem by its id.

    More than ``irl.replay_candidates`` that the pool may take from are thinned to so many as they are read, each with
    the same chance to stay (reservoir sampling, Vitter's algorithm R): memory and scoring are bounded, and what is kept
    was not chosen by how likely it is.
    """
    found: dict[str, Candidates] = {}
    seen: dict[str, set[bytes]] = {}
    for group in groups:
        name = group.problem_id
        kept = found.setdefault(name, Candidates(name, rng_of(name)))
        known = seen.setdefault(name, set())
        eligible = candidates_of(group)
        mask_G = in_pool(np.array([one.reward for one in eligible]), settings.pool)
        for one in (one for one, is_eligible in zip(eligible, mask_G, strict=True) if is_eligible):
            tokens = one.tokens.tobytes()
            if tokens in known:
                continue
            known.add(tokens)
            if len(kept.rollouts) < settings.replay_candidates:
                kept.rollouts.append(one.apart())
            elif (place := int(kept.rng.integers(len(known)))) < settings.replay_candidates:
                kept.rollouts[place] = one.apart()
    return [*found.values()]


def first_step_replayed(run: Run, phase: Phase, replay_phases: int | None) -> int:
    """Return the first step of the earliest RL phase that an IRL phase may choose from; None is the first of all."""
    if replay_phases == 1:
        return phase.first_step
    phases = run.recipe.phases(len(run.train_problems))
    begun = [one.first_step for one in phases if one.kind == "rl" and one.number < phase.number]
    return begun[0] if replay_phases is None else begun[max(0, len(begun) - replay_phases)]


def _stored(run: Run, first_step: int, last_step: int) -> Iterator[GroupColumns]:
    """Read the groups of these steps back, one generation at a time."""
    for step in run.directory.rollouts.steps():
        if first_step <= step <= last_step:
            yield from run.directory.rollouts.read_columns(step)


def candidates_of(group: GroupColumns) -> list[Candidate]:
    """Return the rollouts of a group as candidates, in their order.

    Equal responses have the likelihood that the first of them was given: an engine rounds by a row's place in its
    batch, and what rounding says must not choose among them.
    """
    rewards = {verdict: verdict.judged_reward for verdict in set(group.verdict)}
    known: dict[bytes, tuple[float, float]] = {}
    candidates: list[Candidate] = []
    columns = (group.prompt_tokens, group.tokens, group.logp_raw, group.step, group.index, group.verdict)
    for prompt_tokens, tokens, logp_raw, step, index, verdict in zip(*columns, strict=True):
        response = tokens.tobytes()
        if response not in known:
            known[response] = likelihoods(logp_raw)
        candidates.append(
            Candidate(prompt_tokens, tokens, step, group.group, index, rewards[verdict], *known[response])
        )
    return candidates


def scored(
    found: Iterable[Candidates], settings: IrlSettings, score: Callable[[Sequence[Row]], Sequence[float]]
) -> Iterator[tuple[Candidates, NDArray[np.float64]]]:
    """Yield candidates with what they are ranked by, the least first, nats (``irl.rank_by``).

    ``behaviour``  log-likelihood under the policy that sampled it, as it was stored (the paper's); one problem is held
                   at a time
    ``present``    under the policy that the phase begins with; all are held, and scored together
    ``ratio``      of the latter less that under the base policy: negative where training has made it less likely

    ``score`` computes the latter two, of all rows at once; for the first it is not called.
    """
    if settings.rank_by == "behaviour":
        for one in found:
            yield one, one.stored_likelihood(settings.likelihood)
        return
    held = list(found)
    scores = iter(score([rollout.row() for one in held for rollout in one.rollouts]))
    for one in held:
        yield one, np.array([*islice(scores, len(one.rollouts))])


def _scores(run: Run, rows: Sequence[Row], settings: IrlSettings, reference: Reference | None) -> list[float]:
    """Log-likelihoods of responses, nats, under the policy as it is; less that under the base policy for ``ratio``."""
    max_tokens = run.recipe.rl.tokens_per_microbatch
    present = partial(run.policy.logp, max_tokens=max_tokens)
    base = None
    if settings.rank_by == "ratio":
        assert reference is not None, "the recipe's reference is made where candidates are ranked against it"
        base = partial(reference.logp, max_tokens=max_tokens)
    scores: list[float] = []
    with run.progress.work("scoring candidates of IRL", len(rows)) as advance:
        run.stop.check()
        for some in likelihoods_now(rows, settings.likelihood, present, base):
            scores += some
            advance(len(some))
            run.stop.check()
    return scores


def likelihoods_now(
    rows: Sequence[Row], kind: Likelihood, present: LogprobsOf, base: LogprobsOf | None
) -> Iterator[list[float]]:
    """Yield log-likelihoods under the ``present`` policy, nats, less those under ``base`` where it is given: of
    ``ROWS_AT_ONCE`` rows at a time, so that the log-probs of no more than those are held.
    """
    for first in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[first : first + ROWS_AT_ONCE]
        logp = present(some)
        if base is not None:
            logp = [now_T - then_T for now_T, then_T in zip(logp, base(some), strict=True)]
        yield [likelihood(logp_T, kind) for logp_T in logp]
