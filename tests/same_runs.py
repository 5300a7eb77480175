"""Runs, and tensors, that are the same but for the rounding of sums in another order."""

from pathlib import Path
from typing import Any

import pytest
import torch

from unsqueeze.store.run_directory import RunDirectory

ROUNDING = 1e-5
"""Adam divides by what it has seen of a gradient and so enlarges its rounding: up to 2.5e-6 was seen over a run."""


def assert_same_run(path: Path, other: Path) -> None:
    """Rollouts equal but for the last bits of log-probs, metrics, reports and evaluations to rounding."""
    one, two = RunDirectory.open(path), RunDirectory.open(other)
    assert two.rollouts.steps() == one.rollouts.steps()
    for step in one.rollouts.steps():
        for ours, theirs in zip(one.rollouts.read(step), two.rollouts.read(step), strict=True):
            assert ours.problem == theirs.problem
            assert ours.judgements == theirs.judgements
            for rollout, other in zip(ours.rollouts, theirs.rollouts, strict=True):
                assert (rollout.group, rollout.index, rollout.policy_version) == (
                    other.group,
                    other.index,
                    other.policy_version,
                )
                assert rollout.completion.tokens.tolist() == other.completion.tokens.tolist()
    assert [record.keys() for record in two.metrics.read()] == [record.keys() for record in one.metrics.read()]
    for ours, theirs in zip(one.metrics.read(), two.metrics.read(), strict=True):
        assert numbers(theirs) == pytest.approx(numbers(ours), abs=ROUNDING)
    for ours, theirs in zip(reports(one), reports(two), strict=True):
        assert numbers(theirs) == pytest.approx(numbers(ours), abs=ROUNDING, rel=1e-4)
    assert averages(two) == averages(one)


def averages(run: RunDirectory) -> dict[int, float]:
    """What each evaluation found."""
    return {step: run.evals.summary(step).avg.mean for step in run.evals.steps()}


def assert_close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], atol: float = 1e-6) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.allclose(ours[name].double(), theirs[name].double(), rtol=0, atol=atol), name


def numbers(record: dict[str, Any]) -> dict[str, float]:
    """The numbers of a record that two runs share: no timings."""
    timed = ("seconds", "share_of_rl_seconds", "seq")
    return {
        key: value
        for key, value in record.items()
        if isinstance(value, int | float) and not key.endswith("_s") and key not in timed
    }


def reports(run: RunDirectory) -> list[dict[str, Any]]:
    return [event for event in run.journal.read() if event["event"] == "phase_finished"]
