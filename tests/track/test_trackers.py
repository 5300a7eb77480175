"""Trackers hear of everything once, and nothing they do ends a run. Those that are installed are tried for real."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from small_runs import prepare, random_recipe, run_to_end, weights
from unsqueeze.config.recipe import Recipe
from unsqueeze.progress import Interrupted, Silent, StopRequest
from unsqueeze.store.journal import Journal
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.track import tracking
from unsqueeze.track.tracker import TrackedRun
from unsqueeze.track.tracking import Tracking, run_id, scalars
from unsqueeze.training.arms import train_arm
from unsqueeze.training.loop import make_optimizers, train
from unsqueeze.training.resume import resume
from unsqueeze.training.run import Run
from unsqueeze.training.tracked import begin_tracking

pytestmark = pytest.mark.usefixtures("judged_by_hash")


def tracked(*names: str) -> Recipe:
    return random_recipe(trackers=list(names), rl={"steps": 3})


class Recorder:
    """Remembers what it is told; ``knows`` is what it claims to hold already."""

    def __init__(self, run: TrackedRun, knows: Mapping[str, int] | None = None) -> None:
        self.run = run
        self.knows = knows or {}
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.closed = False

    def last_step(self, kind: str) -> int | None:
        return self.knows.get(kind)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.logged.append((step, dict(values)))

    def close(self) -> None:
        self.closed = True

    def steps(self, kind: str) -> list[int]:
        return [step for step, values in self.logged if f"{kind}/step" in values]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Recorder]:
    """A whole run with a recording tracker: two RL steps, an IRL phase of two updates, and a third RL step."""
    recorders: list[Recorder] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tracking.TRACKERS, "wandb", lambda run: recorders.append(Recorder(run)) or recorders[-1])
        run, _ = run_to_end(tracked("wandb"), tmp_path_factory.mktemp("tracked") / "run")
    return run, recorders[0]


def test_a_tracker_hears_of_every_step_evaluation_and_phase_once(recorded: tuple[Run, Recorder]):
    run, recorder = recorded
    # Optimizer steps 1, 2 (RL), 3, 4 (IRL), 5 (RL); evaluations before all and after all; three phases.
    assert recorder.steps("rl") == [1, 2, 5]
    assert recorder.steps("irl") == [3, 4]
    assert recorder.steps("evaluation") == [0, 5]
    assert recorder.steps("phase_rl") == [2, 5]
    assert recorder.steps("phase_irl") == [4]
    steps = [step for step, _ in recorder.logged]
    assert steps == sorted(steps)
    assert recorder.run.id == run_id(run.directory.path)
    assert recorder.run.name == "small/run"


def test_what_it_hears_is_what_the_files_say(recorded: tuple[Run, Recorder]):
    run, recorder = recorded
    losses = {step: values["irl/loss"] for step, values in recorder.logged if "irl/loss" in values}
    lines = run.directory.metrics.read()
    assert losses == {place: line["loss"] for place, line in enumerate(lines, start=1) if line["kind"] == "irl"}
    last = recorder.logged[-1][1]
    summary = run.directory.evals.summary(3)
    assert last["evaluation/avg"] == summary.avg.mean
    assert last["evaluation/greedy_logp"] == summary.greedy_logp
    assert last["evaluation/pass_at_4_low"] == summary.pass_at[4].low


def test_nothing_a_tracker_raises_ends_or_changes_a_run(
    recorded: tuple[Run, Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Fails(Recorder):
        def __init__(self, run: TrackedRun, at: str) -> None:
            super().__init__(run)
            self.at = at
            self.fail("init")

        def fail(self, now: str) -> None:
            if now == self.at:
                raise ValueError(f"no {now}\nat all")

        def last_step(self, kind: str) -> int | None:
            self.fail("last_step")
            return None

        def log(self, step: int, values: Mapping[str, float]) -> None:
            super().log(step, values)
            self.fail(f"log {len(self.logged)}")

        def close(self) -> None:
            self.fail("close")

    for name, at in {"tensorboard": "init", "wandb": "last_step", "mlflow": "log 4", "trackio": "close"}.items():
        monkeypatch.setitem(tracking.TRACKERS, name, lambda run, at=at: Fails(run, at))
    run, reference = prepare(tracked("tensorboard", "wandb", "mlflow", "trackio"), tmp_path / "run")
    warnings: list[str] = []
    monkeypatch.setattr(run.tracking, "_warn", warnings.append)
    train(run, reference=reference)
    run.tracking.close()
    run.verifier.close()
    run.directory.close()
    assert [warning.split()[2:6] for warning in warnings] == [
        ["tensorboard", "failed", "at", "starting"],
        ["wandb", "failed", "at", "logging"],
        ["mlflow", "failed", "at", "logging"],
        ["trackio", "failed", "at", "closing"],
    ]
    assert "ValueError: no init at all" in warnings[0]
    for name, weight in weights(recorded[0]).items():
        assert torch.equal(weight, weights(run)[name])


def test_what_a_service_holds_already_is_not_logged_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    recorders: list[Recorder] = []
    knows = {"rl": 2, "irl": 3}
    monkeypatch.setitem(tracking.TRACKERS, "mlflow", lambda run: recorders.append(Recorder(run, knows)) or recorders[0])
    telling = Tracking(["mlflow"], warn=pytest.fail)
    telling.open(this_run(tmp_path, first_step=2))
    for kind in ("rl", "rl", "irl", "irl"):  # steps 2 to 5
        telling.optimizer_step({"kind": kind, "step": 1})
    assert recorders[0].steps("rl") == [3]
    assert recorders[0].steps("irl") == [4, 5]


def test_a_resumed_run_goes_on_behind_its_checkpoint_under_the_same_id(
    recorded: tuple[Run, Recorder], monkeypatch: pytest.MonkeyPatch
):
    before, first = recorded
    recorders: list[Recorder] = []
    monkeypatch.setitem(tracking.TRACKERS, "wandb", lambda run: recorders.append(Recorder(run)) or recorders[0])
    run, _ = prepare(tracked("wandb"), before.directory.path)
    cursor, _ = resume(run, make_optimizers(run))
    begin_tracking(run.tracking, run.recipe, run.directory.path, cursor)
    run.directory.close()
    assert recorders[0].run.id == first.run.id
    assert recorders[0].run.first_step == 6  # behind the five lines of metrics
    assert first.run.first_step == 0


def without_seconds(logged: list[tuple[int, dict[str, float]]]) -> dict[tuple[int, str], float]:
    return {
        (step, name): value
        for step, values in logged
        for name, value in values.items()
        if not name.endswith(("_s", "seconds"))
    }


def stopped(recipe: Recipe, path: Path) -> None:
    """Train until the IRL phase is done and saved, and stop there."""

    class Stop(StopRequest):
        def check(self) -> None:
            if RunDirectory.open(path).checkpoints.latest() == 2:
                raise Interrupted

    run, reference = prepare(recipe, path, stop=Stop())
    with pytest.raises(Interrupted):
        train(run, reference=reference)
    run.tracking.close()
    run.verifier.close()
    run.directory.close()


def test_one_that_is_added_on_resume_is_told_what_it_missed(
    recorded: tuple[Run, Recorder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The same values under the same steps, in the order of steps, as one that was there from the beginning."""
    recorders: dict[str, list[Recorder]] = {"wandb": [], "mlflow": []}
    for name, made in recorders.items():
        monkeypatch.setitem(tracking.TRACKERS, name, lambda run, made=made: made.append(Recorder(run)) or made[-1])
    stopped(tracked("mlflow"), tmp_path / "run")
    assert recorders["mlflow"][0].steps("irl") == [3, 4]
    run_to_end(tracked("wandb", "mlflow"), tmp_path / "run")
    (added,), (first, again) = recorders["wandb"], recorders["mlflow"]
    assert without_seconds(added.logged) == without_seconds(recorded[1].logged)
    assert [step for step, _ in added.logged] == sorted(step for step, _ in added.logged)
    assert added.run.first_step == 0
    assert again.run.first_step > 0
    assert not again.steps("irl")  # what was there is not told again
    assert without_seconds(first.logged + again.logged) == without_seconds(recorded[1].logged)


