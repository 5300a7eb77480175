"""Whatever draws from a model ends where it is told to: rollouts, evaluations, gauges, watched prompts, servers."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import unsqueeze as uq
from openai_server import choice, serving
from small_runs import random_recipe, run_to_end
from unsqueeze.errors import UserError
from unsqueeze.evaluation.measured import differing_settings, measured_by
from unsqueeze.progress import Silent
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Sampling, StopReason
from unsqueeze.tasks.countdown import make_problem

STOP = ("=",)
PROBLEM = make_problem([2, 3, 4], 9)
DEMO = {"prompt": "Make 24 from 1 2 3 4.", "completion": "1 * 2 = 2, 2 * 3 = 6, 6 * 4 = 24"}


class Heard(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sampling]:
    """Every request of an engine in this process."""
    seen: list[Sampling] = []
    generate = HfEngine.generate

    def noting(self, prompts, n, sampling, **more):
        seen.append(sampling)
        return generate(self, prompts, n, sampling, **more)

    monkeypatch.setattr(HfEngine, "generate", noting)
    return seen


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with stop texts, and all that it asked of its engine in ``asked.json``."""
    path, seen = tmp_path_factory.mktemp("runs") / "run", []
    from small_runs import judging_by_hash

    with judging_by_hash(), pytest.MonkeyPatch.context() as patch:
        generate = HfEngine.generate
        patch.setattr(
            HfEngine,
            "generate",
            lambda self, prompts, n, sampling, **more: (
                seen.append(sampling) or generate(self, prompts, n, sampling, **more)
            ),
        )
        run_to_end(
            random_recipe(
                data={"num_validation": 2}, rollout={"stop": list(STOP)}, rl={"steps": 2}, evaluation={"n": 2}
            ),
            path,
        )
    (path.parent / "asked.json").write_text(json.dumps([[one.temperature, one.stop] for one in seen]))
    return path


def test_in_training_everything_that_is_drawn_ends_at_them(run: Path):
    """Rollouts and watched prompts at temperature 1, evaluations at 0.7, greedy answers at 0."""
    drawn = json.loads((run.parent / "asked.json").read_text())
    assert {temperature for temperature, _ in drawn} == {0.0, 0.7, 1.0}
    assert all(tuple(stop) == STOP for _, stop in drawn)


def test_they_travel_from_a_run(run: Path, asked: list[Sampling], tmp_path: Path):
    heard = Heard()
    found = uq.diagnose(run, [PROBLEM], n=2, max_tokens=8, out=tmp_path / "found.json", progress=heard)
    assert any("stop ['=']" in text for text in heard.said)
    assert found.record["settings"]["own"]["stop"] == list(STOP)
    assert json.loads((tmp_path / "found.json").read_text())["settings"]["own"]["max_tokens"] == 8
    uq.load_model(str(run)).sample([PROBLEM], 2, max_tokens=4)
    demos = tmp_path / "demos.jsonl"
    demos.write_text(json.dumps(DEMO) + "\n")
    result = uq.irl(run, demos, out=tmp_path / "after", steps=1)
    assert json.loads((result.path / "irl_report.json").read_text())["watched"]["stop"] == list(STOP)
    assert {one.temperature for one in asked} == {0.0, 0.7, 1.0}
    assert {one.stop for one in asked} == {STOP}


def test_they_can_be_given(asked: list[Sampling], tmp_path: Path, command):
    plain = uq.evaluate("countdown-0.4m", "countdown", out=tmp_path / "plain", n=2, limit=2)
    assert {one.stop for one in asked} == {()}
    asked.clear()
    flags = ["countdown-0.4m", "--task", "countdown", "--n", "2", "--limit", "2", "--stop", "=", "--stop", "7 "]
    code, _, err = command("eval", *flags, "--out", str(tmp_path / "cut"))
    assert code == 0, err
    code, _, err = command("diagnose", *flags, "--out", str(tmp_path / "cut.json"))
    assert code == 0, err
    (tmp_path / "demos.jsonl").write_text(json.dumps(DEMO) + "\n")
    more = ["--demos", str(tmp_path / "demos.jsonl"), "--steps", "1", "--stop", "=", "--stop", "7 "]
    code, _, err = command("irl", "countdown-0.4m", *more, "--out", str(tmp_path / "after"))
    assert code == 0, err
    assert {one.stop for one in asked} == {("=", "7 ")}
    assert {one.temperature for one in asked} == {0.0, 0.7, 1.0}
    assert set(pq.read_table(tmp_path / "cut" / "samples.parquet")["stop_reason"].to_pylist()) == {
        StopReason.STOP.value
    }
    assert list(differing_settings(measured_by(plain), measured_by(tmp_path / "cut"))) == ['stop [] and ["=", "7 "]']


def test_a_server_is_asked_for_them_from_the_first_request_on(command, tmp_path: Path):
    with serving(lambda path, body: (200, choice("2 + 3 ", [-1.0], chat="messages" in body))) as server:
        flags = ["tiny", "--server", server.url, "--task", "countdown", "--n", "2", "--limit", "2", "--stop", "="]
        for name, out in (("eval", "out"), ("diagnose", "out.json")):
            code, _, err = command(name, *flags, "--out", str(tmp_path / out))
            assert code == 0, err
        bodies: list[dict[str, Any]] = server.bodies("/v1/chat/completions")
        # A request to try it and four samples of each command, and two greedy answers.
        assert len(bodies) == 12
        assert all(body["stop"] == ["="] for body in bodies)


def test_an_empty_one_would_end_everything():
    with pytest.raises(UserError, match="a stop text is empty"):
        Sampling(max_tokens=3, stop=("=", ""))
