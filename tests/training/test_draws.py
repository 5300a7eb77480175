"""Every draw of a run is its own: the same problem under the same weights gives other samples the next time."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from small_runs import prepare, random_recipe
from unsqueeze.tasks.problem import Problem
from unsqueeze.training import evaluation
from unsqueeze.training.evaluation import HeldOut, evaluate_policy, validation_set
from unsqueeze.training.generate import sample_round
from unsqueeze.training.run import Run
from unsqueeze.training.stream import ProblemStream

pytestmark = pytest.mark.usefixtures("judged_by_hash")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run of one training problem, whose weights stay as they are."""
    recipe = random_recipe(data={"num_train": 1}, rl={"prompts_per_step": 1}, irl=None)
    run, _ = prepare(recipe, tmp_path_factory.mktemp("runs") / "run")
    yield run
    run.directory.close()


def rollouts(run: Run, *, position: int, step: int) -> list[list[int]]:
    stream = ProblemStream(run.train_problems, seed=run.recipe.seed, position=position)
    [group], _ = sample_round(run, stream, 1, step, 0)
    assert group.problem == run.train_problems[0]
    return [rollout.completion.tokens.tolist() for rollout in group.rollouts]


def test_rollouts_of_a_problem_are_others_at_every_step_and_within_a_step(run: Run):
    first = rollouts(run, position=0, step=1)
    assert rollouts(run, position=1, step=2) != first
    assert len({tuple(tokens) for tokens in first}) > 1
    assert rollouts(run, position=0, step=1) == first


def test_rollouts_depend_on_the_seed_of_the_run(run: Run):
    other = replace(run, recipe=run.recipe.model_copy(update={"seed": run.recipe.seed + 1}))
    assert rollouts(other, position=0, step=1) != rollouts(run, position=0, step=1)


def test_evaluations_of_the_same_weights_draw_other_samples(run: Run):
    """At every step; of validation, too, where it asks the same problems."""
    test = evaluation.test_set(run)
    drawn = [samples(run, test, step=0), samples(run, test, step=1)]
    drawn.append(samples(run, replace(validation_set(run), problems=test.problems, n=test.n), step=0))
    assert all(len(texts) == 4 * 4 for texts in drawn)
    for place, texts in enumerate(drawn):
        assert all(texts != others for others in drawn[:place])


def samples(run: Run, held_out: HeldOut, *, step: int) -> list[str]:
    evaluate_policy(run, held_out, step=step)
    return [sample.text for sample in held_out.store.samples(step)]


def order(seed: int, *, passes: int) -> list[list[str]]:
    problems = [Problem(id=str(i), prompt="", answer="", task="math") for i in range(9)]
    stream = ProblemStream(problems, seed=seed)
    return [[problem.id for problem in stream.take(9)] for _ in range(passes)]


def test_problems_come_in_another_order_in_every_pass_and_for_every_seed():
    orders = [tuple(ids) for seed in (1, 2) for ids in order(seed, passes=3)]
    assert len(set(orders)) == 6
    assert all(ids != sorted(ids) for ids in map(list, orders))
    assert order(1, passes=3) == order(1, passes=3)


def test_a_step_takes_the_problems_after_those_of_the_last(tmp_path: Path):
    run, _ = prepare(random_recipe(irl=None), tmp_path / "run")
    stream = ProblemStream(run.train_problems, seed=run.recipe.seed)
    rounds = [sample_round(run, stream, 4, step, 0)[0] for step in (1, 2, 3)]
    asked = [group.problem.id for groups in rounds for group in groups]
    assert sorted(asked) == sorted(problem.id for problem in run.train_problems)
    assert [group.rollouts[0].group for groups in rounds for group in groups] == list(range(12))
    run.directory.close()
