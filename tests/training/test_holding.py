"""IRL phases as strong as the squeezing asks for (irl.hold), and weaker from phase to phase (irl.phase_schedule)."""

import itertools
from pathlib import Path

import pytest
import torch

from small_runs import prepare, random_recipe, run_to_end, weights
from unsqueeze.training import irl_phase, measure
from unsqueeze.training.irl_phase import settings_of_phase

pytestmark = pytest.mark.usefixtures("judged_by_hash")


def test_a_band_that_is_never_left_is_plain_rl_and_no_fault(tmp_path: Path):
    """Reduction: an IRL phase that is not asked for changes no bit, and is not warned of."""
    control, _ = run_to_end(random_recipe(irl=None), tmp_path / "control")
    held, reports = run_to_end(random_recipe(irl={"hold": {"gauge": "entropy", "share": 0.01}}), tmp_path / "held")
    irl = [report for report in reports if report.kind == "irl"]
    assert [report.num_updates for report in irl] == [0, 0]
    assert all(report.in_band and report.did_nothing and report.warning() is None for report in irl)
    ours, theirs = weights(held), weights(control)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_band_that_is_never_reached_takes_all_updates(tmp_path: Path):
    open_loop, _ = run_to_end(random_recipe(), tmp_path / "open")
    held, reports = run_to_end(random_recipe(irl={"hold": {"gauge": "greedy_logp", "share": 1e6}}), tmp_path / "held")
    assert [report.num_updates for report in reports if report.kind == "irl"] == [2, 2]
    assert not any(report.in_band for report in reports)
    ours, theirs = weights(held), weights(open_loop)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_phase_ends_with_the_update_that_reaches_the_band(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    answers = itertools.chain([False, False, False, True], itertools.repeat(True))
    monkeypatch.setattr(irl_phase, "in_band", lambda _: next(answers))
    monkeypatch.setattr(measure, "in_band", lambda _: True)
    settings = {"steps": 5, "hold": {"gauge": "entropy", "share": 0.9}}
    run, reports = run_to_end(random_recipe(irl=settings), tmp_path / "run")
    assert [report.num_updates for report in reports if report.kind == "irl"] == [3, 0]
    assert [report.in_band for report in reports if report.kind == "irl"] == [False, True]
    lines = [line for line in run.directory.metrics.read() if line["kind"] == "irl"]
    assert ["gauge_entropy" in line for line in lines] == [False, False, True]


@pytest.mark.parametrize(
    ("schedule", "shares"), [("constant", [1, 1, 1]), ("linear", [1, 2 / 3, 1 / 3]), ("cosine", [1, 0.75, 0.25])]
)
def test_phases_grow_weaker(tmp_path: Path, schedule: str, shares: list[float]):
    recipe = random_recipe(rl={"steps": 7}, irl={"phase_schedule": schedule, "learning_rate": 1e-3})
    run, _ = prepare(recipe, tmp_path / "run")
    run.directory.close()
    phases = [phase for phase in recipe.phases(12) if phase.kind == "irl"]
    rates = [settings_of_phase(run, phase).learning_rate for phase in phases]
    assert rates == pytest.approx([1e-3 * share for share in shares])
