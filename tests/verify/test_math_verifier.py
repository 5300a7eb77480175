r"""The verifier on ordinary answers: gold answers, where credit comes from, and agreement with Math-Verify."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from data import problem_set
from unsqueeze.errors import UserError
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.math_verifier import MathVerifier
from unsqueeze.verify.verdict import Verdict


@pytest.fixture(scope="module")
def anywhere() -> Iterator[MathVerifier]:
    # A deadline beyond Math-Verify's own limits (5 s for parsing each, 5 s for comparing), on a machine that is busy.
    with MathVerifier(credit="anywhere", timeout_s=60) as verifier:
        yield verifier


def borrowing(other: MathVerifier, **settings: Any) -> MathVerifier:
    """A verifier with the workers of another: they take two seconds to load, and know nothing of the settings."""
    verifier = MathVerifier(**settings)
    verifier._pool = other._pool
    return verifier


def verdicts(verifier: MathVerifier, *pairs: tuple[str, str]) -> list[str]:
    judgements = verifier.verify_answers([gold for gold, _ in pairs], [response for _, response in pairs])
    return [judgement.verdict.value for judgement in judgements]


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        ("5", ["5", "$5$", r"\boxed{5}", "The answer is 5.", "5.0"], ["6", r"\boxed{-5}"]),
        (r"\frac{3}{7}", ["3/7", r"\dfrac{3}{7}", r"$\frac37$", r"\(\frac{6}{14}\)"], ["7/3", "0.43"]),
        (r"2\sqrt{3}", [r"\sqrt{12}", r"$2 \sqrt{3}$"], [r"2\sqrt{5}", "2"]),
        ("1, 2, 3", ["3, 1, 2", r"\{2, 3, 1\}", r"\boxed{1,2,3}", "1, 2 and 3"], ["1, 2", "1, 2, 4"]),
        ("(1, 2, 3)", ["(1,2,3)"], ["(3, 2, 1)"]),
        ("[0, 1)", ["$[0,1)$"], ["(0, 1]", "[0, 1]"]),
        (r"x \le 3", [r"(-\infty,3]", r"$3 \ge x$"], [r"(-\infty, 3)"]),
        ("1,234", ["1234", "$1{,}234$", "1 234"], ["1,243"]),
        ("50\\%", ["50%", "50"], ["5%"]),
        ("x = 12", ["12", "$x=12$"], ["$x=13$"]),
        (
            "B",
            ["B", "(B)", r"\text{B}", "The answer is B.", r"\boxed{B}", "**B**", "B. True"],
            ["A", "The answer is (C)"],
        ),
        ("Yes", ["Yes", r"\text{Yes}", r"\boxed{\text{yes}}"], ["No"]),
        (
            r"\begin{pmatrix}1\\2\end{pmatrix}",
            [r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"],
            [r"\begin{pmatrix}2\\1\end{pmatrix}"],
        ),
        (r"2 \text{ euros}", ["2", "2 euros"], ["3 euros"]),
    ],
)
def test_what_gold_answers_may_be(anywhere: MathVerifier, gold: str, right: list[str], wrong: list[str]) -> None:
    assert verdicts(anywhere, *((gold, response) for response in right)) == ["correct"] * len(right)
    found = verdicts(anywhere, *((gold, response) for response in wrong))
    assert found == ["wrong"] * len(wrong)


def test_credit_comes_from_where_it_may(anywhere: MathVerifier) -> None:
    responses = [
        r"It is \boxed{7}.",
        "The final answer is $7$.",
        "7",
        "Seven, or $7$, perhaps",
        r"\boxed{3}, no: \boxed{7}",
    ]
    expected = {
        "boxed": ["correct", "unparsable", "unparsable", "unparsable", "correct"],
        "final_answer": ["correct", "correct", "unparsable", "unparsable", "wrong"],
        "anywhere": ["correct", "correct", "correct", "correct", "wrong"],
    }
    for credit, wanted in expected.items():
        with borrowing(anywhere, credit=credit) as verifier:
            assert verdicts(verifier, *(("7", response) for response in responses)) == wanted, credit


def test_boxes_that_give_nothing_say_why() -> None:
    with MathVerifier(credit="boxed") as verifier:
        reasons = [j.reason for j in verifier.verify_answers(["5"] * 3, ["5", r"\boxed{}", r"\boxed{5"])]
    assert reasons == [
        "no \\boxed{} in the response",
        "the last \\boxed{} is empty",
        "the last \\boxed{ is never closed",
    ]


def test_a_number_in_passing_earns_nothing_in_training() -> None:
    problem = Problem(id="p", prompt="?", answer="42", task="math")
    with MathVerifier() as verifier:
        [judgement] = verifier.verify([problem], [r"We see 42 here, and 42 there. \boxed{41}"])
    assert judgement.verdict is Verdict.WRONG
    assert judgement.extracted == "41"


def test_gold_answers_that_cannot_be_read_are_not_the_answers_fault(anywhere: MathVerifier) -> None:
    golds = ["", "   ", "???", r"\frac{1}{", r"\frac{}{}", "forty two"]
    judgements = anywhere.verify_answers(golds, ["5", "5", "$5$", r"\boxed{1}", r"\boxed{1}", r"\boxed{42}"])
    # Of the one in words, it depends on the answer whether it can be compared.
    assert {judgement.verdict for judgement in judgements} == {Verdict.UNREADABLE_GOLD}
    assert all("gold" in judgement.reason for judgement in judgements)


def test_a_gold_answer_that_cannot_be_read_is_equal_to_itself(anywhere: MathVerifier) -> None:
    golds = ["???", r"\frac{}{}", r"L^2([0, 1])", "none of all of the above"]
    assert verdicts(anywhere, *((gold, rf"\boxed{{{gold}}}") for gold in golds)) == ["correct"] * len(golds)
    assert verdicts(anywhere, (golds[-1], "5"), (golds[-1], "$5$")) == ["wrong", "wrong"]


def test_a_box_of_words_is_read_in_its_text(anywhere: MathVerifier) -> None:
    """Where the box holds no mathematics, Math-Verify goes on to the rest of the response, and so do we."""
    response = r"As $x = 5$, \boxed{((}"
    [judgement] = anywhere.verify_answers(["5"], [response])
    assert judgement.verdict.value == plain_verdict("$5$", response)


def test_lengths_must_agree(anywhere: MathVerifier) -> None:
    with pytest.raises(UserError):
        anywhere.verify_answers(["5"], [])
    assert anywhere.verify_answers([], []) == []


@pytest.mark.parametrize("settings", [{"workers": 0}, {"timeout_s": 0.0}, {"memory_mb": 10}, {"credit": "some"}])
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(UserError):
        MathVerifier(**settings)  # type: ignore[arg-type]


def test_equal_pairs_are_judged_once(anywhere: MathVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    with borrowing(anywhere, credit="anywhere", cache_size=2) as verifier:
        asked: list[int] = []
        run = verifier._pool.run
        monkeypatch.setattr(verifier._pool, "run", lambda jobs, *rest: asked.append(len(jobs)) or run(jobs, *rest))
        same = [r"\boxed{\sqrt{2}}", r"So $\boxed{\sqrt{2}}$.", r"Hence \[\boxed{\sqrt{2}}\]"]
        assert verdicts(verifier, *((r"\sqrt{2}", response) for response in same * 10)) == ["correct"] * 30
        assert verdicts(verifier, (r"\sqrt{2}", r"again \boxed{\sqrt{2}}")) == ["correct"]
        assert asked == [1, 0]
        # Room for two: the oldest is forgotten.
        assert (
            verdicts(verifier, (r"\sqrt{2}", r"\boxed{\sqrt{3}}"), (r"\sqrt{2}", r"\boxed{\sqrt{5}}")) == ["wrong"] * 2
        )
        assert verdicts(verifier, (r"\sqrt{2}", r"\boxed{\sqrt{2}}")) == ["correct"]
        assert asked == [1, 0, 2, 1]


def plain_verdict(gold: str, response: str) -> str:
    """What Math-Verify says when it is called as its README does; ``wrong`` stands for all that is not correct."""
    from math_verify import parse, verify

    return "correct" if verify(parse(gold), parse(response)) else "wrong"


def answer_pairs(count: int, seed: int) -> list[tuple[str, str, str, str]]:
    """Gold, response, and both as Math-Verify is given them: answers of the problem sets, right, varied and swapped."""
    rng = random.Random(seed)
    answers = {
        json.loads(line)["answer"]
        for name in (
            "math500",
            "math_train",
            "deepmath_5k",
            "hmmt_feb_2025",
            "hmmt_nov_2025",
            "brumo_2025",
            "aime_2025",
        )
        for line in problem_set(name).read_text().splitlines()
    }
    symbolic = sorted(a for a in answers if len(a) < 200 and not a.lstrip("-").isdigit() and not _has_math_signs(a))
    integers = sorted(a for a in answers if a.lstrip("-").isdigit())

    def varied(answer: str) -> str:
        return rng.choice(
            [
                answer,
                answer,
                answer.replace("\\frac", "\\dfrac"),
                answer.replace("2", "3", 1),
                answer.replace(" ", ""),
                ", ".join(part.strip() for part in reversed(answer.split(","))),
                rng.choice(symbolic),
                rng.choice(integers),
            ]
        )

    pairs = []
    for _ in range(count):
        gold = rng.choice(symbolic if rng.random() < 0.8 else integers)
        answer = varied(gold)
        given, plain = rng.choice(
            [
                (answer, f"${answer}$"),
                (f"${answer}$", f"${answer}$"),
                (f"\\boxed{{{answer}}}",) * 2,
                (f"So it is $\\boxed{{{answer}}}$.",) * 2,
                (f"The final answer is ${answer}$.",) * 2,
            ]
        )
        pairs.append((gold, given, f"${gold}$", plain))
    return pairs


def _has_math_signs(answer: str) -> bool:
    return "$" in answer or "\\(" in answer or "\\[" in answer or "\n" in answer


def test_gold_answers_that_cannot_be_read_are_found(anywhere: MathVerifier) -> None:
    golds = ["5", "???", "x+1", r"\frac{1}{", "Alice", "5", "", "3 +", "forty two", "B", "???", "see figure"]
    assert anywhere.unreadable_golds(golds) == [1, 3, 6, 7, 8, 10, 11]


# Gold answer, answer, our verdict. Where it is correct, Math-Verify has no rule for the formula and drops a part of it
# as a unit, or compares texts with their spaces; where it is wrong, Math-Verify drops a base or reads part of a
# command.
ON_PURPOSE = {
    ("f(x) = c", "$f(x)=c$", "correct"),
    (r"-4\pi i", r"-4\pii", "correct"),
    ("T^{*} = T", "$T^{*}=T$", "correct"),
    (r"Y(t) = \pm \sin t", r"\boxed{Y(t)=\pm\sint}", "correct"),
    (r"p \equiv 1 \pmod{4}", r"\boxed{p\equiv1\pmod{4}}", "correct"),
    ("p = vv^*", "The final answer is $p=vv^*$.", "correct"),
    (r"\aleph_0 \alpha", r"So it is $\boxed{\aleph_0\alpha}$.", "correct"),
    ("u(t, x) = x^2 + t", "$u(t,x)=x^2+t$", "correct"),
    ("861_{12}", "The final answer is $861_{13}$.", "wrong"),
    (r"\pi f'(0)", r"The final answer is $\pif'(0)$.", "wrong"),
}


def disagreements(verifier: MathVerifier, count: int, seed: int) -> tuple[int, list[tuple[str, str, str, str]]]:
    """How many pairs Math-Verify gives a verdict on, and those on which the verifier gives another."""
    pairs = answer_pairs(count, seed)
    ours = verdicts(verifier, *((gold, given) for gold, given, _, _ in pairs))
    different = []
    num_given = 0
    for (gold, given, plain_gold, plain), verdict in zip(pairs, ours, strict=True):
        theirs = plain_verdict(plain_gold, plain)
        if verdict == "timed_out":
            assert theirs == "wrong"  # its own time limits, silently: no verdict
            continue
        num_given += 1
        if (verdict == "correct") != (theirs == "correct") and (gold, given, verdict) not in ON_PURPOSE:
            different.append((gold, given, verdict, theirs))
    return num_given, different


def test_agrees_with_math_verify(anywhere: MathVerifier) -> None:
    num_given, different = disagreements(anywhere, 250, seed=1)
    assert different == []
    assert num_given >= 245


@pytest.mark.slow
def test_agrees_with_math_verify_on_two_thousand_pairs(anywhere: MathVerifier) -> None:
    num_given, different = disagreements(anywhere, 2_100, seed=2)
    assert different == []
    assert num_given >= 2_000
