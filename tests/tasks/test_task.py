"""What tasks have in common: names, options, numbers of problems, and splits that share no question."""

import pytest

import own_parts
from unsqueeze.config.data_settings import DataSettings
from unsqueeze.errors import UserError
from unsqueeze.tasks.countdown import countdown_problems
from unsqueeze.tasks.task import Sizes, Task, options_of, task_named


def numbers(**settings: object) -> DataSettings:
    return DataSettings(kind="own_parts:Numbers", **settings)


def test_a_task_is_found_by_its_kind_and_by_the_name_on_its_problems():
    assert task_named("countdown").name == "countdown"
    assert [task_named(kind).name for kind in ("jsonl", "hub", "math")] == ["math"] * 3
    own = task_named("own_parts:Numbers")
    assert isinstance(own, own_parts.Numbers)
    assert own.name == own.load(numbers()).train[0].task == "own_parts:Numbers"
    assert task_named(own.name) is own


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cuontdown", "data.kind is 'cuontdown'; known are countdown, jsonl"),
        (
            "own_parts:not_a_task",
            "data.kind is 'own_parts:not_a_task', which is 7; it must be a class of unsqueeze.Task",
        ),
        ("own_parts:rl_loss", "must be a class of unsqueeze.Task with load"),
        ("own_parts:WithoutLoad", "must be a class of unsqueeze.Task with load"),
        ("own_parts:Misnamed", "a task called 'nobody', and by that name it could not be found again"),
    ],
)
def test_what_is_no_task_is_refused(kind: str, message: str):
    with pytest.raises(UserError, match=message):
        task_named(kind)


def test_options_have_the_types_of_their_defaults():
    settings = DataSettings(options={"largest": 5})
    assert options_of(settings, {"largest": 99, "word": "plus"}) == {"largest": 5, "word": "plus"}
    with pytest.raises(
        UserError, match=r"data\.options has 'largest'; of data\.kind countdown the options are: word\."
    ):
        options_of(settings, {"word": "plus"})
    with pytest.raises(UserError, match=r"data\.options\.largest is 5; it must be of the type str\."):
        options_of(settings, {"largest": ""})
    with pytest.raises(UserError, match=r"options\.largest is True; it must be of the type int"):
        options_of(DataSettings(options={"largest": True}), {"largest": 99})


@pytest.mark.parametrize("kind", ["countdown", "jsonl"])
def test_options_of_a_task_that_has_none_are_refused(kind: str):
    settings = DataSettings(kind=kind, train_path="a", test_path="b", options={"name": "x"})
    with pytest.raises(UserError, match=f"of data.kind {kind} the options are: none"):
        task_named(kind).load(settings)


def test_numbers_of_problems_are_the_tasks_own_where_a_recipe_says_none():
    assert task_named("countdown").sizes(DataSettings()) == Sizes(train=800, test=96)
    assert task_named("countdown").sizes(DataSettings(num_train=5, num_validation=2)) == Sizes(
        train=5, test=96, validation=2
    )
    assert task_named("own_parts:Numbers").sizes(numbers(num_test=4)) == Sizes(train=6, test=4)


def test_countdown_is_still_made_as_it_was():
    data = task_named("countdown").load(DataSettings(num_train=3, num_test=2, seed=4))
    assert (data.train, data.test) == countdown_problems(3, 2, 4)
    assert not data.sha256


def test_no_question_of_a_made_task_is_in_two_splits():
    data = task_named("own_parts:Numbers").load(numbers(num_train=8, num_test=20, num_validation=20))
    assert [len(data.train), len(data.test), len(data.validation)] == [8, 20, 20]
    prompts = [problem.prompt for problem in (*data.train, *data.test, *data.validation)]
    assert len(set(prompts)) == 48
    assert set(data.sha256) == {f"own_parts:Numbers {split}" for split in ("train", "test", "validation")}


def test_asking_for_more_changes_no_held_out_problem():
    few = task_named("own_parts:Numbers").load(numbers(num_train=2, num_test=3))
    more = task_named("own_parts:Numbers").load(numbers(num_train=9, num_test=5, num_validation=4))
    assert list(few.test) == list(more.test)[:3]
    assert few.validation == []
    assert task_named("own_parts:Numbers").held_out(3) == few.test


def test_a_made_task_says_where_it_has_too_few_questions():
    with pytest.raises(
        UserError, match=r"made only 40 new questions for the train problems, and 41.*lower data.num_train"
    ):
        task_named("own_parts:Numbers").load(numbers(num_train=41))


@pytest.mark.parametrize("path", ["train_path", "test_path", "validation_path"])
def test_a_made_task_reads_no_files(path: str):
    with pytest.raises(
        UserError, match=f"data.{path} is 'x.jsonl', and data.kind own_parts:Numbers makes its problems"
    ):
        task_named("own_parts:Numbers").load(numbers(**{path: "x.jsonl"}))


def test_what_a_task_says_by_itself():
    task: Task = task_named("math")
    [problem] = task_named("countdown").held_out(1)
    assert task.gold_response(problem, DataSettings()) == f"\\boxed{{{problem.answer}}}"
    assert task.canonical(problem, " It is  SIX.\n") == task.canonical(problem, "it is six.")
    assert task.canonical(problem, "six") != task.canonical(problem, "seven")
