"""Gauges of squeezing: at the same RL steps in every arm, and without a trace in what is learned."""

import math
from pathlib import Path

import pytest
import torch

import unsqueeze as uq
from small_runs import prepare, random_recipe, run_to_end, weights
from unsqueeze.progress import Silent
from unsqueeze.training.gauges import measure_gauges

pytestmark = pytest.mark.usefixtures("judged_by_hash")

EVERY_THREE = {"gauges_every_steps": 3}


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory):
    """SPS with RL phases of two steps, and its control: five RL steps each."""
    folder = tmp_path_factory.mktemp("arms")
    sps = run_to_end(random_recipe(evaluation=EVERY_THREE), folder / "sps")
    return {"sps": sps, "control": run_to_end(random_recipe(evaluation=EVERY_THREE, irl=None), folder / "control")}


def read_at(run) -> list[tuple[int, str | None]]:
    table = uq.open_run(run.directory.path).gauges
    return list(zip(table["step"].to_pylist(), table["kind"].to_pylist(), strict=True))


def test_every_arm_is_read_at_the_fixed_steps_and_where_its_phases_end(arms):
    assert read_at(arms["control"][0]) == [(0, None), (3, "rl"), (5, "rl")]
    ends = [(2, "rl"), (2, "irl"), (4, "rl"), (4, "irl")]
    assert read_at(arms["sps"][0]) == [(0, None), *ends[:2], (3, "rl"), *ends[2:], (5, "rl")]


def test_journal_metrics_and_phase_reports_say_the_same(arms):
    run, reports = arms["sps"]
    table = uq.open_run(run.directory.path).gauges.to_pylist()
    lines = [line for line in run.directory.metrics.read() if "gauge_greedy_logp" in line]
    assert [(line["policy_version"], line["gauge_greedy_logp"], line["gauge_entropy"]) for line in lines] == [
        (event["policy_version"], event["greedy_logp"], event["entropy"]) for event in table[1:]
    ]
    at_ends = {(event["step"], event["kind"]): event["greedy_logp"] for event in table}
    for report in reports:
        assert at_ends[report.last_step, report.kind] == report.greedy_logp_after


def test_reading_them_changes_no_bit_of_the_training(arms, tmp_path: Path):
    run, _ = arms["sps"]
    often, _ = run_to_end(random_recipe(evaluation={"gauges_every_steps": 1}), tmp_path / "often")
    assert len(read_at(often)) > len(read_at(run))
    assert all(torch.equal(weight, weights(often)[name]) for name, weight in weights(run).items())
    losses = [[line["loss"] for line in each.directory.metrics.read()] for each in (run, often)]
    assert losses[0] == losses[1]


def test_a_policy_that_knows_nothing_has_the_entropy_of_its_vocabulary(tmp_path: Path):
    """All logits equal: every token has log-prob −ln V, greedy or drawn."""
    run, _ = prepare(random_recipe(), tmp_path / "run")
    with torch.no_grad():
        for _, parameter in run.policy.trainable():
            parameter.zero_()
    gauges = measure_gauges(run)
    size = run.policy.model.config.vocab_size
    assert gauges.entropy == pytest.approx(math.log(size), rel=1e-5)
    assert gauges.greedy_logp == pytest.approx(-math.log(size), rel=1e-5)


def test_the_live_line_follows_them(tmp_path: Path):
    """A control is one phase: without fixed steps its display would stand still to the end."""

    class Seen(Silent):
        def __init__(self) -> None:
            self.gauges: list[float] = []

        def gauge(self, greedy_logp: float) -> None:
            self.gauges.append(greedy_logp)

    seen = Seen()
    recipe = random_recipe(irl=None, evaluation={"gauges_every_steps": 1})
    trained = uq.train(recipe, run=tmp_path / "run", progress=seen)
    read = trained.run.gauges["greedy_logp"].to_pylist()
    assert len(set(read)) == 6
    assert set(read) <= set(seen.gauges)
