"""`uq.train`: a run made from Python is complete, goes on after a stop, and is of what it was given."""

import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import unsqueeze as uq
from small_runs import run_to_end, small_recipe, weights, without_timings
from unsqueeze.algos.advantages.group_relative import group_relative
from unsqueeze.errors import Interrupted, UserError
from unsqueeze.policy.policy import Policy
from unsqueeze.progress import StopRequest
from unsqueeze.tasks.countdown import make_problem
from unsqueeze.tasks.countdown_task import CountdownTask
from unsqueeze.training import setup
from unsqueeze.verify.verdict import Judgement, Verdict

SETTINGS: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "threads": 1,
    "data": {"kind": "countdown", "num_train": 6, "num_test": 2},
    "rollout": {"max_tokens": 8},
    "rl": {"steps": 2, "prompts_per_step": 2, "group_size": 4, "learning_rate": 1e-3},
    "irl": {"every_steps": 2, "k": 2, "steps": 2, "batch_size": 4, "learning_rate": 1e-3},
    "evaluation": {"n": 2},
    "checkpoint": {"every_steps": 1},
}
TRAIN = [("Make 48 from 2 3 6 14.", "48"), ("Make 24 from 1 2 3 4.", "24"), ("Make 10 from 1 2 3 4.", "10")]
TEST = [("Make 26 from 5 6 7 8.", "26"), ("Make 10 from 2 2 3 3.", "10")]


def even(problem: uq.Problem, response: str) -> bool:
    """A reward that depends on nothing but the text."""
    return len(response) % 2 == 0


def as_given(groups, settings):
    """An estimator of one's own that is the usual one."""
    return group_relative(groups, settings)


class Heard(uq.Callback):
    """Writes down what a run tells."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.phases: list[Any] = []
        self.evaluations: list[tuple[str, int, uq.Summary]] = []

    def on_step(self, record):
        self.steps.append(dict(record))

    def on_phase(self, report):
        self.phases.append(report)

    def on_evaluation(self, kind, step, summary):
        self.evaluations.append((kind, step, summary))


def own(**more: Any) -> dict[str, Any]:
    """Everything of one's own that a run can be given."""
    given = {"problems": TRAIN, "test_problems": TEST, "validation_problems": [("Make 18 from 9 9.", "18")]}
    return given | {"verifier": even, "advantages": as_given} | more


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory):
    """A run on problems, verdicts and advantages of one's own, from beginning to end, and what it told."""
    heard = Heard()
    path = tmp_path_factory.mktemp("api") / "own"
    return uq.train(SETTINGS, run=path, callbacks=[heard], **own()), heard


def test_a_run_on_code_of_ones_own_is_complete(whole):
    trained, _ = whole
    run = trained.run
    assert list(trained) == ["tiny"]
    assert run.recipe.name == "tiny"
    assert run.info["own"] == {"verifier": f"{__name__}:even", "advantages": f"{__name__}:as_given"}
    assert run.info["data"]["num_train"] == 3
    assert run.info["data"]["num_validation"] == 1
    assert set(run.info["data"]["sha256"]) == {"problems", "test_problems", "validation_problems"}
    assert run.events[0]["event"] == "started"
    assert run.events[-1]["event"] == "finished"
    rollouts = run.rollouts()
    assert rollouts.num_rows == 2 * 2 * 4
    assert set(rollouts["prompt"].to_pylist()) <= {question for question, _ in TRAIN}
    for text, verdict in zip(rollouts["text"].to_pylist(), rollouts["verdict"].to_pylist(), strict=True):
        assert verdict == ("correct" if len(text) % 2 == 0 else "wrong")
    samples = run.samples(2)
    assert samples["gold"].to_pylist() == ["26", "26", "10", "10"]
    assert set(samples["verifier"].to_pylist()) == {f"{__name__}:even"}
    assert trained.after == run.evaluations[2] == trained.evaluations[2]
    assert trained.before == run.evaluations[0]
    assert trained.best == run.best
    assert trained.best is not None
    assert trained["tiny"].minutes > 0
    assert trained.path == run.path


