"""Gold answers, texts, and bare answers: of what kind each is."""

from fractions import Fraction

import pytest

from unsqueeze.verify.bare import bare_answer, undecorated
from unsqueeze.verify.gold import read_gold
from unsqueeze.verify.spelled import number_in_words
from unsqueeze.verify.stating import alternatives, says_no_answer, stated_answer
from unsqueeze.verify.texts import is_text, is_word, plain_words


@pytest.mark.parametrize(
    "gold", ["???", "-", r"\frac{1}{", r"\sqrt{", "}{", r"\begin{tikzpicture}\end{tikzpicture}", "x" * 5000]
)
def test_what_cannot_be_read(gold: str) -> None:
    assert read_gold(gold).kind == "unreadable"


def test_a_paragraph_is_read_where_it_states_its_answer() -> None:
    paragraph = "We add all the sides and then divide the whole sum by the number of them"
    assert read_gold(f"{paragraph}.").kind == "unreadable"
    assert read_gold(f"{paragraph}, so the answer is 7.").number == 7
    assert read_gold(rf"{paragraph}, which is \boxed{{7}}.").number == 7
    assert read_gold(f"{paragraph}.\n#### 1/2").number == Fraction(1, 2)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("June 20", True),
        (r"\text{June 20}", True),
        ("Alice", True),
        ("DACB", True),
        ("TF", True),
        ("n is odd or n = 2", True),
        ("5 feet 10 inches", True),
        ("no solution", True),
        ("2 hours", False),
        ("12 cats, 5 dogs", False),
        ("x = 1 or x = 2", False),
        ("1 and 2", False),
        ("xy", False),
        ("abc", False),
        ("mgh", False),
        (r"\frac{1}{2}", False),
        (r"\sin x", False),
        ("sin x", False),
        ("12", False),
    ],
)
def test_texts_and_mathematics(answer: str, text: bool) -> None:
    assert is_text(answer) == text


def test_words_and_products() -> None:
    assert [is_word(word) for word in ("east", "DACB", "cab", "no")] == [True] * 4
    assert [is_word(word) for word in ("xyz", "abc", "ab", "mgh", "sin", "ABC")] == [False] * 6


def test_the_form_in_which_texts_are_compared() -> None:
    assert plain_words(r"\text{The June 20}") == plain_words("june  20.") == "june 20"
    assert plain_words("n = 2") != plain_words("n 2")
    assert plain_words("-5 left") != plain_words("5 left")


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("fifteen", 15),
        ("Twenty-one", 21),
        ("ninety", 90),
        ("one hundred", 100),
        ("one half", Fraction(1, 2)),
        ("two thirds", Fraction(2, 3)),
        ("1.5 million", 1_500_000),
        ("a dozen", 12),
        ("十五", 15),
        ("三百二十", 320),
        ("二分之一", Fraction(1, 2)),
        ("15", None),
        ("half of it", None),
        ("some", None),
        ("one twenty", None),
    ],
)
def test_numbers_in_words(words: str, value: Fraction | int | None) -> None:
    assert number_in_words(words) == value


@pytest.mark.parametrize(
    "text", [r"2\sqrt{3}", "x = 5", "1, 2, 3", "[0, 1)", "Yes", r"5 \text{ cm}", "x + 1", "5 and 7", "1 000"]
)
def test_bare_answers_are_read_as_mathematics(text: str) -> None:
    assert bare_answer(f" {text}\n") == f"${text}$"
    assert read_gold(text).formula in (f"${text}$", "")


@pytest.mark.parametrize("text", ["I think it is 5 or so", "$5$", r"\(5\)", r"\boxed{5}", "5\n6", "", "x" * 401])
def test_what_is_no_bare_answer_is_left_as_it_stands(text: str) -> None:
    assert bare_answer(text) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Thus 5.", "5"),
        ("**5**", "5"),
        ("`5`", "5"),
        ("A: 5", "5"),
        ("a = 5", "a = 5"),
        ("The answer is 5", "5"),
        ("答案是5", "5"),
        ("≈ 5", "5"),
        ("= 5", "5"),
        ("23!", "23!"),
        ("€15", "€15"),
    ],
)
def test_what_announces_an_answer_is_no_part_of_it(text: str, answer: str) -> None:
    assert undecorated(text) == answer


def test_statements_in_prose() -> None:
    assert stated_answer("The answer is Monday. It rains.") == "Monday"
    assert stated_answer("Answer: 3\nDone") == "3"
    assert stated_answer("nothing") is None
    assert alternatives("So it is either 22 or 23.") == "22 or 23"
    assert alternatives("22 or 23, but 24 is right") is None


@pytest.mark.parametrize(
    ("text", "none"),
    [
        ("First 6*7 = 42, and from this we take the", True),
        ("The answer is 5. The answer is 6.", True),
        ("We find 42 there and with it all the others come out fine", True),
        ("The answer is 5. No, I forgot one. The answer is 6.", False),
        ("So we have 42.", False),
        ("So 42", False),
    ],
)
def test_prose_that_gives_no_answer(text: str, none: bool) -> None:
    assert says_no_answer(text) == none
