"""What a report says of a phase comes from the trainer's own forward pass, before and after."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unsqueeze as uq
from small_runs import prepare, small_recipe, weights
from unsqueeze.algos.schedule import Phase
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.progress import Silent, StopRequest
from unsqueeze.rollout.engines import make_engine
from unsqueeze.rollout.types import Completion
from unsqueeze.training import generate as generate_module
from unsqueeze.training import setup
from unsqueeze.training.generate import generate
from unsqueeze.training.measure import first_rollouts, mean_nll, mean_nll_at, start_phase
from unsqueeze.training.stream import ProblemStream

OFFSET = 0.25
SETTINGS: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "threads": 1,
    "data": {"kind": "countdown", "num_train": 6, "num_test": 2},
    "rollout": {"max_tokens": 8},
    "rl": {"steps": 2, "prompts_per_step": 2, "group_size": 4, "learning_rate": 1e-3},
    "evaluation": {"n": 2},
}


class Off:
    """An engine whose log-probs are off by a constant, as those of another implementation are by a little."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, *arguments: Any, **keywords: Any) -> list[list[Completion]]:
        groups = self._engine.generate(*arguments, **keywords)
        return [[self._off(completion) for completion in group] for group in groups]

    def _off(self, completion: Completion) -> Completion:
        return Completion(
            tokens=completion.tokens,
            text=completion.text,
            logp_raw=completion.logp_raw - np.float32(OFFSET),
            logp_behaviour=completion.logp_behaviour - np.float32(OFFSET),
            stop_reason=completion.stop_reason,
        )


@pytest.fixture
def engine_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "make_engine", lambda settings, policy: Off(make_engine(settings, policy)))
    # So far off, a run would be refused.
    monkeypatch.setattr(generate_module, "check_first_rollouts", lambda run, groups: None)


@pytest.mark.usefixtures("engine_is_off")
def test_a_phase_without_updates_moves_nothing_whatever_the_engine_says(tmp_path: Path):
    """Every answer is wrong, so no group teaches anything and no update is made."""
    trained = uq.train(SETTINGS, run=tmp_path / "run", verifier=lambda problem, response: False)
    (report,) = trained.reports
    assert report.num_updates == 0
    assert report.nll_before == report.nll_after
    sampled = np.concatenate([np.asarray(row) for row in trained.run.rollouts([1])["logp_raw"].to_pylist()])
    assert -sampled.mean() == pytest.approx(report.nll_before + OFFSET, rel=1e-4)


@pytest.mark.usefixtures("engine_is_off")
def test_a_phase_with_updates_is_measured_with_both_its_weights(tmp_path: Path):
    trained = uq.train(SETTINGS, run=tmp_path / "run", verifier=lambda problem, response: len(response) % 2 == 0)
    (report,) = trained.reports
    assert report.num_updates == 2
    run = trained.run
    first = run.rollouts([1]).to_pylist()
    rows = [row_of(rollout["prompt_tokens"], rollout["tokens"]) for rollout in first]
    for path, found in ((run.recipe.model.path, report.nll_before), (run.checkpoints[2], report.nll_after)):
        policy = Policy.load(run.recipe.model.model_copy(update={"path": str(path)}))
        logp = np.concatenate(policy.logp(rows, max_tokens=4096))
        assert found == pytest.approx(-float(logp.mean()), rel=1e-5)
    assert report.nll_before != report.nll_after


def row_of(prompt: list[int], tokens: list[int]) -> Row:
    return Row(prompt_tokens=np.asarray(prompt, np.int32), tokens=np.asarray(tokens, np.int32), weight=0.0)


def test_the_present_weights_are_put_back(tmp_path: Path):
    recipe = uq.Recipe.model_validate(SETTINGS)
    parts = setup.load_parts(recipe)
    directory = setup.open_directory(recipe, parts, tmp_path / "run")
    run = setup.put_together(recipe, parts, directory, progress=Silent(), stop=StopRequest())
    start = start_phase(run, Phase(0, "rl", 1, 2))
    generate(run, ProblemStream(run.train_problems, seed=3), range(1, 2), phase=0)
    rows = first_rollouts(run, Phase(0, "rl", 1, 2), 128)
    assert len(rows) == 8
    before = mean_nll(run, rows)
    with torch.no_grad():
        for _, parameter in run.policy.trainable():
            parameter.mul_(1.01)
    moved, after = weights(run), mean_nll(run, rows)
    assert mean_nll_at(run, start, rows) == before != after
    assert all(torch.equal(value, moved[name]) for name, value in weights(run).items())
    assert mean_nll(run, rows) == after
    run.verifier.close()
    directory.close()


@pytest.mark.parametrize(("kl_budget", "own"), [(0.1, True), (None, False)])
def test_a_budget_of_kl_is_spent_on_responses_of_the_phase_itself(tmp_path: Path, kl_budget: float | None, own: bool):
    """Those of the gauges are drawn from one seed in every phase; with a budget they would decide what is learned."""
    recipe = small_recipe(irl={"every_steps": 1, "kl_budget": kl_budget})
    run, _ = prepare(recipe, tmp_path / "run")
    phase = Phase(1, "irl", 1, 1)
    start = start_phase(run, phase)
    seed = run.seed("probe", phase.number) if own else run.seed("gauges")
    wanted = run.probe.sample(run.engine, run.policy, seed=seed)
    assert [row.tokens.tolist() for row in start.samples.rows] == [row.tokens.tolist() for row in wanted.rows]
    other = run.probe.sample(run.engine, run.policy, seed=run.seed("probe", 2))
    assert [row.tokens.tolist() for row in start.samples.rows] != [row.tokens.tolist() for row in other.rows]
    run.verifier.close()
    run.directory.close()