def test_callbacks_hear_what_is_on_disk(whole):
    trained, heard = whole
    assert [record["kind"] for record in heard.steps] == ["rl", "rl", "irl", "irl"]
    assert [record["loss"] for record in heard.steps] == trained.run.metrics["loss"].to_pylist()
    assert heard.phases == trained.reports == trained.run.reports
    assert [(kind, step) for kind, step, _ in heard.evaluations] == [
        ("evaluation", 0), ("validation", 1), ("evaluation", 2), ("validation", 2),
    ]  # fmt: skip
    assert heard.evaluations[2][2] == trained.after


class StopsAfter(uq.Callback):
    """Sends this process a Ctrl-C once a step is done."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step(self, record):
        if record["step"] == self._step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, stopped by Ctrl-C after its first step."""
    path = tmp_path_factory.mktemp("api") / "stopped"
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        uq.train(
            SETTINGS, run=path, callbacks=[StopsAfter(1)], **own()
        )  # fmt: skip
    assert signal.getsignal(signal.SIGINT) is before
    return path


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"verifier": None}, [f"verifier {__name__}:even", "that of the recipe"]),
        ({"advantages": None}, [f"advantages {__name__}:as_given"]),
        ({"problems": [*TRAIN[:2], ("Make 10 from 1 2 3 4.", "11")]}, ["other data", "sha256.problems"]),
        ({"overrides": ["rl.learning_rate=1e-4"]}, ["rl.learning_rate", "0.001"]),
    ],
)
def test_a_run_goes_on_with_what_it_was_started_with(stopped: Path, changed: dict[str, Any], words: list[str]):
    with pytest.raises(UserError) as refused:
        uq.train(SETTINGS, run=stopped, resume=True, **own(**changed))
    for word in words:
        assert word in str(refused.value)
    assert [event["event"] for event in uq.open_run(stopped).events][-1] == "interrupted"


def test_a_stopped_run_goes_on_as_if_it_never_stopped(whole, stopped: Path):
    with pytest.raises(UserError, match="holds a run already"):
        uq.train(SETTINGS, run=stopped, **own())
    trained = uq.train(SETTINGS, run=stopped, resume=True, **own())
    first = whole[0].run
    assert without_timings(trained.run.metrics.to_pylist()) == without_timings(first.metrics.to_pylist())
    for step, path in first.checkpoints.items():
        assert (trained.run.checkpoints[step] / "model.safetensors").read_bytes() == (
            path / "model.safetensors"
        ).read_bytes()
    # A run that is done is read from the disk.
    again = uq.train(SETTINGS, run=stopped, resume=True, **own())
    assert again.after == trained.after


def test_it_is_the_run_that_the_parts_give(tmp_path: Path):
    """The same bits as ``training.loop`` by itself, from settings as they are and from a ``Recipe``."""
    recipe = small_recipe(**{name: value for name, value in SETTINGS.items() if name not in ("name", "seed")})
    run, _ = run_to_end(recipe, tmp_path / "parts")
    trained = uq.train(recipe, run=tmp_path / "api")
    assert without_timings(trained.run.metrics.to_pylist()) == without_timings(
        uq.open_run(tmp_path / "parts").metrics.to_pylist()
    )
    last = Policy.load(run.policy.settings.model_copy(update={"path": str(trained.run.checkpoints[2])}))
    assert all(torch.equal(value, weights(run)[name]) for name, value in last.trainable())
    assert trained.run.info["own"] == {"verifier": None, "advantages": None}


class Counting:
    """A verifier of one's own that counts what is asked of it."""

    def __init__(self) -> None:
        self.judged, self.closed = 0, 0

    def verify(self, problems: Sequence[uq.Problem], responses: Sequence[str]) -> list[Judgement]:
        self.judged += len(responses)
        return [Judgement(Verdict.CORRECT if len(text) % 3 else Verdict.WRONG) for text in responses]

    def close(self) -> None:
        self.closed += 1


