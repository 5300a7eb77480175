"""The three-line Python interface."""

import pytest

import unsqueeze
from unsqueeze.errors import UserError
from unsqueeze.verify.verdict import Judgement, Verdict


@pytest.mark.usefixtures("shared_workers")
def test_judge_and_score_a_list() -> None:
    golds = ["5", "5", r"\frac{1}{2}", r"\frac{1}{2}"]
    judgements = unsqueeze.judge(golds, [r"\boxed{5}", "6", "0.5", "I have no idea at all"], timeout_s=30)
    assert [judgement.verdict.value for judgement in judgements] == ["correct", "wrong", "correct", "unparsable"]
    summary = unsqueeze.score(["a", "a", "b", "b"], judgements)
    assert summary.avg.mean == 0.5
    assert summary.pass_at[2].mean == 1.0
    assert summary.majority is not None
    # Of a one correct and one wrong vote, a tie: 1/2. Of b one correct vote, the other gave no answer: 1.
    assert summary.majority.mean == 0.75


def test_outcomes_may_be_of_any_kind() -> None:
    kinds = [True, 1, Verdict.CORRECT, Judgement(Verdict.CORRECT)]
    for outcome in kinds:
        assert unsqueeze.score(["a"], [outcome]).avg.mean == 1.0
    summary = unsqueeze.score(
        ["a", "a", "a", 1], [True, None, Verdict.TIMED_OUT, 0], ks=[1], benchmarks=["x", "x", "x", "y"]
    )
    assert summary.n_problems == 2
    assert summary.avg.mean == pytest.approx((1 / 3 + 0) / 2)
    assert summary.at_best is not None
    assert summary.at_best.avg == 0.5
    assert summary.majority is None
    out = unsqueeze.score(["a", "b", "c"], [True, Verdict.UNREADABLE_GOLD, Judgement(Verdict.UNREADABLE_GOLD)])
    assert (out.n_problems, out.num_unreadable) == (1, 2)


def test_compare_two_lists() -> None:
    ids = ["a", "a", "b", "b"]
    comparison = unsqueeze.compare((ids, [1, 0, 0, 0]), (ids, [1, 1, 0, 1]))
    assert comparison.avg.paired.difference.mean == pytest.approx(0.5)
    assert comparison.pass_at[2].second == 1.0


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(UserError, match="2 problem ids, 1 outcomes"):
        unsqueeze.score(["a", "b"], [True])
    with pytest.raises(UserError, match="outcome is 7"):
        unsqueeze.score(["a"], [7])
    with pytest.raises(AttributeError):
        _ = unsqueeze.nothing_of_that_name
