"""``rl.dph``: right rollouts of the base, made before training, and what RL steps learn from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lives import StopOnceSaved, Told, differences, live, live_twice, tiny_recipe
from small_runs import prepare, run_to_end
from unsqueeze.errors import RunError
from unsqueeze.policy.batch import Row
from unsqueeze.progress import Interrupted, StopRequest
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training import base_rollouts
from unsqueeze.training.base_rollouts import beside_step, right_base_rows
from unsqueeze.verify.countdown import CountdownVerifier
from unsqueeze.verify.verdict import Judgement, Verdict

pytestmark = pytest.mark.usefixtures("judged_by_hash")


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve problems in three files."""
    monkeypatch.setattr(base_rollouts, "PROBLEMS_A_FILE", 5)


def recipe_of(**rl: Any) -> Any:
    return tiny_recipe(rl={"dph": {"coefficient": 0.5, "rollouts": 3, "rows": 4}, **rl}, checkpoint={"every_steps": 1})


def steps_of(path: Path) -> list[dict[str, Any]]:
    return [record for record in RunDirectory.open(path).metrics.read() if record["kind"] == "rl"]


def test_every_step_learns_from_them_and_says_what_it_costs(tmp_path: Path) -> None:
    live(recipe_of(), tmp_path)
    run = RunDirectory.open(tmp_path)
    groups = [group for number in run.base_rollouts.steps() for group in run.base_rollouts.read(number)]
    assert run.base_rollouts.steps() == [1, 2, 3]
    assert [len(group.rollouts) for group in groups] == [3] * 12
    assert len({group.problem.id for group in groups}) == 12
    assert {rollout.policy_version for group in groups for rollout in group.rollouts} == {0}
    [event] = [line for line in run.journal.read() if line["event"] == "base_rollouts"]
    right = [judgement.verdict is Verdict.CORRECT for group in groups for judgement in group.judgements]
    assert (event["num_rollouts"], event["num_right"]) == (36, sum(right))
    assert event["num_tokens"] == sum(len(r.completion.tokens) for group in groups for r in group.rollouts)
    steps = steps_of(tmp_path)
    # The first update is taken at the base itself, and so is a step before it, which no group is informative for.
    first = next(place for place, record in enumerate(steps) if record["updated"])
    assert not any("num_base_rows" in record for record in steps[: first + 1])
    assert all(record["updated"] and record["num_base_rows"] == 4 for record in steps[first + 1 :])
    assert all(4 <= record["base_tokens"] <= 32 and record["base_s"] > 0 for record in steps[first + 1 :])
    assert all(record["kl_base"] > 1e-6 for record in steps[first + 1 :])


def test_it_holds_the_policy_to_the_base(tmp_path: Path) -> None:
    moved = {}
    for coefficient in (1e-6, 100.0):
        recipe = recipe_of(dph={"coefficient": coefficient, "rollouts": 3, "rows": 30}, steps=8)
        live(recipe.model_copy(update={"irl": None}), tmp_path / str(coefficient))
        moved[coefficient] = steps_of(tmp_path / str(coefficient))[-1]["kl_base"]
    assert moved[100.0] < 0.8 * moved[1e-6]


@pytest.mark.parametrize("rl", [{}, {"sampler_correction": "token", "steps_per_generation": 2}], ids=["one", "scored"])
def test_a_stopped_run_learns_from_the_same(tmp_path: Path, rl: dict[str, Any]) -> None:
    live(recipe_of(**rl), tmp_path / "whole")
    live_twice(recipe_of(**rl), tmp_path / "stopped", 2)
    assert differences(tmp_path / "whole", tmp_path / "stopped") == []
    assert base_of(tmp_path / "whole") == base_of(tmp_path / "stopped")


