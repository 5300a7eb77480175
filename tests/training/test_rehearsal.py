"""What is tried before the first step: it finds what is wrong, and leaves no trace where nothing is."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from small_runs import small_recipe
from unsqueeze.errors import RunError, UserError
from unsqueeze.progress import Silent
from unsqueeze.rollout.types import Completion, StopReason
from unsqueeze.tasks.countdown import make_problem
from unsqueeze.tasks.countdown_solutions import find_solution
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.task import task_named
from unsqueeze.training.preflight import check_disk, estimate_parts, preflight
from unsqueeze.training.rehearsal import check_gold_answers, check_loss, check_readable
from unsqueeze.training.setup import Parts, load_parts
from unsqueeze.verify.countdown import check_countdown
from unsqueeze.verify.verdict import Judgement, Verdict

RECIPE = small_recipe(rl={"kl_coefficient": 0.01})


@pytest.fixture(scope="module")
def parts() -> Parts:
    return load_parts(RECIPE)


def test_nothing_is_left_of_it(parts: Parts, tmp_path: Path):
    before = {name: p.detach().clone() for name, p in parts.policy.trainable()}
    random_state = torch.get_rng_state()
    preflight(RECIPE, parts, tmp_path / "run")
    for name, parameter in parts.policy.trainable():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None
    assert torch.equal(torch.get_rng_state(), random_state)
    assert parts.policy.version == 0
    assert not any(module.training for module in parts.policy.model.modules())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("numbers", "target"), [((2, 3, 6, 14), 48), ((1, 1, 1, 10), 13), ((7, 7), 49)])
def test_a_solution_is_one_by_the_checker(numbers: tuple[int, ...], target: int):
    problem = make_problem(numbers, target)
    response = task_named("countdown").gold_response(problem, RECIPE.data)
    assert check_countdown(problem, response).verdict is Verdict.CORRECT


def test_what_has_no_solution_has_none():
    # The largest that four ones make is (1 + 1) * (1 + 1) = 4.
    assert find_solution([1, 1, 1, 1], 5) is None


class Says:
    """A judge of given verdicts that remembers what it was asked."""

    def __init__(self, *verdicts: Verdict) -> None:
        self.verdicts = verdicts
        self.asked: list[str] = []

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]:
        self.asked = [problem.id for problem in problems]
        return [Judgement(verdict, reason="because") for verdict in self.verdicts[: len(problems)]]

    def close(self) -> None: ...


def problems(count: int) -> list[Problem]:
    return [Problem(id=f"p{i}", prompt=f"{i}?", answer=str(i), task="math") for i in range(count)]


@pytest.mark.parametrize(("count", "asked"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (9, [0, 4, 8])])
def test_three_gold_answers_from_all_over_the_data(count: int, asked: list[int]):
    verifier = Says(*[Verdict.CORRECT] * 3)
    check_gold_answers(verifier, problems(count), RECIPE, task_named("math"))
    assert verifier.asked == [f"p{i}" for i in asked]


@pytest.mark.parametrize(
    ("verdict", "error"),
    [
        (Verdict.WRONG, UserError),
        (Verdict.UNPARSABLE, UserError),
        (Verdict.CRASHED, UserError),
        (Verdict.TIMED_OUT, RunError),
    ],
)
def test_a_gold_answer_that_is_not_correct_is_named(verdict: Verdict, error: type[Exception]):
    verifier = Says(Verdict.CORRECT, verdict, Verdict.CORRECT)
    with pytest.raises(error, match=rf"problem p4, '4', .* found {verdict} \(because\)"):
        check_gold_answers(verifier, problems(9), RECIPE, task_named("math"))


class CannotRead(Says):
    """A judge that cannot read the gold answers with a question mark."""

    def unreadable_golds(self, golds: Sequence[str]) -> list[int]:
        return [place for place, gold in enumerate(golds) if "?" in gold]


@pytest.mark.parametrize(("num_unreadable", "allowed"), [(0, 0.0), (1, 0.25), (2, 0.5), (4, 1.0)])
def test_few_gold_answers_may_be_unreadable(num_unreadable: int, allowed: float):
    recipe = small_recipe(verify={"max_unreadable": allowed})
    data = [replace(problem, answer="???") if i < num_unreadable else problem for i, problem in enumerate(problems(4))]
    found = check_readable(CannotRead(), data, recipe, Silent())
    assert [problem.id for problem in found.problems] == [f"p{i}" for i in range(num_unreadable)]
    if num_unreadable:
        less = small_recipe(verify={"max_unreadable": allowed - 0.01})
        with pytest.raises(UserError, match=rf"{num_unreadable} of 4 gold answers cannot be read.*p0 \('\?\?\?'\)"):
            check_readable(CannotRead(), data, less, Silent())


def test_check_names_the_gold_answers_that_cannot_be_read(command, tmp_path: Path):
    answers = ["20", "???", *map(str, range(21, 27))]
    for name, first in (("train", 20), ("test", 40)):
        lines = [{"problem": f"Make {first + i} from 2 3 6 14.", "answer": a} for i, a in enumerate(answers)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = [
        f"data={{kind: jsonl, train_path: {tmp_path}/train.jsonl, test_path: {tmp_path}/test.jsonl, num_train: null, "
        "num_test: null}",
        "verify.workers=1",
        "verify.timeout_s=60",
    ]
    flags = [part for setting in settings for part in ("--set", setting)]
    code, _, err = command("train", "smoke", "--check", "--run", str(tmp_path / "run"), *flags)
    assert code == 2
    assert "2 of 16 gold answers cannot be read" in err
    code, out, err = command(
        "train", "smoke", "--check", "--run", str(tmp_path / "run"), *flags, "--set", "verify.max_unreadable=0.2"
    )
    assert code == 0, err
    assert "2 of 16 gold answers cannot be read, so that no answer to them is judged: train:2 ('???')" in out + err


def test_a_loss_that_is_not_finite_is_refused(parts: Parts):
    completion = Completion(
        tokens=np.array([5, 6], np.int32),
        text="",
        logp_raw=np.zeros(2, np.float32),
        logp_behaviour=np.zeros(2, np.float32),
        stop_reason=StopReason.LENGTH,
    )
    broken = SimpleNamespace(logp=lambda rows, **_: [np.full(2, np.inf, np.float32)])
    with pytest.raises(RunError, match="before any training"):
        check_loss(parts.policy, broken, [1, 5], completion, RECIPE)  # type: ignore[arg-type]
    parts.policy.model.zero_grad()


def test_a_disk_without_room_is_refused_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written = tmp_path / "run"
    written.mkdir()
    (written / "part").write_bytes(bytes(2000))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=7999))
    check_disk(written, 9999)  # 7,999 more
    with pytest.raises(UserError, match=r"grow by 8\.0 kB and its disk has 8\.0 kB left.*keep_last"):
        check_disk(written, 10_000)


def test_check_tries_everything_and_writes_nothing(command, tmp_path: Path):
    code, out, err = command("train", "smoke", "--check", "--run", str(tmp_path / "run"))
    assert code == 0, err
    assert "smoke: 1 RL and 1 IRL phases: 2 RL steps of 4 × 4 rollouts, 2 IRL updates; 2 evaluations of 8 × 8" in out
    assert "of disk" in out
    assert list(tmp_path.iterdir()) == []


def test_a_gold_answer_that_cannot_be_right_ends_the_run_before_it_begins(command, tmp_path: Path):
    lines = [json.dumps({"problem": f"Make {20 + i} from 2 3 6 14.", "answer": f"\\{{{i}"}) for i in range(12)]
    for name, part in (("train", lines[:8]), ("test", lines[8:])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(part) + "\n")
    settings = [
        f"data={{kind: jsonl, train_path: {tmp_path}/train.jsonl, test_path: {tmp_path}/test.jsonl, num_train: null, "
        "num_test: null}",
        "verify.workers=1",
        "verify.credit=boxed",
    ]
    flags = [part for setting in settings for part in ("--set", setting)]
    code, _, err = command("train", "smoke", "--run", str(tmp_path / "run"), *flags)
    assert code == 2, err
    assert "12 of 12 gold answers cannot be read" in err
    assert "train:1 (" in err
    assert "verify.max_unreadable allows 1.0%" in err
    assert not (tmp_path / "run").exists()


def test_the_estimate_counts_problems_of_every_set() -> None:
    recipe = small_recipe(data={"num_train": 8, "num_test": 3, "num_validation": 5})
    workload = estimate_parts(recipe, load_parts(recipe)).workload
    assert workload.samples_per_evaluation == 3 * recipe.evaluation.n
    assert workload.samples_per_validation == 5 * recipe.evaluation.validation_n
