"""What is surely unequal is never what Math-Verify would have found equal."""

import math_verify.grader as grader
import pytest
from math_verify import parse

from unsqueeze.verify.unequal import surely_unequal, without_needless_simplification


def read(text: str) -> object:
    return parse(f"${text}$", parsing_timeout=None)[0]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (r"2\sqrt{3}", r"\sqrt{12}"),
        (r"\sin^2 x + \cos^2 x", "1"),
        (r"\frac{x^2 - 1}{x - 1}", "x + 1"),
        (r"\log(x^2)", r"2\log(x)"),
        (r"\frac{1}{3}", "0.3333333"),
        (r"\sqrt{5 + 2\sqrt{6}}", r"\sqrt{2} + \sqrt{3}"),
        (r"\sin(\pi n)", "0"),
        (r"10^{40}", "10^{40} + 1"),  # too large for fifteen digits to tell
        (r"\frac{1}{0}", "5"),
        (r"\int_0^1 x dx", "7"),  # not evaluated here, though different
        ("f(x)", "f(y)"),
    ],
)
def test_concludes_nothing_where_values_agree_or_are_not_to_be_had(first: str, second: str) -> None:
    assert not surely_unequal(read(first), read(second))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (r"2\sqrt{3}", r"2\sqrt{5}"),
        ("x + 1", "y + 1"),
        (r"\sin x", r"\cos x"),
        ("3 + 2i", "2 + 3i"),
        (r"\frac{1}{2}", "x"),
        (r"n! + 1", r"n!"),
    ],
)
def test_tells_values_apart(first: str, second: str) -> None:
    assert surely_unequal(read(first), read(second))


def test_sets_and_matrices_are_left_to_math_verify() -> None:
    assert not surely_unequal(read(r"\{1, 2\}"), read(r"\{3, 4\}"))
    assert not surely_unequal(read(r"\begin{pmatrix}1\\2\end{pmatrix}"), read(r"\begin{pmatrix}1\\3\end{pmatrix}"))


def test_math_verify_is_as_it_was_afterwards() -> None:
    original = grader.sympy_symbolic_eq
    with without_needless_simplification():
        assert grader.sympy_symbolic_eq is not original
        assert not grader.sympy_symbolic_eq(read("x"), read("2x"))
        assert grader.sympy_symbolic_eq(read("x + x"), read("2x"))
    assert grader.sympy_symbolic_eq is original
