r"""Where an answer stands: boxes, bare answers, letters, exact numbers; and that megabytes take no time."""

import random
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import pytest

from unsqueeze.errors import UserError
from unsqueeze.verify.bare import bare_answer
from unsqueeze.verify.choice import choice_letter, find_choice
from unsqueeze.verify.exact import exact_number
from unsqueeze.verify.extract import (
    CREDITS,
    after_thinking,
    boxes_at_end,
    check_credit,
    concluding_boxes,
    conclusive_box,
    first_turn,
    last_boxed,
    one_spelling,
    tagged_answer,
    without_earlier_boxes,
)
from unsqueeze.verify.gold import read_gold
from unsqueeze.verify.math_verifier import MathVerifier


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"so \boxed{5}.", "5"),
        (r"\boxed{1} then \boxed{ 2 }", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxed{a}\boxed{}", ""),
        (r"\boxed{1} and \boxed{2", None),
        (r"\boxed 5", "5"),
        (r"\boxed5", "5"),
        (r"\boxed42.5 and so on", "42.5"),
        (r"\boxed {17}", "17"),
        (r"\fbox{42}", "42"),
        (r"\fbox {\frac{1}{2}}", r"\frac{1}{2}"),
        (r"put it in \boxed please", None),
        ("no box", None),
        ("", None),
    ],
)
def test_the_last_box(text: str, content: str | None) -> None:
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"Thus $x = \boxed{5}$.", "5"),
        (r"\[ \boxed{\frac{1}{2}} \]", r"\frac{1}{2}"),
        (r"The final answer is $\boxed{7}$.", "7"),
        (r"The final answer is $x = 2$ and $\boxed{7}$.", None),  # Math-Verify takes both
        (r"The final answer is $7$. I hope so. \boxed{8}", None),  # announced before the box
        (r"\boxed{1}, \boxed{2}", None),  # Math-Verify joins them
        (r"\boxed{50}\%", None),
        (r"\boxed{5}, that is 6", None),
        (r"\boxed{}", None),
        (r"\fbox{4} \boxed{5}", None),
        (r"\boxed{$5$}", None),
        (r"\boxed{the answer is 5}", None),
    ],
)
def test_a_box_that_settles_what_is_read(text: str, content: str | None) -> None:
    assert conclusive_box(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{2}, \boxed{5}, \boxed{9}", "2, 5, 9"),
        (r"$\boxed{2}$ and $\boxed{5}$.", "2, 5"),
        (r"$x = \boxed{2}$, $y = \boxed{5}$", "2, 5"),
        (r"\boxed{2} \text{ or } \boxed{5}", "2, 5"),
        ("\\boxed{2}\n\n\\boxed{2}", "2"),
        (r"at first \boxed{2}, but it is \boxed{5}", "5"),
        (r"\boxed{2}", "2"),
    ],
)
def test_boxes_side_by_side_are_one_answer(text: str, content: str) -> None:
    boxed = boxes_at_end(text)
    assert boxed is not None
    assert boxed.content == content


def test_boxes_conclude_where_nothing_follows_them() -> None:
    several = concluding_boxes(r"so $\boxed{2}$, $\boxed{5}$.")
    assert several is not None
    assert several.content == "2, 5"
    assert concluding_boxes(r"\boxed{2}, \boxed{5} are the roots of the first equation") is None
    assert concluding_boxes(r"\boxed{2}") is None


def test_boxes_far_before_the_last_one_are_opened() -> None:
    assert without_earlier_boxes(r"first \boxed{2}, but then it is \boxed{5}") == r"first {2}, but then it is \boxed{5}"
    assert without_earlier_boxes(r"\boxed{2}, \boxed{5}") == r"\boxed{2}, \boxed{5}"
    assert without_earlier_boxes("none") == "none"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("no thought", "no thought"),
        ("<think>a</think>b", "b"),
        ("opened by the prompt</think>b", "b"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<think>a</think>b<think>cut off", "b"),
        ("<think>cut off", None),
        ("<THINKING>a</THINKING> b", " b"),
        ("a < b and b > c", "a < b and b > c"),
    ],
)
def test_thinking_is_told_apart(response: str, answer: str | None) -> None:
    assert after_thinking(response) == answer


