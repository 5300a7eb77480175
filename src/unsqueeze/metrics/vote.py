"""maj@n: is the most frequent answer of a problem the right one?

Axes: none; one problem at a time.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from math import nan

from unsqueeze.errors import UserError


def majority(num_correct: int, wrong_counts: Iterable[int]) -> float:
    """Chance that a majority vote is correct (self-consistency, arXiv 2203.11171).

    The ``num_correct`` correct answers are one candidate, however they are written, since the verifier found them all
    equal to the gold answer; ``wrong_counts`` are the votes of every other distinct answer. Ties are broken at random,
    so the value is 0 or 1 without ties, 1/2 where the correct answer ties with one other. 0 where nobody votes.
    """
    counts = list(wrong_counts)
    most = max([num_correct, *counts])
    if num_correct == 0 or num_correct < most:
        return 0.0
    return 1.0 / (1 + counts.count(most))


def majority_at_n(answers: Sequence[Hashable | None], correct: Sequence[bool]) -> float:
    """``majority`` of the n answers of one problem. A wrong answer of None does not vote.

    Wrong answers are told apart as they are given, so write equal ones equally. NaN for no samples at all. Raises
    UserError where the lengths differ.
    """
    if len(answers) != len(correct):
        raise UserError(f"maj@n: {len(answers)} answers for {len(correct)} verdicts; give one each.")
    if not answers:
        return nan
    pairs = zip(answers, correct, strict=True)
    wrong = Counter(answer for answer, right in pairs if not right and answer is not None)
    return majority(sum(map(bool, correct)), wrong.values())
