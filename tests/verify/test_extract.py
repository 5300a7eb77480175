r"""Where an answer stands: boxes, bare answers, letters, exact numbers; and that megabytes take no time."""

import random
import time
from fractions import Fraction

import pytest

from unsqueeze.errors import UserError
from unsqueeze.verify.choice import choice_letter, find_choice, gold_letter
from unsqueeze.verify.exact import exact_number
from unsqueeze.verify.bare import bare_answer
from unsqueeze.verify.extract import check_credit, conclusive_box, last_boxed


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"so \boxed{5}.", "5"),
        (r"\boxed{1} then \boxed{ 2 }", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxed{a}\boxed{}", ""),
        (r"\boxed{1} and \boxed{2", None),
        (r"\boxed 5", None),
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
    "text", [r"2\sqrt{3}", "x = 5", "1, 2, 3", "[0, 1)", "Yes", r"5 \text{ cm}", "x + 1", "5 and 7"]
)
def test_bare_answers_are_read_as_mathematics(text: str) -> None:
    assert bare_answer(f" {text}\n") == f"${text}$"
    assert gold_text(text) == f"${text}$"


@pytest.mark.parametrize(
    "text", ["12 dollars", "The answer is 5", "$5$", r"\(5\)", r"\boxed{5}", "1 000", "5\n6", "", "x" * 401]
)
def test_what_is_no_bare_answer_is_left_as_it_stands(text: str) -> None:
    assert bare_answer(text) is None


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


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A", "A"),
        ("(B)", "B"),
        (r"\text{C}", "C"),
        ("$D$", "D"),
        (r"\textbf{(A)}", "A"),
        ("**B**", "B"),
        ("C. True, True", "C"),
        ("D) 12", "D"),
        ("a", None),
        ("AB", None),
        ("K", None),
        ("A man", None),
    ],
)
def test_letters(text: str, letter: str | None) -> None:
    assert choice_letter(text) == letter


def test_a_gold_letter_is_a_letter_alone() -> None:
    assert gold_letter("(A)") == "A"
    assert gold_letter("A. True") is None
    assert gold_letter("x") is None


@pytest.mark.parametrize(
    ("response", "anywhere", "final_answer", "boxed"),
    [
        (r"We try A and B. \boxed{C}", "C", "C", "C"),
        ("The answer is (B).", "B", "B", None),
        ("Answer: **D**", "D", "D", None),
        ("I say the answer is A. No: the correct option is B", "B", "B", None),
        ("B", "B", None, None),
        ("Some thoughts.\n\n(C)", "C", None, None),
        ("A man walks", None, None, None),
        (r"\boxed{5}", None, None, None),
    ],
)
def test_the_letter_a_response_gives(
    response: str, anywhere: str | None, final_answer: str | None, boxed: str | None
) -> None:
    assert find_choice(response, "anywhere") == anywhere
    assert find_choice(response, "final_answer") == final_answer
    assert find_choice(response, "boxed") == boxed


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
]


@pytest.mark.parametrize("place", range(len(HOSTILE_MEGABYTES)))
def test_a_hostile_megabyte_takes_no_time(place: int) -> None:
    text = HOSTILE_MEGABYTES[place]
    start = time.process_time()
    for read in (last_boxed, conclusive_box, bare_answer, gold_text, exact_number, choice_letter, gold_letter):
        read(text)
    for credit in ("anywhere", "final_answer", "boxed"):
        find_choice(text, credit)  # type: ignore[arg-type]
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
        alone = grader._parse(f"\\boxed{{{content}}}", "box")
        if all(isinstance(item, str) for item in alone):
            continue
        for where in ("anywhere", "final_answer"):
            whole = grader._parse(text, where)  # type: ignore[arg-type]
            assert [(type(item), str(item)) for item in whole] == [(type(item), str(item)) for item in alone], text
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
