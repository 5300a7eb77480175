"""Data sets of reasoning-gym: how they are named, made, and scored by their own scorers in workers."""

from pathlib import Path

import pytest

from unsqueeze.errors import UserError
from unsqueeze.evaluation.benchmarks import Where, load_benchmark
from unsqueeze.tasks.gym import parse_gym, place_of
from unsqueeze.verify.gym_verifier import GymVerifier, find_answer
from unsqueeze.verify.verdict import Verdict


def test_names_by_hand():
    assert parse_gym("reasoning_gym:leg_counting") == ("leg_counting", 100, 0)
    assert parse_gym("reasoning_gym:leg_counting:50") == ("leg_counting", 50, 0)
    assert parse_gym("reasoning_gym:leg_counting:50:7") == ("leg_counting", 50, 7)
    assert place_of("leg_counting:50:7:3") == ("leg_counting", 50, 7, 3)
    for text in ("reasoning_gym:", "reasoning_gym:x:0", "reasoning_gym:x:-1", "reasoning_gym:x:1:2:3"):
        with pytest.raises(UserError, match="write a data set of reasoning-gym as reasoning_gym:NAME"):
            parse_gym(text)


def test_where_an_answer_stands():
    assert find_answer("I say <answer>3</answer>, no: <answer> 4\n5 </answer>.", "boxed") == "4\n5"
    assert find_answer("So \\boxed{7}.", "boxed") == "7"
    assert find_answer("7", "boxed") is None
    assert find_answer(" 7 ", "anywhere") == "7"
    assert find_answer("First 3.\nThen 7.", "anywhere") is None
    assert find_answer("<answer></answer>", "anywhere") is None


def test_without_the_package_one_sentence_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "reasoning_gym", None)
    with pytest.raises(UserError, match=r"pip install 'unsqueeze\[reasoning-gym\]'"):
        load_benchmark("reasoning_gym:leg_counting", Where(data_dir=tmp_path))


def test_gold_answers_score_and_others_do_not(tmp_path: Path):
    pytest.importorskip("reasoning_gym", reason="the extra reasoning-gym is not installed")
    where = Where(data_dir=tmp_path, limit=2)
    benchmark = load_benchmark("reasoning_gym:chain_sum:5:1", where)
    assert (benchmark.name, benchmark.asks, len(benchmark.problems)) == ("chain_sum:5:1", "tags", 2)
    assert benchmark.sha256 == load_benchmark("reasoning_gym:chain_sum:5:1", where).sha256
    assert benchmark.sha256 != load_benchmark("reasoning_gym:chain_sum:5:2", where).sha256
    # Countdown has many right answers, and its scorer gives sympy what the model wrote.
    countdown = load_benchmark("reasoning_gym:countdown:2:0", where).problems
    with pytest.raises(UserError, match="cannot be made by reasoning-gym: Dataset 'nothing' not registered"):
        load_benchmark("reasoning_gym:nothing", where)

    problems = [*benchmark.problems, *countdown, countdown[0], countdown[0]]
    answers = [f"<answer>{problem.answer}</answer>" for problem in problems[:-2]]
    verifier = GymVerifier(workers=1, timeout_s=20.0, memory_mb=320, credit="boxed")
    try:
        verdicts = [one.verdict for one in verifier.verify(problems, [*answers, "<answer>0</answer>", "I give up"])]
    finally:
        verifier.close()
    assert verdicts == [Verdict.CORRECT] * 4 + [Verdict.WRONG, Verdict.UNPARSABLE]
