"""Letters of multiple choice: in gold answers, in short answers, in prose."""

import pytest

from unsqueeze.verify.choice import HEDGE, ChoiceGold, choice_gold, choice_letter, find_choice, gold_letter


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
        ("a", "A"),
        ("d) 12", "D"),
        (r"\textbf{(B)}\ 12", "B"),
        (r"\text{B. } 12", "B"),
        ("A or B", None),
        ("A. or B.", None),
        ("A. 3 B. 4", None),
        ("A = 3", None),
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


@pytest.mark.parametrize(
    ("gold", "read"),
    [
        ("B", ChoiceGold("B")),
        ("b", ChoiceGold("B")),
        ("(B) 12", ChoiceGold("B", "12")),
        ("B. 12", ChoiceGold("B", "12")),
        (r"\textbf{(B)}\ 12", ChoiceGold("B", "12")),
        (r"\text{(B)}", ChoiceGold("B")),
        ("e", None),
        ("i", None),
        ("(a) 3 (b) 5", None),
        ("AB", None),
        ("x", None),
        ("12", None),
        ("A = 3", None),
    ],
)
def test_gold_answers_with_letters(gold: str, read: ChoiceGold | None) -> None:
    assert choice_gold(gold) == read


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("The answer is **C**. Option A is wrong. Option B is too large.", "C"),
        ("Option A fails. Option C fails.\n\n**B**", "B"),
        ("The answer is A or B.", HEDGE),
        ("Answer: A\nAnswer: B", HEDGE),
        ("The answer is A. After a second look: the answer is B.", "B"),
        ("It is not A. It cannot be C.", None),
        ("Only D is left.", "D"),
        ("答案：（C）", "C"),
        (r"\boxed{A} or \boxed{B}", HEDGE),
        (r"The relation \boxed{x \gg y} holds. **Answer: D**", "D"),
        ("The answer is I think 5.", None),
    ],
)
def test_statements_beat_mentions(response: str, letter: str | None) -> None:
    assert find_choice(response, "anywhere") == letter