def test_one_that_failed_is_told_when_the_run_goes_on_and_one_that_paused_too(
    recorded: tuple[Run, Recorder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    class Fails(Recorder):
        def log(self, step: int, values: Mapping[str, float]) -> None:
            if step > 1:
                raise OSError("gone")

    monkeypatch.setitem(tracking.TRACKERS, "wandb", lambda run: Fails(run))
    stopped(tracked("wandb"), tmp_path / "run")
    assert tracking.whole_in(tmp_path / "run") == set()
    made: list[Recorder] = []
    monkeypatch.setitem(tracking.TRACKERS, "wandb", lambda run: made.append(Recorder(run)) or made[-1])
    run_to_end(tracked("wandb"), tmp_path / "run")
    assert without_seconds(made[0].logged) == without_seconds(recorded[1].logged)
    assert tracking.whole_in(tmp_path / "run") == {"wandb"}


def test_one_that_is_added_to_a_finished_run_is_told_all(
    recorded: tuple[Run, Recorder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    made: list[Recorder] = []
    monkeypatch.setitem(tracking.TRACKERS, "mlflow", lambda run: made.append(Recorder(run)) or made[-1])
    path = tmp_path / "run"
    shutil.copytree(recorded[0].directory.path, path)
    Journal(path / "journal.jsonl").append("finished", seconds=1.0)
    for _ in range(2):
        train_arm("run", tracked("mlflow"), path, Silent(), StopRequest())
    assert len(made) == 1  # and once
    assert made[0].closed
    assert without_seconds(made[0].logged) == without_seconds(recorded[1].logged)


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow", "trackio"])
def test_one_that_is_not_installed_says_how_to_install_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = "torch.utils.tensorboard" if name == "tensorboard" else name
    monkeypatch.setitem(sys.modules, package, None)
    warnings: list[str] = []
    Tracking([name], warn=warnings.append).open(this_run(tmp_path))
    assert len(warnings) == 1
    assert f"pip install 'unsqueeze[{name}]'" in warnings[0]


def test_scalars_are_what_a_curve_can_be_drawn_of():
    fields = {"a": 1, "b": 0.5, "c": True, "d": None, "e": float("nan"), "f": "x", "g": [1], "h": float("inf")}
    assert scalars(fields) == {"a": 1.0, "b": 0.5, "c": 1.0}


def this_run(path: Path, first_step: int = 0) -> TrackedRun:
    return TrackedRun(
        id="0123456789abcdef", project="tests", name="one", path=path, recipe={"seed": 1}, first_step=first_step
    )


def killed_and_resumed(name: str, path: Path) -> None:
    """RL steps 1, 2, 3; a kill; steps 3 and 4 from a checkpoint after step 2, step 3 with another value."""
    for first_step, steps in ((0, (1, 2, 3)), (3, (30, 40))):
        telling = Tracking([name], warn=pytest.fail)
        telling.open(this_run(path, first_step))
        for reward in steps:
            telling.optimizer_step({"kind": "rl", "step": reward, "reward": float(reward)})
        telling.close()


def test_tensorboard_for_real(tmp_path: Path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    killed_and_resumed("tensorboard", tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("rl/reward")] == [(1, 1), (2, 2), (3, 30), (4, 40)]


def test_mlflow_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    killed_and_resumed("mlflow", tmp_path)
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tests")
    (run,) = client.search_runs([experiment.experiment_id])
    found = client.get_metric_history(run.info.run_id, "rl/reward")
    assert [(metric.step, metric.value) for metric in found] == [(1, 1), (2, 2), (3, 3), (4, 40)]
    assert run.info.status == "FINISHED"


def test_trackio_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    pytest.importorskip("trackio", reason="trackio is not installed")
    from trackio.sqlite_storage import SQLiteStorage

    killed_and_resumed("trackio", tmp_path)
    (name,) = SQLiteStorage.get_runs("tests")
    found = SQLiteStorage.get_logs("tests", name)
    assert [(row["step"], row["rl/reward"]) for row in found] == [(1, 1), (2, 2), (3, 3), (4, 40)]


def test_wandb_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    killed_and_resumed("wandb", tmp_path)
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2
