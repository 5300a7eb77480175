"""Countdown: the rules by hand, the generator by properties, the checker against wrong and hostile answers."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.errors import UserError
from unsqueeze.tasks.countdown import (
    MAX_RESPONSE_CHARS,
    CountdownDifficulty,
    Step,
    apply_operator,
    countdown_problems,
    is_held_out,
    make_problem,
    parse_prompt,
    parse_steps,
    random_solution,
    render_steps,
)
from unsqueeze.tasks.countdown_solutions import canonical_solution, distinct_solutions
from unsqueeze.verify.countdown import CountdownVerifier, check_countdown
from unsqueeze.verify.verdict import Verdict

PROBLEM = make_problem([14, 3, 2, 6], 48)

DIFFICULTIES = st.builds(
    CountdownDifficulty,
    count=st.integers(2, 5),
    min_number=st.integers(0, 3),
    max_number=st.integers(10, 25),
    operators=st.sampled_from(["+-*", "+-", "+-*/", "+*"]),
    min_target=st.integers(0, 10),
    max_target=st.none() | st.integers(60, 99),
)


def test_a_problem_reads_as_a_sentence() -> None:
    assert PROBLEM.prompt == "Make 48 from 2 3 6 14."
    assert PROBLEM.id == "countdown-2.3.6.14-48"
    assert (PROBLEM.answer, PROBLEM.task) == ("48", "countdown")
    assert parse_prompt(PROBLEM.prompt) == ((2, 3, 6, 14), 48)


@pytest.mark.parametrize(
    "prompt", ["", "Make 48 from 2.", "make 48 from 2 3.", "Make 48 from 2 3", "Make ٤٨ from 2 3."]
)
def test_a_prompt_of_another_form_is_refused(prompt: str) -> None:
    with pytest.raises(UserError, match="not of the form"):
        parse_prompt(prompt)


@pytest.mark.parametrize(
    ("operator", "left", "right", "result"),
    [
        ("+", 3, 4, 7),
        ("*", 3, 0, 0),
        ("-", 4, 4, 0),
        ("-", 3, 4, None),  # below zero
        ("/", 12, 4, 3),
        ("/", 12, 5, None),  # leaves a rest
        ("/", 12, 0, None),
    ],
)
def test_the_result_of_a_step(operator: str, left: int, right: int, result: int | None) -> None:
    assert apply_operator(operator, left, right) == result


@pytest.mark.parametrize(
    "response",
    [
        "14 - 6 = 8, 8 * 3 = 24, 24 * 2 = 48",
        "14-6=8,8*3=24,24*2=48",  # spaces are free
        "  14 - 6 = 8\n8 * 3 = 24\r\n24 * 2 = 48\n",  # a line a step
        "14 - 6 = 8; 3 * 2 = 6; 8 * 6 = 48",  # a result may wait; the new 6 is not the old one
    ],
)
def test_right_answers(response: str) -> None:
    judgement = check_countdown(PROBLEM, response)
    assert judgement.verdict is Verdict.CORRECT
    assert judgement.extracted == "48"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("14 - 6 = 8, 8 * 3 = 25, 25 * 2 = 50", "step 2: 8 * 3 is 24, not 25"),
        ("14 - 6 = 8, 8 * 6 = 48", "step 2: 6 is not available"),  # used before
        ("24 * 2 = 48", "step 1: 24 is not available"),  # from nowhere
        ("3 * 3 = 9", "step 1: 3 is not available"),  # only one 3 is on the table
        ("14 - 6 = 8, 8 * 3 = 24", "after step 2: 2 numbers are left"),  # the 2 and the 24
        ("14 - 6 = 8, 2 - 3 = -1, 8 * -1 = -8", "step 2: 2 - 3 is not a whole number of 0 or more"),
        ("14 / 3 = 4", "step 1: 14 / 3 is not a whole number"),
        ("14 / 0 = 4", "step 1: 0 is not available"),
        ("14 - 6 = 8, 8 * 3 = 24, 24 + 2 = 26", "the last result is 26, not 48"),
        ("14 - 6 = 8, 8 * 3 = 24, 24 * 2 = 48, 48 + 0 = 48", "step 4: 0 is not available"),
        ("14 - 6 = 8, 8 * 3 = 24, 24 * 2 = 48, 48 - 48 = 0", "step 4: 48 is not available"),  # the one 48, twice
    ],
)
def test_wrong_answers_name_the_step(response: str, reason: str) -> None:
    judgement = check_countdown(PROBLEM, response)
    assert judgement.verdict is Verdict.WRONG
    assert reason in judgement.reason


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("48", "step 1"),
        ("14 - 6 = 8, 8 * 3", "step 2"),  # cut off
        ("14 - 6 = 8, 8 * 3 = 24,", "step 3"),
        ("14 - 6 = 8 8 * 3 = 24", "step 1"),  # nothing parts them
        ("(14 - 6) * 3 * 2 = 48", "step 1"),
        ("The answer is 14 - 6 = 8", "step 1"),
        ("14 × 3 = 42", "step 1"),
        ("14 ** 3 = 2744", "step 1"),
        ("14.0 - 6 = 8", "step 1"),
        ("١٤ - 6 = 8", "step 1"),  # digits of another script
        ("¹4 - 6 = 8", "step 1"),
        ("9999999999 * 2 = 1", "step 1"),  # ten digits
        ("__import__('os').system('true')", "step 1"),
    ],
)
def test_what_is_no_list_of_steps_is_unparsable(response: str, reason: str) -> None:
    judgement = check_countdown(PROBLEM, response)
    assert judgement.verdict is Verdict.UNPARSABLE
    assert judgement.extracted is None
    assert reason in judgement.reason


@pytest.mark.parametrize("piece", ["9", "1 + 1 = 2, ", " ", "\n", "9 * ", "=", "𝟗", "\x00"])
def test_megabytes_cost_nothing(piece: str) -> None:
    response = piece * (4_000_000 // len(piece))
    judgement = check_countdown(PROBLEM, response)
    assert judgement.verdict is Verdict.UNPARSABLE
    assert judgement.reason.startswith(f"the response has {len(response)} characters")  # the rest was not looked at


@given(st.text(alphabet="0123456789+-*/=,; \n", max_size=MAX_RESPONSE_CHARS) | st.text(max_size=200))
def test_any_text_gets_a_verdict(response: str) -> None:
    assert check_countdown(PROBLEM, response).verdict in (Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSABLE)


def test_the_judge_keeps_the_order_and_refuses_odd_lengths() -> None:
    verifier = CountdownVerifier()
    other = make_problem([1, 2], 3)
    verdicts = [j.verdict for j in verifier.verify([other, PROBLEM, other], ["1 + 2 = 3", "1 + 2 = 3", "x"])]
    assert verdicts == [Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSABLE]
    with pytest.raises(ValueError, match="shorter"):
        verifier.verify([PROBLEM], [])
    verifier.close()


@given(DIFFICULTIES, st.integers(0, 2**32), st.booleans())
def test_a_drawn_solution_solves_its_problem_within_the_difficulty(
    difficulty: CountdownDifficulty, seed: int, held_out: bool
) -> None:
    numbers, steps = random_solution(random.Random(seed), difficulty, held_out=held_out)
    target = steps[-1].result
    assert len(numbers) == difficulty.count
    assert all(difficulty.min_number <= number <= difficulty.max_number for number in numbers)
    assert difficulty.min_target <= target <= difficulty.highest_target
    assert {step.operator for step in steps} <= set(difficulty.operators)
    assert max(step.result for step in steps) <= difficulty.max_result
    assert is_held_out(numbers, target) is held_out
    text = render_steps(steps)
    assert parse_steps(text) == steps
    assert check_countdown(make_problem(numbers, target), text).verdict is Verdict.CORRECT


@given(DIFFICULTIES, st.integers(0, 100), st.integers(0, 2**16))
def test_changing_the_last_result_makes_it_wrong(difficulty: CountdownDifficulty, change: int, seed: int) -> None:
    numbers, steps = random_solution(random.Random(seed), difficulty, held_out=False)
    last = steps[-1]
    changed = [*steps[:-1], Step(last.left, last.operator, last.right, last.result + 1 + change)]
    judgement = check_countdown(make_problem(numbers, last.result), render_steps(changed))
    assert judgement.verdict is Verdict.WRONG


@given(st.integers(0, 50))
def test_train_and_test_are_disjoint_distinct_and_seeded(seed: int) -> None:
    train, test = countdown_problems(60, 20, seed)
    assert (train, test) == countdown_problems(60, 20, seed)
    keys = [(*sorted(parse_prompt(p.prompt)[0]), p.answer) for p in train + test]
    assert len(set(keys)) == 80
    # Not only with this seed: the two sides of the split never meet.
    assert not any(is_held_out(*parse_prompt(p.prompt)) for p in train)
    assert all(is_held_out(*parse_prompt(p.prompt)) for p in test)


def test_seeds_differ_and_a_shorter_list_is_a_prefix() -> None:
    train, test = countdown_problems(30, 10, seed=1)
    assert train != countdown_problems(30, 10, seed=2)[0]
    assert countdown_problems(20, 5, seed=1) == (train[:20], test[:5])


def test_the_split_does_not_depend_on_the_order_of_the_numbers() -> None:
    assert len({is_held_out(order, 48) for order in ([2, 3, 6, 14], [14, 6, 3, 2], [6, 2, 14, 3])}) == 1


def test_about_one_key_in_eight_is_held_out() -> None:
    share = sum(is_held_out([a, b, 7], t) for a in range(20) for b in range(a, 20) for t in range(50)) / (210 * 50)
    assert share == pytest.approx(1 / 8, abs=0.015)  # 10,500 keys: one standard deviation is 0.003


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"count": 1}, "count is 1"),
        ({"count": 7}, "count is 7"),
        ({"min_number": 9, "max_number": 8}, "min_number"),
        ({"max_result": 14}, "max_number"),
        ({"max_target": 100}, "targets from 10 to 100 with results up to 99"),
        ({"max_result": 20, "min_target": 21}, "targets from 21 to 20"),
        ({"operators": ""}, "operators"),
        ({"operators": "+^"}, "operators"),
    ],
)
def test_a_difficulty_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CountdownDifficulty(**fields)  # type: ignore[arg-type]


def test_more_problems_than_there_are_is_said() -> None:
    # Numbers 1 and 2, only added: the targets are 2, 3 and 4, three problems on both sides together.
    difficulty = CountdownDifficulty(count=2, max_number=2, operators="+", min_target=2, max_target=4)
    with pytest.raises(UserError, match=r"only [0-3] different"):
        countdown_problems(4, 0, 0, difficulty)


def test_distinct_solutions_by_hand() -> None:
    # 1, 2 and 3 make 6 by 1 + 2 + 3 and by 1 * 2 * 3, in any order or grouping. The others do not reach 6:
    # 2 * 3 - 1, 2 * 3 + 1, (1 + 2) * 3 = 9, (1 + 3) * 2 = 8, (3 - 1) * 2 = 4, (2 - 1) * 3 = 3, ...
    assert distinct_solutions([1, 2, 3], 6) == {"(1 + 2 + 3)", "(1 * 2 * 3)"}
    # 6 / 2 counts only where division is allowed; 6 - 2 - 1 and 6 - (2 + 1) are one solution.
    assert distinct_solutions([1, 2, 6], 3) == {"(6 - 1 - 2)"}
    with_division = CountdownDifficulty(operators="+-*/")
    assert distinct_solutions([1, 2, 6], 3, with_division) == {"(6 - 1 - 2)", "(1 * 6 / 2)", "(6 / 1 / 2)"}
    assert distinct_solutions([1, 1], 5) == frozenset()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2 + 3 = 5, 5 + 6 = 11, 14 + 11 = 25", "14 + 6 = 20, 20 + 3 = 23, 2 + 23 = 25", True),
        ("14 - 6 = 8, 8 - 3 = 5, 5 * 2 = 10", "6 + 3 = 9, 14 - 9 = 5, 2 * 5 = 10", True),
        ("14 - 6 = 8, 8 * 3 = 24, 24 * 2 = 48", "3 * 2 = 6, 14 - 6 = 8, 6 * 8 = 48", True),
        ("14 * 3 = 42, 42 + 6 = 48, 48 * 2 = 96", "14 - 6 = 8, 8 * 3 = 24, 24 * 2 = 48", False),
        ("14 - 6 = 8, 3 - 2 = 1, 8 * 1 = 8", "14 + 2 = 16, 16 - 6 = 10, 10 - 3 = 7", False),
    ],
)
def test_order_and_grouping_do_not_make_a_solution_new(one: str, other: str, same: bool) -> None:
    first, second = (canonical_solution([2, 3, 6, 14], parse_steps(text) or []) for text in (one, other))
    assert (first == second) is same


@given(DIFFICULTIES.filter(lambda difficulty: difficulty.count <= 4), st.integers(0, 2**16))
def test_a_random_solution_is_among_the_distinct_ones(difficulty: CountdownDifficulty, seed: int) -> None:
    numbers, steps = random_solution(random.Random(seed), difficulty, held_out=False)
    known = distinct_solutions(numbers, steps[-1].result, difficulty)
    assert canonical_solution(numbers, steps) in known
