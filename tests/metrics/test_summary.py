"""Summaries of tallies: uneven n, what is not judged, votes, benchmarks."""

import json
from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.errors import UserError
from unsqueeze.metrics import summary as summary_module
from unsqueeze.metrics.intervals import Estimate
from unsqueeze.metrics.summary import (
    AtBest,
    Counts,
    Summary,
    check_ks,
    powers_of_two_up_to,
    summaries_by_benchmark,
    summarise,
    summarise_tally,
)
from unsqueeze.metrics.tally import Tallier
from unsqueeze.metrics.vote import majority, majority_at_n
from unsqueeze.plain_json import dumps


def test_summary_by_hand() -> None:
    summary = summarise([4, 4, 2], [1, 0, 2], [1, 2, 4, 8])
    assert summary.n_problems == 3
    assert summary.avg.mean == pytest.approx((1 / 4 + 0 + 1) / 3)
    assert summary.pass_at[1] == summary.avg
    assert summary.pass_at[2].mean == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert summary.pass_at[4].mean == pytest.approx((1 + 0) / 2)  # the third problem has no four samples
    assert isnan(summary.pass_at[8].mean)
    assert summary.num_undefined == {1: 0, 2: 0, 4: 1, 8: 3}
    assert summary.coverage.mean == pytest.approx(2 / 3)


def test_reliability_by_hand_and_of_what_was_not_judged() -> None:
    summary = summarise([4, 4, 2], [3, 0, 2], [1, 2, 4], num_open_P=[1, 0, 0], taus=[0.5, 1.0])
    found = summary.reliability
    assert found.pass_hat[2].mean == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert found.pass_hat[4].mean == 0.0  # the third problem has no four samples
    assert found.g_pass_at[1.0] == found.pass_hat
    assert found.g_pass_at[0.5][2].mean == pytest.approx(summary.pass_at[2].mean)
    assert found.mean_g_pass_at[1].mean == pytest.approx(summary.avg.mean)
    assert found.cover[1.0].mean == pytest.approx(1 / 3)
    assert summary.at_best is not None
    assert summary.at_best.reliability.pass_hat[4] == pytest.approx(1 / 2)
    assert summary.at_best.reliability.cover[1.0] == pytest.approx(2 / 3)
    assert Summary.from_json_object(json.loads(dumps(summary.to_json_object()))) == summary


def test_a_summary_of_before_has_no_reliability() -> None:
    written = summarise([2, 2], [1, 2], [1, 2]).to_json_object()
    del written["reliability"]
    del written["max_samples"]
    read = Summary.from_json_object(written)
    assert read.reliability.pass_hat == {}
    assert read.max_samples == 0


def test_json_is_the_contract_and_holds_no_nan() -> None:
    written = json.loads(json.dumps(summarise([2, 2], [1, 2], [1, 4]).to_json_object(), allow_nan=False))
    assert written["n_problems"] == 2
    assert written["avg"] == pytest.approx(0.75)
    assert set(written["pass_at"]["1"]) == {"mean", "low", "high"}
    assert written["pass_at"]["4"] == {"mean": None, "low": None, "high": None}
    assert written["num_undefined"] == {"4": 2}
    assert written["majority"] is None


def test_a_problem_without_samples_takes_no_part() -> None:
    summary = summarise([4, 0], [2, 0], [1])
    assert summary.n_problems == 2
    assert summary.avg.mean == 0.5
    assert summary.coverage.mean == 1.0


def test_counts_must_be_as_many() -> None:
    with pytest.raises(UserError):
        summarise([1, 2], [1], [1])


def test_the_ks_worth_a_look() -> None:
    assert powers_of_two_up_to(1) == [1]
    assert powers_of_two_up_to(128) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert powers_of_two_up_to(100) == [1, 2, 4, 8, 16, 32, 64, 100]
    assert powers_of_two_up_to(0) == []


def test_ks_that_n_cannot_tell_are_refused_before_anything_is_sampled() -> None:
    assert check_ks([8, 1, 1], 8) == [1, 8]
    for ks, words in (
        ([1, 8], "k is 8, and n is 4: Pass@8 takes 8 samples"),
        ([0, 2], "k is 0, 2; give whole numbers from 1 on"),
        ([], "k is empty"),
    ):
        with pytest.raises(UserError) as raised:
            check_ks(ks, 4)
        assert words in str(raised.value)


def test_majority_by_hand() -> None:
    assert majority(3, [2, 2]) == 1.0
    assert majority(2, [3]) == 0.0
    assert majority(2, [2]) == 0.5  # a tie of two
    assert majority(1, [1, 1, 1]) == 0.25  # a tie of four
    assert majority(0, []) == 0.0
    assert majority_at_n(["4", "5", "5", None, None], [True, False, False, False, False]) == 0.0
    assert majority_at_n(["1/2", "0.5", "3", "3", "4"], [True, True, False, False, False]) == 0.5
    assert majority_at_n(["7", "7", "8"], [True, True, False]) == 1.0  # the right ones do not stand against themselves
    assert isnan(majority_at_n([], []))
    with pytest.raises(UserError, match="1 answers for 0 verdicts"):
        majority_at_n(["1"], [])


