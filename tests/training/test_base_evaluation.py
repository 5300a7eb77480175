"""Arms that begin alike are evaluated once before training; those that do not, each for itself."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from small_runs import small_recipe
from unsqueeze.metrics.summary import summarise
from unsqueeze.rollout.types import StopReason
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.samples import EvalSample
from unsqueeze.training.base_evaluation import begins_as, take_base_evaluation
from unsqueeze.verify.verdict import Verdict

SAMPLE = EvalSample(
    problem_id="p",
    index=0,
    text="42",
    verdict=Verdict.CORRECT,
    extracted="42",
    reason="",
    num_tokens=1,
    mean_logp=-0.1,
    stop_reason=StopReason.EOS,
    benchmark="countdown",
    gold="42",
    verifier="countdown",
)
RECORD = replace(summarise([2], [1], [1]), greedy_logp=-0.2).to_json_object() | {"step": 0}


@pytest.fixture
def one(tmp_path: Path) -> RunDirectory:
    run = RunDirectory.create(tmp_path / "one", {})
    run.evals.add(0, [SAMPLE])
    run.evals.merge(0, "countdown", ["p"])
    run.evals.finish(0, RECORD)
    return run


@pytest.mark.parametrize(
    "section", [{"rl": {"learning_rate": 0.1}}, {"irl": None}, {"checkpoint": {"keep_last": 1}}, {"name": "other"}]
)
def test_what_comes_later_makes_no_difference(one: RunDirectory, tmp_path: Path, section: dict):
    other = RunDirectory.create(tmp_path / "other", {})
    take_base_evaluation(other, small_recipe(**section), {one.path: small_recipe()})
    assert other.evals.record(0) == one.evals.record(0) | {"made_in": str(one.path)}
    assert pq.read_table(other.evals.samples_path(0)).equals(pq.read_table(one.evals.samples_path(0)))
    line = other.journal.last("evaluated")
    assert line is not None
    assert (line["avg"], line["made_in"]) == (0.5, str(one.path))


@pytest.mark.parametrize(
    "section",
    [
        {"seed": 4},
        {"evaluation": {"n": 5}},
        {"data": {"num_test": 5}},
        {"rollout": {"max_tokens": 21}},
        {"model": {"path": "elsewhere"}},
        {"prompt": {"template": "Q: {problem}"}},
        {"verify": {"credit": "boxed"}},
    ],
)
def test_what_the_evaluation_depends_on_makes_one(one: RunDirectory, tmp_path: Path, section: dict):
    assert begins_as(small_recipe(**section)) != begins_as(small_recipe())
    other = RunDirectory.create(tmp_path / "other", {})
    take_base_evaluation(other, small_recipe(**section), {one.path: small_recipe()})
    assert other.evals.steps() == []


def test_nothing_that_is_there_is_replaced_and_nothing_is_made_of_nothing(one: RunDirectory, tmp_path: Path):
    other = RunDirectory.create(tmp_path / "other", {})
    take_base_evaluation(other, small_recipe(), {})
    assert other.evals.steps() == []
    take_base_evaluation(one, small_recipe(), {other.path: small_recipe()})
    take_base_evaluation(other, small_recipe(), {other.path: small_recipe()})
    assert one.evals.record(0)["greedy_logp"] == -0.2
    assert other.evals.steps() == []
