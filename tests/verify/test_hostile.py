"""Answers made to do harm: nothing hangs, nothing runs, nothing stays behind, and nobody else loses a verdict."""

from pathlib import Path

import psutil
import pytest

from hostile import FORBIDDEN_FILE, hostile_answers
from unsqueeze.verify.extract import CREDITS, Credit
from unsqueeze.verify.math_verifier import MathVerifier
from unsqueeze.verify.verdict import Verdict

WORKERS = 2
INNOCENT = [(rf"\sqrt{{{n}}}", rf"\boxed{{\sqrt{{{n}}} + 0}}", Verdict.CORRECT) for n in range(2, 12)] + [
    (rf"\sqrt{{{n}}}", rf"\boxed{{\sqrt{{{n}}} + 1}}", Verdict.WRONG) for n in range(2, 12)
]


def judge_among_innocents(answers: list[str], *, credit: Credit, timeout_s: float) -> list[Verdict]:
    """The verdicts on the hostile answers, with an innocent one after each few; fails where one of those suffers."""
    golds, responses, expected = [], [], []
    for place, answer in enumerate(answers):
        golds.append("5")
        responses.append(answer)
        expected.append(None)
        if place % 3 == 0:
            gold, response, verdict = INNOCENT[place // 3 % len(INNOCENT)]
            golds.append(gold)
            responses.append(response)
            expected.append(verdict)
    with MathVerifier(workers=WORKERS, timeout_s=timeout_s, credit=credit) as verifier:
        judgements = verifier.verify_answers(golds, responses)
    verdicts = [judgement.verdict for judgement in judgements]
    assert [v for v, wanted in zip(verdicts, expected, strict=True) if wanted] == [v for v in expected if v]
    return [v for v, wanted in zip(verdicts, expected, strict=True) if wanted is None]


def check_nothing_happened(folder: Path, before: set[psutil.Process]) -> None:
    assert set(psutil.Process().children(recursive=True)) <= before
    assert not (folder / FORBIDDEN_FILE).exists()


def test_a_few_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(psutil.Process().children(recursive=True))
    verdicts = judge_among_innocents(hostile_answers()[::7], credit="anywhere", timeout_s=1.5)
    assert Verdict.TIMED_OUT in verdicts
    check_nothing_happened(tmp_path, before)


@pytest.mark.slow
@pytest.mark.parametrize("credit", CREDITS)
def test_the_whole_set(credit: Credit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(psutil.Process().children(recursive=True))
    answers = hostile_answers()
    assert len(answers) >= 60
    verdicts = judge_among_innocents(answers, credit=credit, timeout_s=3)
    assert len(verdicts) == len(answers)
    check_nothing_happened(tmp_path, before)