def test_what_is_not_judged_counts_as_wrong_and_at_best_as_right() -> None:
    tallier = Tallier()
    for correct, answer in [(True, "5"), (False, "6"), (None, None), (False, "6")]:
        tallier.add("a", correct, answer=answer)
    tallier.add("b", None)
    tally = tallier.tally()
    assert tally.problem_ids == ("a", "b")
    np.testing.assert_array_equal(tally.num_samples_P, [4, 1])
    np.testing.assert_array_equal(tally.num_correct_P, [1, 0])
    np.testing.assert_array_equal(tally.num_open_P, [1, 1])
    assert tally.num_not_judged == 2
    assert tally.max_samples == 4
    summary = summarise_tally(tally, [1, 4])
    best = summary.at_best
    assert best is not None
    # Avg: of a 1/4, at best 2/4; of b 0/1, at best 1/1.
    assert (summary.avg.mean, best.avg) == pytest.approx((1 / 8, 3 / 4))
    assert (summary.coverage.mean, best.coverage) == (0.5, 1.0)
    # b has no four samples.
    assert (summary.pass_at[4].mean, best.pass_at[4]) == (1.0, 1.0)
    # Of a, 6 has two votes against one for what is right, and at best two against two: a tie.
    assert summary.majority is not None
    assert (summary.majority.mean, best.majority) == (0.0, pytest.approx((1 / 2 + 1) / 2))
    tallier.answers_unknown()
    assert tallier.tally().majority_P is None
    assert tallier.tally().best_majority_P is None


