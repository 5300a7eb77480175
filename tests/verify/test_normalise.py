"""Spellings of numbers and commands brought into the grammar's."""

import pytest

from unsqueeze.verify.normalise import (
    formula,
    latex_of_unicode,
    plain_characters,
    spaced_ideographs,
    without_delimiters,
)
from unsqueeze.verify.structures import simplest


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        (r"25\,000", "25000"),
        ("25 000", "25000"),
        (r"1\;234\;567", "1234567"),
        ("12{,}345", "12345"),
        (r"12,\!345", "12345"),
        ("1,234,567", "1234567"),
        ("1, 234", "1, 234"),
        ("(1,234)", "(1,234)"),
        (r"\{1,234\}", r"\{1,234\}"),
        (r"\frac{1,000}{3}", r"\frac{1000}{3}"),
        ("2.5e6", r"2.5 \times 10^{6}"),
        ("1e-05", r"1 \times 10^{-05}"),
        ("1e+16", r"1 \times 10^{16}"),
        ("2e", "2e"),
        ("e5", "e5"),
        (r"0.\overline{3}", r"\frac{3}{9}"),
        (r"0.1\overline{6}", r"\frac{15}{90}"),
        (r"1.\overline{27}", r"\frac{126}{99}"),
        (r"0.\dot{1}2\dot{3}", r"\frac{123}{999}"),
        (r"0.333\ldots", r"\frac{3}{9}"),
        (r"3.141\ldots", r"3.141\ldots"),
        ("3 2/7", r"3\frac{2}{7}"),
        (r"3\,\frac{2}{7}", r"3\frac{2}{7}"),
        (r"\frac3\pi", r"\frac{3}{\pi}"),
        (r"\frac{a}b", r"\frac{a}{b}"),
        (r"\frac1{\frac23}", r"\frac{1}{\frac{2}{3}}"),
        (r"\binom52", r"\binom{5}{2}"),
        (r"\sqrt(2)", r"\sqrt{2}"),
        (r"\bigl(1\bigr)", "(1)"),
        ("x**2", "x^2"),
        (r"3\text{rd}", "3"),
        ("3^{rd}", "3^{rd}"),
        (r"45\text{ percent}", r"45\%"),
        ("f'(x)", "f_{prime}(x)"),
    ],
)
def test_formulas(text: str, spelled: str) -> None:
    assert formula(text) == spelled


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("√3", r"\sqrt{3}"),
        ("2√(x+1)", r"2\sqrt{x+1}"),
        ("∛2", r"\sqrt[3]{2}"),
        ("x²", "x^{2}"),
        ("x¹²", "x^{12}"),
        ("x₁", "x_{1}"),
        ("½", r"\frac{1}{2}"),
        ("−3", "-3"),
        ("60°", r"60^\circ "),
        ("x ≤ 3", r"x \le  3"),
        ("１２", "12"),
        ("（1，2）", "(1,2)"),
        ("plain", "plain"),
    ],
)
def test_unicode(text: str, latex: str) -> None:
    assert latex_of_unicode(text) == latex


def test_characters_and_words_without_spaces() -> None:
    assert plain_characters("答案：（Ｃ）。") == "答案:(C). "
    assert spaced_ideographs("共有15个") == " 共有 15 个 "


@pytest.mark.parametrize(
    ("text", "inner"),
    [("$5$", "5"), (r"\(5\)", "5"), (r"\[ 5 \]", "5"), ("$5$ cm", "5 cm"), ("$5.50", "$5.50"), (r"\$5", r"\$5")],
)
def test_delimiters(text: str, inner: str) -> None:
    assert without_delimiters(text) == inner


def test_a_number_in_words_is_a_base_only_where_it_says_so() -> None:
    assert simplest(r"12_{\text{eight}}") == "12_{8}"
    assert simplest(r"12\text{ (base 8)}") == "12_{8}"
    assert "two" in simplest(r"12\text{ two}")
