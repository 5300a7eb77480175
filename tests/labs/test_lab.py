"""A lab end to end, in processes: it runs, is killed and goes on, names what fails, shares what is equal."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import unsqueeze as uq
from unsqueeze.api.runs import RunView
from unsqueeze.config.load import load_recipe
from unsqueeze.errors import Interrupted, UserError
from unsqueeze.labs.lab import LabPlan, Unwatched
from unsqueeze.labs.runner import Live
from unsqueeze.progress import StopRequest
from unsqueeze.store.records import read_record

SUITE: dict[str, Any] = {
    "name": "mine",
    "recipe": "smoke",
    "set": {
        "threads": 1,
        "data": {"num_train": 12, "num_test": 3},
        "evaluation": {"n": 4, "gauges_every_steps": None},
        "checkpoint": {"every_steps": 1},
    },
    "seeds": [11],
    "arms": {"grpo": {"irl": None}, "sps": {}},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, list[LabPlan]]:
    out = tmp_path_factory.mktemp("labs")
    plans: list[LabPlan] = []
    result = uq.lab(SUITE, out=out, jobs=2, on_planned=lambda plan: plans.append(plan) or True)
    return out, result, plans


def test_every_run_is_made_and_gathered(made: tuple[Path, Any, list[LabPlan]]) -> None:
    out, result, plans = made
    assert result.path == out / "mine"
    assert not result.failed
    record = read_record(out / "mine" / "lab.json")
    assert record["status"] == "finished"
    assert [(run["arm"], run["seed"], run["role"], run["status"]) for run in record["runs"]] == [
        ("grpo", 11, "reported", "finished"),
        ("sps", 11, "reported", "finished"),
    ]
    paths = [(out / "mine" / run["path"]).resolve() for run in record["runs"]]
    assert [uq.open_run(path).recipe.irl is None for path in paths] == [True, False]
    data = read_record(out / "mine" / "results.json")
    for run, path in zip(data["runs"], paths, strict=True):
        samples = uq.open_run(path).samples(2)
        assert sum(run["evaluations"]["2"]["num_correct"]) == sum(samples["correct"].to_pylist())
        assert run["evaluations"]["2"]["num_samples"] == [4, 4, 4]
    assert [table["name"] for table in data["tables"]] == ["results", "differences"]
    assert [row[0] for row in result.tables["results"].rows] == ["base", "grpo", "sps"]
    assert [row[0] for row in result.tables["differences"].rows] == ["sps − grpo"]
    assert plans[0].seconds is not None
    assert plans[0].seconds > 0
    assert record["estimate_s"] == plans[0].seconds


def test_the_evaluation_before_training_is_made_once(made: tuple[Path, Any, list[LabPlan]]) -> None:
    out, _, _ = made
    record = read_record(out / "mine" / "lab.json")
    lent = [
        "made_in" in read_record(out / "mine" / run["path"] / "evals" / "step-000000.json") for run in record["runs"]
    ]
    assert lent == [False, True]


def test_the_same_again_makes_nothing_and_another_suite_shares_runs(made: tuple[Path, Any, list[LabPlan]]) -> None:
    out, result, _ = made
    plans: list[LabPlan] = []
    again = uq.lab(SUITE, out=out, on_planned=lambda plan: plans.append(plan) or True)
    assert plans[0].num_left == 0
    assert again is not None
    assert _shown(again) == _shown(result)
    other = SUITE | {"name": "other", "arms": {"plain": {"irl": None}}}
    shared = uq.lab(other, out=out, on_planned=lambda plan: plans.append(plan) or True)
    assert shared is not None
    assert plans[1].num_done == 1
    assert plans[1].num_left == 0
    assert shared.tables["results"].rows[1][1:] == result.tables["results"].rows[1][1:]


def test_free_points_are_made_of_finished_runs(made: tuple[Path, Any, list[LabPlan]]) -> None:
    out, _, _ = made
    points = {
        "half": {"of": "grpo", "share": 0.5},
        "mean": {"of": "sps", "last": 2},
        "hot": {"of": "grpo", "temperature": 1.3},
    }
    result = uq.lab(SUITE | {"name": "free", "points": points}, out=out, jobs=2)
    assert result is not None
    assert not result.failed
    assert [row[0] for row in result.tables["results"].rows] == ["base", "grpo", "sps", "half", "mean", "hot"]
    record = read_record(out / "free" / "lab.json")
    free = [run for run in record["runs"] if run["role"] == "point"]
    assert [run["settings"] for run in free] == [
        {"of": "grpo", "share": 0.5, "last": 1, "temperature": 0.7},
        {"of": "grpo", "share": 1.0, "last": 1, "temperature": 1.3},
        {"of": "sps", "share": 1.0, "last": 2, "temperature": 0.7},
    ]
    asked = [read_record(out / "free" / run["path"] / "eval.json") for run in free]
    assert [each["temperature"] for each in asked] == [0.7, 1.3, 0.7]


def test_the_chosen_learning_rate_is_the_one_that_is_run(tmp_path: Path) -> None:
    plans: list[LabPlan] = []
    searching = {"data": {"num_validation": 2}, "evaluation": {"validation_n": 2}}
    rates = {"factors": [2, 3], "widen": 1, "seeds": [5], "set": searching}
    suite = SUITE | {"name": "searched", "arms": {"grpo": {"irl": None}}, "learning_rates": rates}
    suite |= {"set": SUITE["set"] | {"data": SUITE["set"]["data"] | {"num_validation": 2}}}
    for _ in range(2):
        result = uq.lab(suite, out=tmp_path, jobs=1, on_planned=lambda plan: plans.append(plan) or True)
        assert result is not None
        assert not result.failed
        chosen = result.chosen["grpo"]
    assert [plan.num_left for plan in plans] == [3, 0]
    record = read_record(tmp_path / "searched" / "lab.json")
    entries, scores = record["runs"], record["chosen"][0]["scores"]
    wider = entries[2]["factor"]  # the better one of two is at an end
    assert wider == pytest.approx(4.5 if scores["3"] > scores["2"] else 4 / 3)
    assert [(entry["role"], entry["factor"], entry["status"]) for entry in entries] == [
        ("search", 2.0, "finished"),
        ("search", 3.0, "finished"),
        ("search", wider, "finished"),
        ("reported", chosen, "finished"),
    ]
    assert set(result.tables["learning_rates"].shown[0][3:]).isdisjoint({"", "–"})
    recipes = [uq.open_run((tmp_path / "searched" / entry["path"]).resolve()).recipe for entry in entries]
    given = load_recipe("smoke").rl.learning_rate
    assert [recipe.rl.learning_rate for recipe in recipes] == [2 * given, 3 * given, wider * given, chosen * given]


def test_a_plan_may_be_refused_and_writes_nothing(made: tuple[Path, Any, list[LabPlan]], tmp_path: Path) -> None:
    out, _, _ = made
    assert uq.lab(SUITE | {"name": "refused"}, out=out, on_planned=lambda plan: False) is None
    assert not (out / "refused").exists()
    with pytest.raises(UserError, match="jobs is 0"):
        uq.lab(SUITE, out=tmp_path, jobs=0)


class Meddler(Unwatched):
    """Does something to the first run that is seen at work."""

    def __init__(self, act: Any) -> None:
        self._act = act

    def show(self, lives: Any, left_s: float | None) -> None:
        running = [live for live in lives if live.state == "running" and live.told.get("step")]
        if running and self._act:
            act, self._act = self._act, None
            act(running[0])


LONG = SUITE | {
    "arms": {"grpo": {"irl": None}},
    "set": SUITE["set"] | {"rl": {"steps": 30}, "checkpoint": {"every_steps": 2}},
}


@pytest.mark.slow
def test_a_killed_run_goes_on_and_comes_to_the_same_numbers(tmp_path: Path) -> None:
    def kill(live: Live) -> None:
        # Children of this process that are at a run; the one that is seen is the only one there is.
        me = os.getpid()
        for entry in Path("/proc").iterdir():
            is_child = entry.name.isdigit() and f"PPid:\t{me}\n" in _read(entry / "status")
            if is_child and "unsqueeze.labs.worker" in _read(entry / "cmdline"):
                os.kill(int(entry.name), signal.SIGKILL)

    killed = uq.lab(LONG, out=tmp_path / "killed", jobs=1, watcher=Meddler(kill))
    whole = uq.lab(LONG, out=tmp_path / "whole", jobs=1)
    assert killed is not None
    assert whole is not None
    events = [each["event"] for each in _run_of(tmp_path / "killed").events]
    assert "resumed" in events
    assert _run_of(tmp_path / "killed").samples(30).equals(_run_of(tmp_path / "whole").samples(30))


@pytest.mark.slow
def test_a_stop_is_granted_and_the_same_call_goes_on(tmp_path: Path) -> None:
    stop = StopRequest()
    with pytest.raises(Interrupted):
        uq.lab(LONG, out=tmp_path, jobs=1, watcher=Meddler(lambda live: stop.ask()), stop=stop)
    record = read_record(tmp_path / "mine" / "lab.json")
    assert record["status"] == "stopped"
    assert [run["status"] for run in record["runs"]] == ["stopped"]
    assert [each["event"] for each in _run_of(tmp_path).events][-1] == "interrupted"
    result = uq.lab(LONG, out=tmp_path, jobs=1)
    assert result is not None
    assert read_record(tmp_path / "mine" / "lab.json")["status"] == "finished"


def test_a_run_that_fails_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    # The control is the one that fails, and by it the time would have been estimated.
    arms = {"broken": {"irl": None, "model": {"path": str(tmp_path / "nothing")}}, "grpo": {"irl": None}}
    result = uq.lab(SUITE | {"arms": arms}, out=tmp_path, jobs=2)
    assert result is not None
    assert list(result.failed) == ["broken, seed 11"]
    assert "nothing" in result.failed["broken, seed 11"]
    assert [row[0] for row in result.tables["results"].rows] == ["base", "grpo"]
    record = json.loads((tmp_path / "mine" / "lab.json").read_text())
    assert [run["status"] for run in record["runs"]] == ["failed", "finished"]
    assert record["status"] == "failed"
    assert record["estimate_s"] is None


def _shown(result: Any) -> dict[str, list[list[str]]]:
    return {name: table.shown for name, table in result.tables.items()}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _run_of(out: Path) -> RunView:
    (path,) = (out / "runs").glob("*/run.json")
    return uq.open_run(path.parent)