def test_where_all_was_judged_nothing_is_estimated_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The upper ends cost as much as the estimates but for their intervals."""
    seen = []
    real = summary_module.reliability_of

    def counted(*arguments: object) -> object:
        seen.append(arguments)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(summary_module, "reliability_of", counted)
    assert summarise([4, 4], [1, 2], [1]).at_best is None
    assert len(seen) == 1
    assert summarise([4, 4], [1, 2], [1], num_open_P=[0, 1]).at_best is not None
    assert len(seen) == 3


def test_one_answer_that_was_not_judged_leaves_its_problem_in() -> None:
    """15 of 30 problems are never solved, with one answer each that was not judged: Pass@128 is 1/2, and not 1."""
    tallier = Tallier()
    for number in range(30):
        never = number < 15
        tallier.add(str(number), not never, count=127)
        tallier.add(str(number), None if never else True)
    summary = summarise_tally(tallier.tally(), [1, 128])
    assert summary.n_problems == 30
    assert summary.num_undefined == {1: 0, 128: 0}
    assert summary.pass_at[128].mean == 0.5
    assert summary.at_best is not None
    # Of those 15, at best one of 128 is right: then Pass@128 is 1, and Pass@1 (1 + 1/128) / 2.
    assert summary.at_best.pass_at == pytest.approx({1: (1 + 1 / 128) / 2, 128: 1.0})


@given(st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=12), st.integers(0, 2**12 - 1))
def test_whatever_the_open_answers_are_the_truth_lies_between(outcomes: list[bool | None], bits: int) -> None:
    """Judged in any way, what was not judged gives numbers between the two that are shown."""

    def summary_of(given: list[bool | None]) -> Summary:
        tallier = Tallier()
        for place, outcome in enumerate(given):
            tallier.add(str(place % 3), outcome, answer=place % 2)
        return summarise_tally(tallier.tally(), [1, 2, 4])

    shown = summary_of(outcomes)
    truth = summary_of([bool(bits >> place & 1) if each is None else each for place, each in enumerate(outcomes)])
    assert (shown.at_best is None) == (None not in outcomes)
    best = shown.at_best
    pairs = [(shown.avg.mean, truth.avg.mean, best.avg if best else shown.avg.mean)]
    pairs.append((shown.coverage.mean, truth.coverage.mean, best.coverage if best else shown.coverage.mean))
    for k in (1, 2, 4):
        low, true = shown.pass_at[k].mean, truth.pass_at[k].mean
        assert isnan(low) == isnan(true)  # who takes part does not depend on what was judged
        if not isnan(low):
            pairs.append((low, true, best.pass_at[k] if best else low))
    for low, true, high in pairs:
        assert low - 1e-12 <= true <= high + 1e-12


def test_a_gold_answer_that_cannot_be_read_takes_its_problem_out_whatever_was_answered() -> None:
    tallier = Tallier()
    tallier.add("a", True, benchmark="x")
    for correct, readable in [(True, False), (None, False), (False, True)]:
        tallier.add("b", correct, benchmark="x", readable=readable)
    tallier.add("c", None, benchmark="y", readable=False)
    tally = tallier.tally()
    assert tally.problem_ids == ("a",)
    assert tally.unreadable == (("x", "b"), ("y", "c"))
    summary = summarise_tally(tally, [1])
    assert (summary.n_problems, summary.num_unreadable, summary.num_not_judged) == (1, 2, 0)
    assert summary.avg.mean == 1.0
    parts = summaries_by_benchmark(tally, [1])
    assert {name: (part.n_problems, part.num_unreadable) for name, part in parts.items()} == {"x": (1, 1), "y": (0, 1)}


def test_equal_samples_may_be_added_at_once() -> None:
    tallier = Tallier()
    for correct, answer, count in [(True, "5", 2), (False, "6", 3), (None, None, 4)]:
        tallier.add("a", correct, answer=answer, count=count)
    tally = tallier.tally()
    assert (tally.num_samples_P.tolist(), tally.num_correct_P.tolist(), tally.num_not_judged) == ([9], [2], 4)
    assert tally.majority_P is not None
    assert tally.majority_P.tolist() == [0.0]  # three votes for 6, two for what is right


def test_an_empty_tally() -> None:
    tally = Tallier().tally()
    assert tally.max_samples == 0
    assert isnan(summarise_tally(tally, [1]).avg.mean)


def test_benchmarks_have_summaries_of_their_own() -> None:
    tallier = Tallier()
    for benchmark, problem_id, correct in [("aime", "1", True), ("aime", "2", False), ("hmmt", "1", False)]:
        tallier.add(problem_id, correct, benchmark=benchmark)
    tally = tallier.tally()
    parts = summaries_by_benchmark(tally, [1])
    assert {name: part.avg.mean for name, part in parts.items()} == {"aime": 0.5, "hmmt": 0.0}
    assert summarise_tally(tally, [1]).avg.mean == pytest.approx(1 / 3)
    single = Tallier()
    single.add("1", True)
    assert summaries_by_benchmark(single.tally(), [1]) == {}


NUMBERS = st.floats(allow_infinity=False)
COUNTS = st.integers(min_value=0, max_value=10**6)
ESTIMATES = st.builds(Estimate, NUMBERS, NUMBERS, NUMBERS)


@st.composite
def summaries(draw: st.DrawFn, parts: bool = True) -> Summary:
    """Anything that a summary may hold, what is undefined (NaN) and what is not known (None) included."""
    ks = draw(st.lists(st.integers(1, 1000), min_size=1, max_size=4, unique=True))
    names = draw(st.lists(st.text(max_size=5), max_size=2, unique=True)) if parts else []
    return Summary(
        n_problems=draw(COUNTS),
        avg=draw(ESTIMATES),
        pass_at={k: draw(ESTIMATES) for k in ks},
        num_undefined={k: draw(COUNTS) for k in ks},
        coverage=draw(ESTIMATES),
        majority=draw(st.none() | ESTIMATES),
        num_not_judged=draw(COUNTS),
        num_unreadable=draw(COUNTS),
        at_best=draw(
            st.none()
            | st.builds(
                AtBest,
                avg=NUMBERS,
                pass_at=st.just({k: draw(NUMBERS) for k in ks}),
                coverage=NUMBERS,
                majority=st.none() | st.floats(allow_infinity=False, allow_nan=False),
            )
        ),
        max_samples=draw(COUNTS),
        counts=draw(
            st.none()
            | st.builds(Counts, num_samples=COUNTS, num_unparsable=COUNTS, num_cut_off=COUNTS, mean_tokens=NUMBERS)
        ),
        greedy_logp=draw(st.none() | NUMBERS),
        benchmarks={name: draw(summaries(parts=False)) for name in names},
    )


@given(summaries())
def test_what_was_written_is_read_again(summary: Summary) -> None:
    read = Summary.from_json_object(json.loads(dumps(summary.to_json_object())))
    assert repr(read) == repr(summary)  # NaN is not equal to itself, and its name is


def test_other_keys_are_passed_over_and_missing_ones_are_not() -> None:
    written = summarise([2, 2], [1, 2], [1, 2]).to_json_object()
    assert Summary.from_json_object(written | {"step": 5, "model": "x"}) == summarise([2, 2], [1, 2], [1, 2])
    for name in ("n_problems", "avg", "avg_low", "pass_at", "coverage"):
        with pytest.raises(KeyError, match=name):
            Summary.from_json_object({key: value for key, value in written.items() if key != name})
    for damage in ({"pass_at": {}}, {"pass_at": {"x": {}}}, {"avg": "much"}, {"n_problems": float("inf")}):
        with pytest.raises((ValueError, OverflowError)):
            Summary.from_json_object(written | damage)
