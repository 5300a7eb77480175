"""Data sets of reasoning-gym: how they are named, made, and scored by their own scorers in workers."""

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from small_runs import run_to_end, small_recipe
from tiny_models import BYTE_VOCABULARY, byte_tokenizer, tiny_llama
from unsqueeze.config.data_settings import DataSettings
from unsqueeze.errors import UserError
from unsqueeze.evaluation.benchmarks import Where, load_benchmark
from unsqueeze.tasks.gym import UNKNOWN_GOLD, gym_problems, parse_gym, place_of
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.task import task_named
from unsqueeze.training.rehearsal import check_gold_answers, rehearse
from unsqueeze.training.setup import load_parts
from unsqueeze.verify.gym_verifier import GymVerifier, find_answer
from unsqueeze.verify.verdict import Judgement, Verdict


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
    (tmp_path / "reasoning_gym.py").write_text("raise ImportError('No module named reasoning_gym')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"pip install 'unsqueeze\[reasoning-gym\]'"):
        load_benchmark("reasoning_gym:leg_counting", Where(data_dir=tmp_path))


STAND_IN = """
import itertools

class DataSet:
    def __init__(self, name, size, seed):
        self.name, self.calls = name, itertools.count()

    def __getitem__(self, index):
        print("a data set may print")
        if self.name == "unsteady":
            return {"question": "?", "answer": f"{next(self.calls)}"}
        letters = {f"{letter}{index}" for letter in "abcdefghijklmnop"}
        return {"question": " ".join(letters), "answer": None if index else 7}

def create_dataset(name, size, seed):
    if name == "nothing":
        raise ValueError("no such data set")
    return DataSet(name, size, seed)
"""


def test_problems_do_not_depend_on_the_order_of_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a package that stands in for it, so that it is tried where the extra is not installed."""
    (tmp_path / "reasoning_gym.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    first = list(gym_problems("letters", 5, 0, 3))
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    assert list(gym_problems("letters", 5, 0, 3)) == first
    assert [problem.id for problem in first] == ["letters:5:0:0", "letters:5:0:1", "letters:5:0:2"]
    assert [problem.answer for problem in first] == ["7", UNKNOWN_GOLD, UNKNOWN_GOLD]
    assert sorted(first[1].prompt.split()) == [f"{letter}1" for letter in "abcdefghijklmnop"]
    with pytest.raises(UserError, match=r"unsteady:5:0: reasoning-gym makes another problem number \d each time"):
        list(gym_problems("unsteady", 5, 0))
    with pytest.raises(UserError, match="cannot be made by reasoning-gym: no such data set"):
        list(gym_problems("nothing", 5, 0))


@pytest.mark.parametrize("name", ["polynomial_multiplication", "isomorphic_strings", "ransom_note", "word_ladder"])
def test_what_depends_on_the_order_of_sets_is_scored_as_it_was_asked(name: str, monkeypatch: pytest.MonkeyPatch):
    """All data sets of 0.1.25 whose problems change with PYTHONHASHSEED, of 105 that were tried with two of them."""
    pytest.importorskip("reasoning_gym", reason="the extra reasoning-gym is not installed")
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    problems = list(gym_problems(name, 6, 3))
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    verifier = GymVerifier(workers=1, timeout_s=20.0, memory_mb=320, credit="boxed")
    try:
        judged = verifier.verify(problems, [f"<answer>{problem.answer}</answer>" for problem in problems])
    finally:
        verifier.close()
    assert [one.verdict for one in judged] == [Verdict.CORRECT] * 6


def test_a_data_set_without_a_seed_is_refused():
    pytest.importorskip("reasoning_gym", reason="the extra reasoning-gym is not installed")
    with pytest.raises(UserError, match="list_functions:16:3: reasoning-gym makes another problem"):
        list(gym_problems("list_functions", 16, 3))


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


RUN_ANSWERS = (
    "string_insertion",
    "spiral_matrix",
    "binary_matrix",
    "n_queens",
    "countdown",
    "puzzle24",
    "simple_integration",
    "intermediate_integration",
    "polynomial_multiplication",
)
"""Data sets whose scorers run an answer, by eval or sympy."""


@pytest.mark.parametrize("name", RUN_ANSWERS)
def test_an_answer_that_a_scorer_runs_does_no_harm(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("reasoning_gym", reason="the extra reasoning-gym is not installed")
    monkeypatch.setenv("UNSQUEEZE_API_KEY", "sesame")
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))  # the mark of what is started here
    kept = tmp_path / "kept"
    kept.touch()
    right, other = load_benchmark(f"reasoning_gym:{name}:2:0", Where(data_dir=tmp_path, limit=2)).problems
    with socket.create_server(("127.0.0.1", 0)) as server:
        harm = [
            f"__import__('socket').create_connection({server.getsockname()!r}).send("
            "repr(__import__('os').environ).encode())",
            f"__import__('os').remove({str(kept)!r})",
            "__import__('os').fork() or [__import__('os').setsid(), __import__('time').sleep(3600)]",
            "[setattr(each, 'score_answer', lambda *given: 1.0) for each in __import__('gc').get_objects() if "
            "isinstance(each, type) and hasattr(each, 'score_answer')]",
            f"open({str(tmp_path / 'ran')!r}, 'w')",
            # That answers are run at all: one that hangs.
            "all(True for _ in iter(int, 1))",
        ]
        answers = [f"<answer>{f'eval({one!r})'}</answer>" for one in harm]
        verifier = GymVerifier(workers=1, timeout_s=2.0, memory_mb=320, credit="boxed")
        try:
            verdicts = [one.verdict for one in verifier.verify([right] * len(answers), answers)]
            honest = [
                f"<answer>{right.answer}</answer>",
                "<answer>nonsense</answer>",
                f"<answer>{other.answer}</answer>",
            ]
            after = [one.verdict for one in verifier.verify([right, right, other], honest)]
            assert started_here(tmp_path)
        finally:
            verifier.close()
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert verdicts[-1] is Verdict.TIMED_OUT
    assert Verdict.CORRECT not in verdicts
    known = [Verdict.WRONG if problem.answer == UNKNOWN_GOLD else Verdict.CORRECT for problem in (right, other)]
    assert after[1] is Verdict.WRONG
    assert after == [known[0], Verdict.WRONG, known[1]]
    assert kept.exists()
    assert not (tmp_path / "ran").exists()
    assert not started_here(tmp_path)


def started_here(mark: Path) -> list[int]:
    """Living processes that were started under this mark, whosever children and of whatever session they are by now."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get("VIRTUAL_ENV") == str(mark) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def gym(**settings: object) -> DataSettings:
    return DataSettings(kind="reasoning_gym", **settings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "data.options.name must name one of its data sets"),
        ({"name": ""}, "data.options.name must name one of its data sets"),
        ({"name": 3}, "data.options.name is 3; it must be of the type str"),
        (
            {"name": "leg_counting", "size": 3},
            "data.options has 'size'; of data.kind reasoning_gym the options are: name",
        ),
    ],
)
def test_training_asks_for_the_name_of_a_data_set(options: dict[str, object], message: str):
    with pytest.raises(UserError, match=message):
        task_named("reasoning_gym").load(gym(options=options))


