"""Reading LaTeX in two stages gives the tree, or the error, of reading it in one."""

import json
import random

import pytest
from antlr4.atn.PredictionMode import PredictionMode
from latex2sympy2_extended.antlr_parser import PSParser
from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy
from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex

from data import problem_set
from unsqueeze.verify.two_stages import parsing_in_two_stages

# SLL mode alone does not know where a power or an index of a symbol ends.
NEEDS_LL = ["x^2 + 33x - 33", "a_n = -\\frac{1}{n!}"]
TEXTS = [
    *NEEDS_LL,
    r"\frac{3}{7} + \sqrt{2}",
    r"\{1, 2, 3\} \cup [4, \infty)",
    r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    r"\sum_{i=1}^n i^2",
    "1 < x \\le 5",
    "3,333",
    "",
    "((",
    "\\frac{1}",
    "x = ? + 1",
    "and so on, until",
]


def read(text: str) -> str:
    try:
        return str(_Latex2Sympy().create_parser(text).math().toStringTree(PSParser.ruleNames, None))
    except Exception as error:  # noqa: BLE001 - the grammar's error listener raises nothing more special
        return f"{type(error).__name__}: {error}"


def read_in_two_stages(text: str) -> str:
    with parsing_in_two_stages():
        return read(text)


@pytest.mark.parametrize("text", TEXTS)
def test_the_same_tree_or_the_same_error(text: str) -> None:
    assert read_in_two_stages(text) == read(text)


@pytest.mark.parametrize("text", NEEDS_LL)
def test_the_second_stage_is_needed(text: str) -> None:
    parser = _Latex2Sympy().create_parser(text)
    parser._interp.predictionMode = PredictionMode.SLL
    with pytest.raises(Exception, match="I expected one of these"):
        parser.math()


def test_the_same_trees_on_answers_of_data_sets() -> None:
    lines = problem_set("deepmath_5k").read_text(encoding="utf-8").splitlines()
    answers = sorted({json.loads(line)["answer"] for line in lines})
    sample = [text for text in random.Random(0).sample(answers, 200) if len(text) < 60]
    normal = [normalize_latex(text, NormalizationConfig()) for text in sample]
    assert [read_in_two_stages(text) for text in normal] == [read(text) for text in normal]


def test_outside_nothing_has_changed() -> None:
    before = _Latex2Sympy.create_parser
    with parsing_in_two_stages():
        assert _Latex2Sympy.create_parser is not before
    assert _Latex2Sympy.create_parser is before
