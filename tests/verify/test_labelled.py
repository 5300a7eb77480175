"""Labelled answers: every verdict as it should be, and no answer that is wrong is found correct."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from unsqueeze.verify.extract import Credit
from unsqueeze.verify.math_verifier import MathVerifier
from unsqueeze.verify.verdict import Judgement

OWN = Path(__file__).with_name("labelled.jsonl")
SHARED = Path(os.environ.get("UNSQUEEZE_CASES") or Path(__file__).parents[2] / "../shared/cases")
Case = dict[str, str]


@pytest.fixture(scope="module")
def anywhere() -> Iterator[MathVerifier]:
    with MathVerifier(credit="anywhere", timeout_s=30) as verifier:
        yield verifier


def read(path: Path) -> list[Case]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def shared_cases() -> list[Case]:
    path = SHARED.resolve() / "judging.jsonl"
    if not path.is_file():
        pytest.skip(f"labelled cases: no {path}; set UNSQUEEZE_CASES to the folder that holds judging.jsonl")
    return read(path)


def judge(verifier: MathVerifier, cases: list[Case]) -> list[Judgement]:
    return verifier.verify_answers([case["gold"] for case in cases], [case["prediction"] for case in cases])


def outcome(judgement: Judgement) -> str:
    if not judgement.verdict.judged:
        return "not judged"
    return "correct" if judgement.verdict == "correct" else "wrong"


def unexpected(cases: list[Case], judgements: list[Judgement]) -> list[tuple[str, str, str, str, str]]:
    return [
        (case["gold"], case["prediction"], outcome(judgement), case["want"], judgement.reason)
        for case, judgement in zip(cases, judgements, strict=True)
        if outcome(judgement) != case["want"]
    ]


@pytest.mark.parametrize("kind", sorted({case["kind"] for case in read(OWN)}))
def test_own_cases(anywhere: MathVerifier, kind: str) -> None:
    cases = [case for case in read(OWN) if case["kind"] == kind]
    assert len(cases) > 30
    assert unexpected(cases, judge(anywhere, cases)) == []


def test_shared_cases(anywhere: MathVerifier) -> None:
    cases = shared_cases()
    others = unexpected(cases, judge(anywhere, cases))
    assert [other for other in others if other[2] == "correct"] == []
    assert len(cases) - len(others) >= 0.97 * len(cases)


@pytest.mark.parametrize("credit", ["boxed", "final_answer"])
def test_credit_takes_verdicts_away_and_adds_none(anywhere: MathVerifier, credit: Credit) -> None:
    """A stricter place for the answer finds fewer answers, and what it finds is judged as it is anywhere."""
    cases = [case for case in read(OWN) if "box" in case["prediction"]]
    with MathVerifier(credit=credit, timeout_s=30) as verifier:
        strict = judge(verifier, cases)
    for case, here, there in zip(cases, strict, judge(anywhere, cases), strict=True):
        assert outcome(here) == outcome(there) or here.verdict == "unparsable", (case, here, there)


def test_boxed_finds_only_boxes() -> None:
    cases = [case for case in read(OWN) if "box" not in case["prediction"]]
    with MathVerifier(credit="boxed", timeout_s=30) as verifier:
        judgements = judge(verifier, cases)
    assert "correct" not in {outcome(judgement) for judgement in judgements}
