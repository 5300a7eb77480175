"""`uq.select` on a run of ours, ranked by the policy as it is now."""

from pathlib import Path

import numpy as np
import pytest

import unsqueeze as uq
from small_runs import random_recipe, run_to_end

pytestmark = pytest.mark.usefixtures("judged_by_hash")


def test_the_present_policy_ranks_a_run_and_its_phase_begins_there(tmp_path: Path):
    run_to_end(random_recipe(rl={"steps": 2}, irl=None), tmp_path / "run")
    (checkpoint,) = sorted((tmp_path / "run" / "checkpoints").glob("*2/policy"))
    demos = tmp_path / "demos.jsonl"
    behaviour = list(uq.select(tmp_path / "run", k=2))
    selected = uq.select(tmp_path / "run", model=checkpoint, k=2, out=demos)
    present = list(selected)
    assert {demo["likelihood_under"] for demo in behaviour} == {"behaviour"}
    assert {demo["likelihood_under"] for demo in present} == {"present"}
    # The tokens are those that were sampled, and so are the log-probs of the very policy that sampled the last step's.
    by_tokens = {tuple(demo["tokens"]): demo["mean_logp"] for demo in behaviour if demo["step"] == 1}
    shared = [demo for demo in present if demo["step"] == 1 and tuple(demo["tokens"]) in by_tokens]
    assert shared
    result = uq.irl(checkpoint, demos, out=tmp_path / "irl", steps=1, learning_rate=1e-5)
    assert result.num_by_ids == len(present)
    tokens = np.array([demo["num_tokens"] for demo in present])
    mean_logp = np.array([demo["mean_logp"] for demo in present])
    assert result.report.nll_before == pytest.approx(-float((tokens * mean_logp).sum() / tokens.sum()), abs=1e-4)
    assert selected.reading.num_compared == selected.reading.num_rows
