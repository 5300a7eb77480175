"""Measuring is bounded by the work of the phases, done once for each policy, shown, and counted."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from small_runs import random_recipe, small_recipe
from unsqueeze.config.load import load_recipe
from unsqueeze.progress import Advance, Silent, StopRequest
from unsqueeze.rollout import hf
from unsqueeze.training import setup
from unsqueeze.training.loop import train
from unsqueeze.training.phase_start import PhaseStart
from unsqueeze.training.probe import ProbeSamples, RoundingFloor
from unsqueeze.training.watching import Stopwatch, num_watched


@pytest.mark.parametrize(
    ("sections", "count"),
    [
        # 50 steps of 16 × 8 rollouts: 3 gauges of 9 passes and 40 for the reports, of 0.2 × 6,400: 19 would do.
        ({"rl": {"prompts_per_step": 16, "group_size": 8}, "irl": {"every_steps": 50}}, 16),
        # 2 gauges and the reports are 58 passes a prompt; 0.2 × 10 × 128 / 58 = 4.4.
        ({"rl": {"prompts_per_step": 16, "group_size": 8}, "irl": {"every_steps": 10}}, 4),
        # One pass over 1,280 problems is 80 steps of 16 × 2: 5 gauges of 5 answers; 0.05 × 2,560 / 25 = 5.1.
        ({"rl": {"prompts_per_step": 16, "group_size": 2}, "irl": {"every_steps": None}}, 5),
        # 50 gauges of 5 answers each, of 0.05 × 1,600 rollouts: 0.32; and 0.2 × 1,600 / (459 + 40) = 0.64.
        ({"rl": {"group_size": 8}, "irl": {"every_steps": 50}, "evaluation": {"gauges_every_steps": 1}}, 2),
        ({"irl": {"every_steps": 1, "kl_budget": 0.1}}, 16),
        ({"irl": {"every_steps": 1}, "evaluation": {"watched_prompts": 9}}, 9),
        ({"irl": None, "evaluation": {"gauges_every_steps": None}}, 16),
        # 3 steps of 16 × 8 between two gauges: 0.2 × 384 / 9 = 8.5, and 0.05 × 384 / 5 = 3.84.
        ({"rl": {"prompts_per_step": 16, "group_size": 8}, "irl": None, "evaluation": {"gauges_every_steps": 3}}, 3),
    ],
)  # fmt: skip
def test_how_many_prompts_are_watched_by_hand(sections: dict[str, Any], count: int):
    recipe = small_recipe(**sections, data={"num_train": 1280})
    assert num_watched(recipe, 1280) == count
    longer = recipe.model_copy(update={"rl": recipe.rl.model_copy(update={"steps": 99})})
    assert num_watched(longer, 1280) == count


@pytest.mark.parametrize("name", ["quickstart", "gsm8k-smollm2"])
def test_ordinary_phases_watch_sixteen(name: str):
    recipe = load_recipe(name, [])
    assert num_watched(recipe, recipe.data.num_train or 0) == 16


def test_a_stopwatch_counts_what_is_inside_once(monkeypatch: pytest.MonkeyPatch):
    now = iter([0.0, 1.0, 4.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    watch = Stopwatch(5.0)
    with watch.running(), watch.running():
        pass
    assert watch.seconds == 5.0 + 4.0


class Shown(Silent):
    """Keeps what work was shown, and how much of it was said to be done."""

    def __init__(self) -> None:
        self.work_done: list[tuple[str, int, int]] = []

    @contextmanager
    def work(self, label: str, total: int) -> Iterator[Advance]:
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count

        yield advance
        self.work_done.append((label, total, done))


@pytest.mark.usefixtures("judged_by_hash")
def test_every_policy_is_measured_once_and_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """RL of 2 steps, IRL, RL, IRL, RL of the last step: before training and at five ends, six policies in all."""
    asked: list[float] = []
    generate = hf.HfEngine.generate

    def counted(self: Any, prompts: Any, n: int, sampling: Any, **keywords: Any) -> Any:
        asked.append(sampling.temperature)
        return generate(self, prompts, n, sampling, **keywords)

    monkeypatch.setattr(hf.HfEngine, "generate", counted)
    recipe = random_recipe(evaluation={"n": 4})
    parts, shown = setup.load_parts(recipe), Shown()
    directory = setup.open_directory(recipe, parts, tmp_path / "run")
    run = setup.put_together(recipe, parts, directory, progress=shown, stop=StopRequest())
    reports = train(run, reference=parts.reference)
    run.verifier.close()
    directory.close()
    gauged = [event["policy_version"] for event in directory.journal.read() if event["event"] == "gauged"]
    assert len(set(gauged)) == 6
    # Greedy answers of six policies to watched prompts, and in the evaluations before and after training.
    assert asked.count(0.0) == 6 + 2
    # Two watched prompts: 4 answers drawn and a greedy one each.
    measured = [each for each in shown.work_done if each[0] == "measuring on watched prompts"]
    assert measured == [("measuring on watched prompts", 10, 10)] * 6
    told = [each for each in shown.work_done if each[0].endswith("report")]
    # 16 rows of the phase's own batch, or as many as it has, and the 8 answers from before.
    assert [total for _, total, _ in told] == [24, 24, 24, 24, 24]
    assert all(total == done for _, total, done in told)
    assert [report.num_watched for report in reports] == [2] * 5
    assert all(report.measuring_s > 0 for report in reports)
    for before, after in pairwise(reports):
        assert before.greedy_logp_after == after.greedy_logp_before


def test_time_that_measuring_takes_is_not_that_of_the_phase(monkeypatch: pytest.MonkeyPatch):
    """5 s before a stop and 10 s since, 3 s of them measuring: 15 s in all, 12 s of work."""
    monkeypatch.setattr(time, "perf_counter", lambda: 20.0)
    start = PhaseStart(
        weights={},
        samples=ProbeSamples((), (), ()),
        floor=RoundingFloor(kl_rounding=0.0, kl_sampler=0.0, logp_rounding=0.0),
        greedy_logp=-0.1,
        version=0,
        clock=10.0,
        seconds_before=5.0,
        stopwatch=Stopwatch(3.0),
    )
    assert (start.seconds_so_far(), start.working_seconds()) == (15.0, 12.0)
