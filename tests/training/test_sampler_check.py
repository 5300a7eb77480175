"""An engine that samples from something else than is trained is found on the first rollouts, and rounding is not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertLMHeadModel

from small_runs import prepare, random_recipe
from tiny_models import BYTE_VOCABULARY, byte_tokenizer, tiny_llama, tiny_tokenizer
from unsqueeze.errors import RunError, UserError
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Completion, Sampling
from unsqueeze.training.loop import train
from unsqueeze.training.rehearsal import check_sampler
from unsqueeze.training.sampler_check import NUM_ROLLOUTS, sampler_gap

PROMPTS = [[1, 5, 6, 7], [1, 9], [1, 4, 4, 4, 8, 10]]


def drawn(dtype: torch.dtype) -> tuple[Policy, list[Row], list[np.ndarray]]:
    """A policy that computes in ``dtype``, and what the engine drew from it."""
    model = tiny_llama()
    policy = Policy(model, tiny_tokenizer(), compute_dtype=dtype)
    engine = HfEngine(model, tiny_tokenizer(), autocast_dtype=None if dtype is torch.float32 else dtype)
    groups = engine.generate(PROMPTS, 8, Sampling(max_tokens=24), seeds=[1, 2, 3])
    rows = [
        Row(prompt_tokens=np.asarray(prompt, np.int32), tokens=completion.tokens, weight=0.0)
        for prompt, group in zip(PROMPTS, groups, strict=True)
        for completion in group
    ]
    return policy, rows, [completion.logp_raw for group in groups for completion in group]


def test_in_fp32_an_engine_that_is_right_is_within_rounding() -> None:
    policy, rows, logp = drawn(torch.float32)
    found = sampler_gap(policy, rows, logp, max_tokens=100)
    assert found.num_rollouts == NUM_ROLLOUTS
    assert found.gap <= found.gap_token < 1e-5
    assert (found.rounding, found.limit, found.limit_token) == (0, 0.01, 0.1)
    assert found.refusal("hf") is None


def test_in_bf16_the_gap_is_judged_by_what_rounding_gives() -> None:
    policy, rows, logp = drawn(torch.bfloat16)
    found = sampler_gap(policy, rows, logp, max_tokens=100)
    exact = policy.logp(rows, max_tokens=100, in_fp32=True)
    plain = policy.logp(rows, max_tokens=100)
    assert 0 < found.rounding <= max(np.abs(a - b).mean() for a, b in zip(exact, plain, strict=True)) + 1e-7
    assert found.limit == pytest.approx(0.01 + 4 * found.rounding)
    assert found.gap > 1e-4, "in this precision the engine and a plain pass are not one to the bit"
    assert found.refusal("hf") is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_another_distribution_is_told_from_rounding(dtype: torch.dtype) -> None:
    policy, rows, logp = drawn(dtype)
    limits = sampler_gap(policy, rows, logp, max_tokens=100)
    longest = max(range(len(rows)), key=lambda i: (rows[i].num_tokens, i))  # of several the one that is looked at
    everywhere = [each + np.float32(2 * limits.limit) for each in logp]
    assert "samples from another distribution" in str(
        sampler_gap(policy, rows, everywhere, max_tokens=100).refusal("hf")
    )
    once = [each.copy() for each in logp]
    once[longest][-1] -= 2 * limits.limit_token  # the end of the longest response alone, as behind a switch
    assert sampler_gap(policy, rows, once, max_tokens=100).refusal("hf") is not None


def test_one_response_is_enough(tmp_path: Path) -> None:
    policy, rows, logp = drawn(torch.float32)
    found = sampler_gap(policy, rows[:1], logp[:1], max_tokens=100)
    assert (found.num_rollouts, found.num_tokens) == (1, len(rows[0].tokens))


def test_a_model_that_sees_what_follows_is_refused_before_training() -> None:
    config = BertConfig(
        vocab_size=BYTE_VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.3,
        is_decoder=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertLMHeadModel(config).eval()
    policy = Policy(model, byte_tokenizer())
    prompt = [1, 20, 30]
    completion = HfEngine(model, byte_tokenizer()).generate([prompt], 1, Sampling(max_tokens=4), seeds=[0])[0][0]
    with pytest.raises(UserError, match="not causal cannot be trained"):
        check_sampler(policy, prompt, completion)


class Off:
    """An engine that is off by ``nats`` in every log-prob, as one is that draws from something else."""

    def __init__(self, engine: Any, nats: float) -> None:
        self._engine = engine
        self._nats = np.float32(nats)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, *given: Any, **named: Any) -> list[list[Completion]]:
        groups: Sequence[Sequence[Completion]] = self._engine.generate(*given, **named)
        return [[replace(each, logp_raw=each.logp_raw + self._nats) for each in group] for group in groups]


def checked(run: Any) -> list[dict[str, Any]]:
    return [event for event in run.directory.journal.read() if event["event"] == "sampler_checked"]


@pytest.mark.usefixtures("judged_by_hash")
def test_what_was_found_is_journalled_once_a_run(tmp_path: Path) -> None:
    recipe = random_recipe(rl={"steps": 2}, irl=None)
    run, reference = prepare(recipe, tmp_path / "run")
    train(run, reference=reference)
    (event,) = checked(run)
    assert event["num_rollouts"] == 16
    assert event["gap"] <= event["gap_token"] < 1e-5 < event["limit"] == 0.01
    assert event["limit_token"] == 0.1
    run.directory.close()


@pytest.mark.usefixtures("judged_by_hash")
def test_a_run_whose_engine_is_off_stops_before_it_learns(tmp_path: Path) -> None:
    run, reference = prepare(random_recipe(irl=None), tmp_path / "run")
    with pytest.raises(RunError, match=r"engine are 0\.05 nats a token .* Nothing was learned, and no rollout stored"):
        train(replace(run, engine=Off(run.engine, 0.05)), reference=reference)
    assert run.directory.rollouts.steps() == []
    assert run.policy.version == 0
    run.directory.close()