def test_a_gold_answer_stands_between_tags_where_there_is_one():
    task, settings = task_named("reasoning_gym"), gym()
    grid = Problem(id="p:1:0:0", prompt="?", answer="1 2\n{3} 4", task="reasoning_gym")
    response = task.gold_response(grid, settings)
    assert response is not None
    assert find_answer(response, "boxed") == grid.answer
    none = Problem(id="p:1:0:1", prompt="?", answer=UNKNOWN_GOLD, task="reasoning_gym")
    assert task.gold_response(none, settings) is None


class Remembers:
    """A verifier that finds everything right, and knows what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]:
        self.asked += responses
        return [Judgement(Verdict.CORRECT) for _ in responses]

    def close(self) -> None: ...


def test_a_problem_without_a_gold_answer_is_not_tried_before_training():
    problems = [
        Problem(id=f"p:3:0:{i}", prompt=f"{i}?", answer=answer, task="reasoning_gym")
        for i, answer in enumerate([UNKNOWN_GOLD, "1", UNKNOWN_GOLD])
    ]
    verifier = Remembers()
    check_gold_answers(verifier, problems, small_recipe(data={"kind": "reasoning_gym"}), task_named("reasoning_gym"))
    assert verifier.asked == ["<answer>1</answer>"]


def test_problems_to_train_on_are_in_no_other_split():
    pytest.importorskip("reasoning_gym", reason="the extra reasoning-gym is not installed")
    task = task_named("reasoning_gym")
    numbers = {"options": {"name": "chain_sum"}, "num_train": 20, "num_test": 10, "num_validation": 5}
    data = task.load(gym(**numbers))
    assert [len(data.train), len(data.test), len(data.validation)] == [20, 10, 5]
    assert len({problem.prompt for problem in (*data.train, *data.test, *data.validation)}) == 35
    assert set(data.sha256) == {f"reasoning_gym {split}" for split in ("train", "test", "validation")}
    assert task.load(gym(**numbers)) == data
    assert task.load(gym(**numbers, seed=1)).sha256 != data.sha256
    with pytest.raises(UserError, match="cannot be made by reasoning-gym: Dataset 'nothing' not registered"):
        task.load(gym(options={"name": "nothing"}, num_train=2, num_test=2))


def test_a_run_on_a_data_set_of_reasoning_gym(tmp_path: Path):
    pytest.importorskip("reasoning_gym", reason="the extra reasoning-gym is not installed")
    model = tmp_path / "model"
    tiny_llama(BYTE_VOCABULARY, context=512).save_pretrained(model)
    byte_tokenizer().save_pretrained(model)
    recipe = small_recipe(
        model={"path": str(model)},
        data={"kind": "reasoning_gym", "options": {"name": "chain_sum"}, "num_train": 8, "num_test": 2},
        rl={"steps": 1, "prompts_per_step": 2, "group_size": 2},
        irl=None,
        verify={"workers": 1, "timeout_s": 30.0},
        evaluation={"n": 2},
    )
    rehearse(recipe, load_parts(recipe))
    run, _ = run_to_end(recipe, tmp_path / "run")
    groups = run.directory.rollouts.read(1)
    assert [group.problem.task for group in groups] == ["reasoning_gym"] * 2
    assert all(judgement.verdict.judged for group in groups for judgement in group.judgements)
