"""Brackets around brackets: gone where they say nothing, left where they may, and never a time-out."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.verify.brackets import without_doubled_brackets
from unsqueeze.verify.math_verifier import MathVerifier
from unsqueeze.verify.verdict import Verdict


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("((x))", "(x)"),
        ("( ( (x) ) )", "  (x)  "),
        (r"\left(\left(1, 2\right)\right)", r"\left(1, 2\right)"),
        (r"\frac{{{1}}}{2}", r"\frac{1}{2}"),
        ("{{1, 2}}", "{1, 2}"),
        ("[[[1, 2]]]", "[[1, 2]]"),  # two may be a matrix of one row
        (r"\{\{\{1\}\}\}", r"\{\{1\}\}"),  # a set in a set
        (r"\frac{({(x)})}{2}", r"\frac{(x)}{2}"),
        ("{({(1, 2)})}", "{({(1, 2)})}"),  # with a comma it is a pair in one and a set in the other
        ("((x)(y))", "((x)(y))"),
        ("((x)+1)", "((x)+1)"),
        ("((x)", "((x)"),
        ("(({x)})", "(({x)})"),
        (r"\{(x)\}", r"\{(x)\}"),
        ("[0, 1)", "[0, 1)"),
    ],
)
def test_by_hand(text: str, without: str) -> None:
    assert without_doubled_brackets(text) == without


@given(st.text(alphabet="({[)}]\\x, ", max_size=40))
def test_nothing_but_brackets_goes_and_what_is_left_is_left_again(text: str) -> None:
    once = without_doubled_brackets(text)

    def bare(given: str) -> str:
        return "".join(character for character in given if character not in "({[)}]\\")

    assert bare(once) == bare(text)
    assert without_doubled_brackets(once) == once


@pytest.fixture(scope="module")
def verifier() -> Iterator[MathVerifier]:
    with MathVerifier(workers=1, timeout_s=30, credit="anywhere") as one:
        yield one


@pytest.mark.parametrize("depth", [2, 16, 150])
def test_harmless_brackets_are_judged(verifier: MathVerifier, depth: int) -> None:
    pairs = [("(", ")"), ("{", "}"), ("[", "]"), (r"\left(", r"\right)"), (r"\{", r"\}"), ("{(", ")}"), ("( ", " )")]
    for inner, verdict in ((r"\sqrt{2}", Verdict.CORRECT), (r"\sqrt{3}", Verdict.WRONG)):
        answers = [rf"\boxed{{{opening * depth}{inner}{closing * depth}}}" for opening, closing in pairs]
        judgements = verifier.verify_answers([r"\sqrt{2}"] * len(answers), answers)
        assert [judgement.verdict for judgement in judgements] == [verdict] * len(answers)


def test_brackets_that_mean_something_still_do(verifier: MathVerifier) -> None:
    cases = [("(1, 2)", "((2, 1))"), ("(1, 2)", "{{1, 3}}"), (r"\frac{x}{2}", r"\frac{({(x)})}{3}")]
    judgements = verifier.verify_answers([gold for gold, _ in cases], [rf"\boxed{{{answer}}}" for _, answer in cases])
    assert [judgement.verdict for judgement in judgements] == [Verdict.WRONG] * 3