def test_a_question_of_its_own_ends_the_response() -> None:
    assert first_turn("#### 42\n\nQuestion: 1+1?\n#### 2") == "#### 42\n"
    assert first_turn("Answer: 42\nProblem: 1+1?\nAnswer: 2") == "Answer: 42"
    assert first_turn("Problem: what is asked?\nQuestion: is it 2?\nAnswer: 2").endswith("Answer: 2")


def test_tags_around_an_answer() -> None:
    assert tagged_answer("so <answer>1</answer>, no <answer> 2 </answer>.") == "2"
    assert tagged_answer("</answer> 3") == "</answer> 3"


def test_one_spelling_of_boxes() -> None:
    assert one_spelling(r"\fbox{1} \boxed {2} \boxed3 \boxed{4}") == r"\boxed{1} \boxed{2} \boxed{3} \boxed{4}"


def test_credit_is_one_of_three() -> None:
    assert check_credit("boxed") == "boxed"
    with pytest.raises(UserError, match="boxed, final_answer, anywhere"):
        check_credit("any")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", Fraction(12)),
        ("-7", Fraction(-7)),
        (" $0$ ", Fraction(0)),
        ("6/4", Fraction(3, 2)),
        (r"\frac{3}{7}", Fraction(3, 7)),
        (r"-\dfrac{3}{7}", Fraction(-3, 7)),
        (r"\frac{-3}{7}", Fraction(-3, 7)),
        ("007", None),
        ("1.5", None),
        ("1/0", None),
        ("1,234", None),
        (r"\frac37", None),
        ("٣", None),
        ("9" * 16, None),
    ],
)
def test_exact_numbers(text: str, value: Fraction | None) -> None:
    assert exact_number(text) == value


HOSTILE_MEGABYTES = [
    "\\boxed{" * 150_000,
    "{" * 1_000_000,
    "}" * 1_000_000,
    "\\boxed{" + "{" * 1_000_000,
    "\\boxed{5}" + " " * 1_000_000,
    "\\boxed{5}" + " \\]" * 300_000 + "x",
    "\\boxed{" + "x" * 1_000_000 + "}",
    "answer is " * 100_000,
    "answer" + " " * 1_000_000,
    "**" * 500_000,
    "(" * 500_000 + "A" + ")" * 500_000,
    "$" * 1_000_000,
    "final answer" * 80_000 + "\\boxed{5}",
    "\n" * 1_000_000,
    "\\fbox{" * 150_000,
    "\\boxed{1} " * 100_000,
    "\\boxed{1}, " * 50_000 + "\\boxed{",
    "<think>" * 150_000,
    "</think><think>" * 70_000,
    "<answer>" * 120_000 + "</answer>",
    "\nQuestion:" * 100_000,
    "answer is " + "very " * 200_000,
    "The answer is (A) or " * 50_000,
    "option A is " * 80_000,
    "1,000,000 " * 100_000,
    "1 or " * 200_000,
    "答案是" * 300_000,
    "½√" * 400_000,
    "$" * 999_999,
    "\\text{" * 150_000,
    "\\frac" * 200_000,
    "3 2/7 " * 150_000,
]


@pytest.mark.parametrize("place", range(len(HOSTILE_MEGABYTES)))
def test_a_hostile_megabyte_takes_no_time(place: int) -> None:
    text = HOSTILE_MEGABYTES[place]
    reads: list[Callable[[], object]] = [
        partial(read, text)
        for read in (last_boxed, conclusive_box, concluding_boxes, bare_answer, exact_number, choice_letter, read_gold)
    ]
    reads += [partial(find_choice, text, credit) for credit in CREDITS]
    anywhere, boxed = MathVerifier(credit="anywhere"), MathVerifier(credit="boxed")
    reads += [partial(anywhere._settle, gold, text) for gold in ("5", "(B) 12", "east")]
    reads += [partial(boxed._settle, gold, text) for gold in ("5", "???")]
    for read in reads:
        start = time.process_time()
        read()
        assert time.process_time() - start < 3.0


