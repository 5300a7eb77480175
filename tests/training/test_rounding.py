"""What is measured by two passes is measured in fp32, and the report says what rounding alone would have given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from small_runs import random_recipe, run_to_end
from tiny_models import tiny_llama, tiny_tokenizer
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Sampling
from unsqueeze.training.measure import mean_nll_of
from unsqueeze.training.phase_report import NOTHING_MOVED_NATS, PhaseReport
from unsqueeze.training.probe import Probe, ProbeSamples, mean_k3


@pytest.fixture
def policy() -> Policy:
    return Policy(tiny_llama(), tiny_tokenizer(), compute_dtype=torch.bfloat16)


@pytest.fixture
def probe() -> Probe:
    return Probe(prompts=((3, 4, 5), (6, 7)), sampling=Sampling(max_tokens=24), max_batch_tokens=256)


def drawn(policy: Policy, probe: Probe) -> ProbeSamples:
    dtype = None if policy.compute_dtype is torch.float32 else policy.compute_dtype
    engine = HfEngine(policy.model, policy.tokenizer, autocast_dtype=dtype)
    return probe.sample(engine, policy, seed=0)


def nudge(policy: Policy, relative: float) -> None:
    """Move every weight by so much of itself, up or down."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in policy.trainable():
            parameter.mul_(1 + relative * torch.randn(parameter.shape, generator=generator).sign())


def test_a_move_that_bf16_cannot_tell_is_seen_in_fp32(policy: Policy, probe: Probe) -> None:
    """1e-5 of each weight moves log-probs by a few times as much: a KL near 1e-9. In bf16 it flips a few weights in a
    thousand by 2^-8, and whatever is computed from them is rounded otherwise.
    """
    samples = drawn(policy, probe)
    rounded = policy.logp(samples.rows, max_tokens=256)
    assert probe.kl_moved(policy, samples) == 0.0
    nudge(policy, 1e-5)
    assert 0 < probe.kl_moved(policy, samples) < 1e-8 < NOTHING_MOVED_NATS
    rounded_now = policy.logp(samples.rows, max_tokens=256)
    assert mean_k3(np.concatenate(rounded), np.concatenate(rounded_now)) > NOTHING_MOVED_NATS


def test_the_floor_is_what_the_same_weights_give(policy: Policy, probe: Probe) -> None:
    samples = drawn(policy, probe)
    floor = probe.floor(policy, samples)
    exact, rounded = (
        np.concatenate(Policy(policy.model, policy.tokenizer, compute_dtype=dtype).logp(samples.rows, max_tokens=256))
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert floor.kl_rounding == mean_k3(exact, rounded) > 1e-7
    sampler = np.concatenate(samples.logp_sampler)
    assert floor.kl_sampler == mean_k3(sampler, exact) > 1e-7
    assert floor.logp_rounding == pytest.approx(float((sampler - exact).mean(dtype=np.float64)), abs=1e-6)
    assert samples.entropy == pytest.approx(-float(exact.mean(dtype=np.float64)), abs=1e-12)


def test_the_floor_of_fp32_is_none(probe: Probe) -> None:
    policy = Policy(tiny_llama(), tiny_tokenizer())
    samples = drawn(policy, probe)
    floor = probe.floor(policy, samples)
    assert floor.kl_rounding == 0.0
    assert 0 < floor.kl_sampler < 1e-10  # the engine's cache and the trainer's whole pass round alike, to 1e-6 nats


def test_the_nll_of_a_report_is_that_of_fp32(policy: Policy, probe: Probe) -> None:
    rows = drawn(policy, probe).rows
    exact = mean_nll_of(Policy(policy.model, policy.tokenizer), rows, max_tokens=256)
    assert mean_nll_of(policy, rows, max_tokens=256) == exact


IDLE: dict[str, Any] = {"steps": 3, "batch_size": 4, "kl_budget": 1e-6, "learning_rate": 2e-6}


@pytest.mark.usefixtures("judged_by_hash")
def test_rounding_spends_no_budget_and_a_phase_that_moved_nothing_says_so(tmp_path: Path) -> None:
    recipe = random_recipe(
        model={"compute_dtype": "bfloat16"},
        rl={"steps": 2, "learning_rate": 2e-6},
        irl=IDLE | {"every_steps": 2},
        evaluation={"n": 1},
        checkpoint={"every_steps": 1},
    )
    run, reports = run_to_end(recipe, tmp_path / "run")
    assert [report.kind for report in reports] == ["rl", "irl"]
    for report in reports:
        assert report.did_nothing
        assert 0 < report.kl_moved < NOTHING_MOVED_NATS
        assert report.kl_rounding > 1e-7
    irl = [line for line in run.directory.metrics.read() if line["kind"] == "irl"]
    assert len(irl) == IDLE["steps"]
    assert all(line["kl_moved"] < IDLE["kl_budget"] for line in irl)
    assert PhaseReport.all_in(run.directory.journal.read()) == reports
