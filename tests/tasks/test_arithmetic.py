"""Arithmetic: the problems and their answers, judged as mathematics, evaluated by name."""

import re
from itertools import islice
from pathlib import Path

import pytest

from unsqueeze.config.data_settings import DataSettings
from unsqueeze.config.rollout_settings import VerifySettings
from unsqueeze.errors import UserError
from unsqueeze.evaluation.benchmarks import Where, load_benchmark
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.task import task_named
from unsqueeze.verify.verdict import Verdict
from unsqueeze.verify.verifiers import make_verifier

TASK = task_named("arithmetic")


def arithmetic(**settings: object) -> DataSettings:
    return DataSettings(kind="arithmetic", **settings)


def total(prompt: str) -> int:
    """The answer, read off the question."""
    return sum(int(part) for part in re.findall(r"[+-]?[0-9]+", prompt.replace(" ", "")))


def test_answers_are_those_of_the_questions():
    data = TASK.load(arithmetic(num_train=200, num_test=50))
    for problem in (*data.train, *data.test):
        assert re.fullmatch(r"What is [0-9]{1,2}( [+-] [0-9]{1,2}){3}\?", problem.prompt)
        assert problem.answer == str(total(problem.prompt))
        assert problem.id == f"arithmetic-{problem.prompt[8:-1].replace(' ', '')}"
    assert any(int(problem.answer) < 0 for problem in data.train)


def test_options_say_how_long_and_how_large():
    problems = TASK.load(arithmetic(options={"terms": 2, "largest": 3}, num_train=8, num_test=4)).train
    assert all(re.fullmatch(r"What is [0-3] [+-] [0-3]\?", problem.prompt) for problem in problems)
    # Of 4 · 2 · 4 questions 4 are held out.
    with pytest.raises(UserError, match="made only 28 new questions for the train problems, and 29 are asked for"):
        TASK.load(arithmetic(options={"terms": 2, "largest": 3}, num_train=29, num_test=4))
    for options in ({"terms": 1}, {"largest": 0}):
        with pytest.raises(UserError, match="give 2 numbers or more, up to 1 or more"):
            TASK.load(arithmetic(options=options))


def test_a_split_is_drawn_by_its_seed_alone():
    one, other = (TASK.load(arithmetic(seed=seed)) for seed in (0, 1))
    assert (len(one.train), len(one.test)) == (800, 96)
    assert one == TASK.load(arithmetic())
    assert not {problem.prompt for problem in one.test} & {problem.prompt for problem in other.test}


def test_it_is_judged_as_mathematics():
    problem = Problem(id="x", prompt="What is 2 - 9?", answer="-7", task="arithmetic")
    responses = [TASK.gold_response(problem, arithmetic()), "So \\boxed{-7.0}", "\\boxed{7}", "no idea"]
    verifier = make_verifier(TASK, VerifySettings(workers=1, credit="boxed"))
    try:
        verdicts = [each.verdict for each in verifier.verify([problem] * 4, responses)]
    finally:
        verifier.close()
    assert verdicts == [Verdict.CORRECT, Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSABLE]


def test_an_evaluation_knows_it_by_its_name(tmp_path: Path):
    benchmark = load_benchmark("arithmetic", Where(data_dir=tmp_path, limit=5))
    assert (benchmark.name, benchmark.asks, benchmark.task) == ("arithmetic", "math", TASK)
    assert list(benchmark.problems) == list(islice(TASK.load(arithmetic()).test, 5))
