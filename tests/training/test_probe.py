"""Prompts that phase reports and a KL budget watch: of validation or training problems, never of test problems."""

import json
from pathlib import Path
from typing import Any

import pytest

from small_runs import prepare, random_recipe
from unsqueeze.training.loop import train
from unsqueeze.training.run import Run

pytestmark = pytest.mark.usefixtures("judged_by_hash")


def problems_watched(run: Run) -> list[str]:
    everything = (*run.train_problems, *run.validation_problems, *run.test_problems)
    names = {tuple(run.prompt_tokens(problem)): problem.id for problem in everything}
    return [names[prompt] for prompt in run.probe.prompts]


@pytest.mark.parametrize(
    ("data", "watched", "count"),
    [
        ({}, "training", 12),
        ({"num_train": 40}, "training", 16),
        ({"num_validation": 3}, "validation", 3),
    ],
)
def test_test_problems_steer_nothing(tmp_path: Path, data: dict[str, Any], watched: str, count: int):
    run, _ = prepare(random_recipe(data=data, evaluation={"watched_prompts": 16}), tmp_path / "run")
    source = {"training": run.train_problems, "validation": run.validation_problems}[watched]
    names = problems_watched(run)
    assert run.watched_set == watched
    assert len(set(names)) == count
    # Evenly over those there are: a file sorted by subject shows all its subjects.
    assert names == [source[place * len(source) // count].id for place in range(count)]
    run.directory.close()


def test_a_budget_says_what_it_watched(tmp_path: Path):
    """A budget that the first update spends, and one that none does."""
    for budget, validation, watched in ((1e-12, 2, "validation"), (1e9, None, "training")):
        said: list[str] = []
        recipe = random_recipe(
            data={"num_validation": validation}, rl={"steps": 2}, irl={"kl_budget": budget}, evaluation={"n": 1}
        )
        run, reference = prepare(recipe, tmp_path / watched)
        run.progress.warn = said.append  # type: ignore[method-assign]
        train(run, reference=reference)
        run.directory.close()
        journal = (tmp_path / watched / "journal.jsonl").read_text().splitlines()
        reports = [event for event in map(json.loads, journal) if event["event"] == "phase_finished"]
        assert [report["watched"] for report in reports] == [watched, watched]
        assert reports[1]["num_updates"] == (1 if budget < 1 else 2)
        assert any("on training prompts; raise irl.steps" in text for text in said) is (budget > 1)