def parts(text: str) -> list[str]:
    return text.split("~")


FRAGMENTS = parts(
    " ~\n~.~$~$$~\\(~\\)~\\[~\\]~ is ~The final answer is ~Final Answer~I hope~ and ~ or ~, ~answer: ~=~x~5~-3~3/4"
    r"~%~!~**~percent~\frac{1}{2}~\text{cm}~(~)~[~]~{~}~\{~\}~\boxed{~\boxed{}~\fbox{3}~we get ~\sqrt{2}"
)
BOXES = parts(
    r"\boxed{5}~\boxed{x+1}~\boxed{\frac{1}{2}}~\boxed{1,2}~\boxed{[0,1)}~\boxed{\text{no}}~\boxed{50\%}~\boxed{x=5}"
    r"~\boxed{3 \text{ cm}}~\boxed{((}"
)


def random_response(rng: random.Random) -> str:
    text = "".join(rng.choice(FRAGMENTS + BOXES) for _ in range(rng.randint(0, 8)))
    opening = rng.choice(["$", r"\(", r"\[", "$$", "", " $"]) + rng.choice(["x = ", ""])
    return (
        text + opening + rng.choice(BOXES) + rng.choice(["$", r"\)", r"\]", "$$", "", " $", ".", "$.", "**", " \\]\n"])
    )


def test_a_conclusive_box_is_what_math_verify_reads() -> None:
    """On random texts: what one box alone gives is what Math-Verify reads in the whole text, in both its ways."""
    from unsqueeze.verify.grading import Grader

    grader = Grader()
    rng = random.Random(0)
    num_compared = 0
    for _ in range(6000):
        text = random_response(rng)
        content = conclusive_box(text)
        if content is None:
            continue
        alone = grader._read(f"\\boxed{{{content}}}", "box")
        if alone is None or alone.expression is None:
            continue
        for where in ("anywhere", "final_answer"):
            whole = grader._read(text, where)  # type: ignore[arg-type]
            assert whole is not None, text
            assert (type(whole.expression), str(whole.expression)) == (type(alone.expression), str(alone.expression)), (
                text
            )
        num_compared += 1
    assert num_compared > 500


def test_exact_numbers_compare_as_math_verify_does() -> None:
    from unsqueeze.verify.grading import Grader

    grader = Grader()
    rng = random.Random(1)

    def number() -> str:
        top, bottom = rng.randint(-4, 4), rng.randint(1, 4)
        return rng.choice(
            [f"{top}", f"{top}/{bottom}", rf"\frac{{{top}}}{{{bottom}}}", rf"-\dfrac{{{top}}}{{{bottom}}}"]
        )

    equal = 0
    for _ in range(400):
        gold, answer = number(), number()
        given, wanted = exact_number(answer), exact_number(gold)
        assert given is not None
        assert wanted is not None
        for text in (f"${answer}$", f"\\boxed{{{answer}}}"):
            assert (grader.grade(f"${gold}$", text, "anywhere").verdict == "correct") == (given == wanted), (
                gold,
                answer,
            )
        equal += given == wanted
    assert equal > 10


def test_answers_to_reasoning_gym_stand_after_the_thought() -> None:
    from unsqueeze.verify.gym_verifier import find_answer

    assert find_answer("<think><answer>1</answer></think><answer>2</answer>", "boxed") == "2"
    assert find_answer("<think><answer>1</answer></think>none of these\nat all", "anywhere") is None
    assert find_answer(r"<think>it may be \boxed{1}", "anywhere") is None
    assert find_answer("7", "anywhere") == "7"