class StopInside(StopRequest):
    """Asks to stop once the first file of the base's rollouts is there."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path / "base_rollouts" / "step-000001.parquet"

    def check(self) -> None:
        if self._file.exists():
            raise Interrupted


def test_a_run_stopped_before_training_makes_the_missing_ones_alone(tmp_path: Path) -> None:
    live(recipe_of(), tmp_path / "whole")
    path = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        live(recipe_of(), path, StopInside(path))
    first = RunDirectory.open(path).base_rollouts.path(1)
    assert RunDirectory.open(path).base_rollouts.steps() == [1]
    made = first.stat().st_mtime_ns
    live(recipe_of(), path)
    assert first.stat().st_mtime_ns == made
    assert differences(tmp_path / "whole", path) == []
    assert base_of(path) == base_of(tmp_path / "whole")


def base_of(path: Path) -> list[Any]:
    run = RunDirectory.open(path)
    return [
        (rollout.problem_id, rollout.completion.text, rollout.completion.logp_behaviour.tolist())
        for number in run.base_rollouts.steps()
        for group in run.base_rollouts.read(number)
        for rollout in group.rollouts
    ]


def test_what_is_lost_after_training_began_cannot_be_made_again(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        live(recipe_of(), tmp_path, StopOnceSaved(tmp_path, 2))
    lost = RunDirectory.open(tmp_path).base_rollouts.path(2)
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(RunError, match=r"step-000002\.parquet is missing.* cannot be made again: put a copy"):
        live(recipe_of(), tmp_path)
    lost.write_bytes(content[:-10])
    with pytest.raises(RunError, match=r"step-000002\.parquet.*cannot be made again: put a copy"):
        live(recipe_of(), tmp_path)
    lost.write_bytes(content)
    live(recipe_of(), tmp_path)


def test_a_base_without_a_right_rollout_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: CountdownVerifier, problems: Any, responses: Any) -> list[Judgement]:
        return [Judgement(Verdict.WRONG, None, "always") for _ in responses]

    run, _ = prepare(recipe_of(), tmp_path)
    told = Told()
    monkeypatch.setattr(CountdownVerifier, "verify", wrong)
    object.__setattr__(run, "progress", told)
    assert right_base_rows(run) == []
    assert beside_step(run, [], 1) == []
    assert told.warnings == [
        "not one of 36 rollouts of the base policy is right: rl.dph has nothing to hold the policy to."
    ]
    run.directory.close()


@pytest.mark.parametrize(
    ("aggregation", "weights"),
    # Two rows of 2 and 4 tokens, at a limit of 8: means of their own, whatever the step's batch.
    [("sequence_mean", [1 / 4, 1 / 8]), ("token_mean", [1 / 6, 1 / 6]), ("constant", [1 / 16, 1 / 16])],
)
def test_rows_weigh_as_the_surrogate_says(tmp_path: Path, aggregation: str, weights: list[float]) -> None:
    run, _ = prepare(recipe_of(aggregation=aggregation), tmp_path)
    rows = [
        Row(prompt_tokens=np.zeros(1, np.int32), tokens=np.zeros(length, np.int32), weight=0.0) for length in (2, 4)
    ]
    assert beside_step(run, rows, 1) == []  # the policy is the base
    run.policy.version = 1
    [(weighed, _)] = beside_step(run, rows, 1)
    assert [row.weight for row in weighed] == pytest.approx(weights)
    run.directory.close()


def test_each_step_draws_others_without_replacement(tmp_path: Path) -> None:
    run, _ = prepare(recipe_of(), tmp_path)
    rows = [Row(prompt_tokens=np.zeros(1, np.int32), tokens=np.full(3, i, np.int32), weight=0.0) for i in range(40)]
    run.policy.version = 1
    drawn = {step: [int(row.tokens[0]) for row in beside_step(run, rows, step)[0][0]] for step in (1, 1, 2)}
    assert all(len(set(places)) == 4 for places in drawn.values())
    assert drawn[1] != drawn[2]
    assert [int(row.tokens[0]) for row in beside_step(run, rows, 1)[0][0]] == drawn[1]
    run.directory.close()


def test_without_it_there_is_no_folder(tmp_path: Path) -> None:
    run, _ = run_to_end(tiny_recipe(), tmp_path / "run")
    assert not (run.directory.path / "base_rollouts").exists()
    assert "num_base_rows" not in steps_of(run.directory.path)[0]