ARMS = SETTINGS | {
    "irl": None,
    "rl": SETTINGS["rl"] | {"steps": 1},
    "arms": {"a": {}, "b": {"irl": SETTINGS["irl"] | {"every_steps": 1}}},
}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often a model and the data were loaded."""
    counts = {"model": 0, "data": 0}
    load_model, load_data = setup.Policy.load, CountdownTask.load

    def model(*arguments, **keywords):
        counts["model"] += 1
        return load_model(*arguments, **keywords)

    def data(*arguments, **keywords):
        counts["data"] += 1
        return load_data(*arguments, **keywords)

    monkeypatch.setattr(setup.Policy, "load", model)
    monkeypatch.setattr(CountdownTask, "load", data)
    return counts


def test_arms_share_data_and_a_verifier_that_stays_open(tmp_path: Path, loaded: dict[str, int]):
    verifier = Counting()
    trained = uq.train(ARMS, run=tmp_path / "both", verifier=verifier)
    assert list(trained) == ["a", "b"]
    with pytest.raises(UserError, match="name one of a, b"):
        _ = trained.run
    assert trained["a"].before == trained["b"].before
    assert trained["b"].run.events[1]["made_in"] == str(tmp_path / "both" / "a")
    # 2 arms of 8 rollouts, and 2 × 2 samples before training, once, and after it, twice.
    assert verifier.judged == 2 * 8 + 3 * 4
    assert verifier.closed == 0
    assert loaded == {"model": 4, "data": 1}  # each arm's model, to try everything and again in its turn
    assert list(uq.open_arms(tmp_path / "both")) == ["a", "b"]


def test_a_single_arm_loads_everything_once(tmp_path: Path, loaded: dict[str, int]):
    uq.train(SETTINGS | {"irl": None, "rl": SETTINGS["rl"] | {"steps": 1}}, run=tmp_path / "run")
    assert loaded == {"model": 1, "data": 1}


def test_in_another_thread_nothing_listens_and_a_stop_of_ones_own_is_heard(tmp_path: Path):
    stop, ended = StopRequest(), []

    class Stops(uq.Callback):
        def on_step(self, record):
            stop.asked = True

    def work():
        try:
            uq.train(SETTINGS, run=tmp_path / "run", stop=stop, callbacks=[Stops()])
        except Interrupted:
            ended.append(uq.open_run(tmp_path / "run").metrics.num_rows)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=600)
    assert ended == [1]


def test_names_become_settings_of_the_recipe(tmp_path: Path):
    checked = uq.check(SETTINGS, run=tmp_path / "run", verifier="countdown", advantages="group_relative")
    recipe = checked["tiny"].recipe
    assert (recipe.verify.verifier, recipe.rl.advantage) == ("countdown", "group_relative")
    assert checked["tiny"].estimate.memory.peak > 0
    assert not (tmp_path / "run").exists()


def fails(problem: uq.Problem, response: str) -> bool:
    return {}[response]


def unsure(problem: uq.Problem, response: str) -> float:
    return 0.5


COUNTDOWN = make_problem([1, 2, 3, 4], 24)
SUDOKU = replace(COUNTDOWN, id="x", task="sudoku")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"problems": TRAIN}, ["test_problems", "at least one"]),
        ({"problems": [], "test_problems": TEST}, ["problems", "at least one"]),
        ({"test_problems": TEST}, ["without problems"]),
        ({"problems": TRAIN, "test_problems": TRAIN[:1]}, ["both problems and test_problems", "Make 48"]),
        ({"problems": [*TRAIN, ("?",)], "test_problems": TEST}, ["problems[3]", "'?'", "its answer"]),
        ({"problems": [*TRAIN, COUNTDOWN], "test_problems": TEST}, ["countdown, math"]),
        ({"problems": [COUNTDOWN, COUNTDOWN], "test_problems": TEST}, ["id", COUNTDOWN.id]),
        (
            {"problems": [replace(COUNTDOWN, task="sudoku")], "test_problems": [replace(SUDOKU, prompt="y")]},
            ["task 'sudoku'", "math"],
        ),
        ({"verifier": 3}, ["verifier is a int", "function"]),
        ({"verifier": "nobody"}, ["nobody", "math"]),
        ({"advantages": "nobody"}, ["rl.advantage", "nobody", "group_relative"]),
        ({"verifier": fails}, ["test_training:fails raised KeyError", "Problem"]),
        ({"verifier": unsure}, ["test_training:unsure gave 0.5"]),
        ({"overrides": ["rl.step=1"]}, ["rl.step", "steps"]),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_with_is_one_sentence(tmp_path: Path, given: dict[str, Any], words: list[str]):
    with pytest.raises(UserError) as refused:
        uq.train(SETTINGS, run=tmp_path / "run", **given)
    for word in words:
        assert word in str(refused.value)
    assert not (tmp_path / "run").exists()
