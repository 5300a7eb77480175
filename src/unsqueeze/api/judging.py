"""Judging and scoring in three lines of Python.

    from unsqueeze import judge
    judgements = judge(golds, responses)
    print(judgements[0].verdict, judgements[0].reason)

    from unsqueeze import score
    summary = score(problem_ids, judgements)
    print(summary.pass_at[8])

    from unsqueeze import compare
    comparison = compare((problem_ids, before), (problem_ids, after))
    print(comparison.pass_at[8].paired)

The names are re-exported by ``unsqueeze`` itself, lazily.
"""

from collections.abc import Hashable, Iterable, Sequence

from unsqueeze.errors import UserError
from unsqueeze.metrics.comparison import Comparison, compare_tallies
from unsqueeze.metrics.summary import Summary, powers_of_two_up_to, summarise_tally
from unsqueeze.metrics.tally import Tallier, Tally
from unsqueeze.verify.extract import Credit
from unsqueeze.verify.math_verifier import DEFAULT_MEMORY_MB, DEFAULT_TIMEOUT_S, DEFAULT_WORKERS, MathVerifier
from unsqueeze.verify.verdict import Judgement, Verdict

Outcome = bool | int | Verdict | Judgement | None
"""Whether a sample is correct. None and the verdicts that are not judged count apart."""

Samples = tuple[Sequence[Hashable], Sequence[Outcome]]
"""The problem of every sample, and its outcome."""


def judge(
    golds: Sequence[str],
    responses: Sequence[str],
    *,
    credit: Credit = "anywhere",
    workers: int = DEFAULT_WORKERS,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    memory_mb: int = DEFAULT_MEMORY_MB,
) -> list[Judgement]:
    """One judgement per pair of gold answer and response, in order. See ``verify.math_verifier.MathVerifier``.

    Starts the workers and ends them; keep a ``MathVerifier`` for judging again and again.
    """
    with MathVerifier(workers, timeout_s, memory_mb, credit) as math_verifier:
        return math_verifier.verify_answers(golds, responses)


def score(
    problem_ids: Sequence[Hashable],
    outcomes: Sequence[Outcome],
    *,
    ks: Iterable[int] | None = None,
    benchmarks: Sequence[str] | None = None,
    seed: int = 0,
) -> Summary:
    """Avg@n, Pass@k, coverage (and maj@n, where outcomes are judgements) with 95 % intervals over problems.

    One entry a sample; samples of one problem share its id. ``ks`` defaults to 1, 2, 4, … and the most samples.
    """
    tally = _tally((problem_ids, outcomes), benchmarks)
    return summarise_tally(tally, powers_of_two_up_to(tally.max_samples) if ks is None else ks, seed=seed)


def compare(first: Samples, second: Samples, *, ks: Iterable[int] | None = None, seed: int = 0) -> Comparison:
    """Paired differences, second minus first, of Avg@n and Pass@k on the problems that both have."""
    before, after = _tally(first, None), _tally(second, None)
    most = min(before.max_samples, after.max_samples)
    return compare_tallies(before, after, powers_of_two_up_to(most) if ks is None else ks, seed=seed)


def _tally(samples: Samples, benchmarks: Sequence[str] | None) -> Tally:
    problem_ids, outcomes = samples
    names = [""] * len(problem_ids) if benchmarks is None else benchmarks
    if not len(problem_ids) == len(outcomes) == len(names):
        raise UserError(
            f"score: {len(problem_ids)} problem ids, {len(outcomes)} outcomes, {len(names)} benchmarks; give one of "
            "each per sample."
        )
    tallier = Tallier()
    for problem_id, outcome, benchmark in zip(problem_ids, outcomes, names, strict=True):
        answer = outcome.extracted if isinstance(outcome, Judgement) else None
        tallier.add(str(problem_id), _correct(outcome), benchmark=benchmark, answer=answer)
        if not isinstance(outcome, Judgement):
            tallier.answers_unknown()
    return tallier.tally()


def _correct(outcome: Outcome) -> bool | None:
    verdict = outcome.verdict if isinstance(outcome, Judgement) else outcome
    if isinstance(verdict, Verdict):
        return verdict is Verdict.CORRECT if verdict.judged else None
    if verdict is None:
        return None
    if verdict in (0, 1):
        return bool(verdict)
    raise UserError(f"score: an outcome is {outcome!r}; it must be true, false, 1, 0, None, a verdict or a judgement.")
