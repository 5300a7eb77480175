"""Every tensor of a run on a GPU is on the GPU: whole runs on a pretended one, which refuses mixed devices.

``pretended_cuda`` says what that is; ``docs/gpu.md`` says what it cannot see.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

import unsqueeze as uq
from lives import differences, live, tiny_recipe
from pretended_cuda import OnCuda, pretended_cuda
from same_runs import numbers
from small_runs import run_to_end, small_recipe, weights
from tiny_models import random_countdown, tiny_llama, tiny_qwen2, tiny_tokenizer
from unsqueeze.api.health import generation
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.errors import Interrupted
from unsqueeze.evaluation.entropy import mean_entropy
from unsqueeze.policy import policy as policy_module
from unsqueeze.policy.batch import Row, TokenBatch, collate
from unsqueeze.policy.optimize import make_optimizer, optimizer_step
from unsqueeze.policy.policy import Policy
from unsqueeze.policy.shared_prompts import SharedPrompts
from unsqueeze.progress import StopRequest
from unsqueeze.rollout import decode, queue, sampling
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Sampling
from unsqueeze.training import state
from unsqueeze.training.preflight import preflight
from unsqueeze.training.rl_step import surrogate_loss
from unsqueeze.training.setup import load_parts

pytestmark = pytest.mark.usefixtures("judged_by_hash")

LORA = {"rank": 2, "target_modules": "all-linear"}
RUNS: dict[str, dict[str, Any]] = {
    "plain, KL to the base, IRL with guard and budget, cut off sampling": {
        "data": {"seed": 1},  # the two differ by rounding; with the problems of seed 0 it decides a draw of a gauge
        "rollout": {"top_k": 7, "top_p": 0.9, "temperature": 0.8, "stop": ["="], "max_tokens": 8},
        "rl": {"kl_coefficient": 0.1, "entropy_coefficient": 0.01},
        "irl": {"kl_guard": 0.1, "kl_budget": 1e-7},
    },
    "LoRA in bf16, KL to the phase's start, recomputed activations": {
        "model": {"lora": LORA, "compute_dtype": "bfloat16", "gradient_checkpointing": True},
        "rl": {"kl_coefficient": 0.1, "reference": "iteration"},
    },
    "bf16, GSPO, two steps a generation": {
        "model": {"compute_dtype": "bfloat16"},
        "rl": {"algorithm": "gspo", "steps_per_generation": 2, "sampler_correction": "token"},
    },
    "LoRA, DAPO": {
        "model": {"lora": LORA},
        "rl": {
            "algorithm": "dapo",
            "dynamic_sampling": {"max_resample_times": 1},
            "overlong": {"soft_cache_length": 4},
        },
    },
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if place > 1 else []) for place, name in enumerate(RUNS)]
)
def test_a_run_on_a_gpu_is_the_run_on_the_cpu(name: str, tmp_path: Path) -> None:
    """Same rollouts, metrics and weights: what is on the GPU is computed here by the same kernels."""
    settings = RUNS[name]
    here, _ = run_to_end(tiny_recipe(**settings), tmp_path / "cpu")
    with pretended_cuda():
        on_gpu = settings | {"model": settings.get("model", {}) | {"device": "cuda"}}
        there, _ = run_to_end(tiny_recipe(**on_gpu), tmp_path / "cuda")
    ours, theirs = weights(here), weights(there)
    assert all(isinstance(weight, OnCuda) for weight in theirs.values())
    for key, weight in ours.items():
        torch.testing.assert_close(theirs[key].numbers, weight, rtol=0, atol=1e-6)
    for step in here.directory.rollouts.steps():
        assert tokens_of(there, step) == tokens_of(here, step)
    for line, expected in zip(lines(there), lines(here), strict=True):
        of_gpu = numbers(line)
        assert of_gpu.pop("peak_device_mb", 1.0) == 1.0
        assert of_gpu == pytest.approx(numbers(expected), abs=1e-6, rel=1e-5, nan_ok=True)


def lines(run: Any) -> list[dict[str, Any]]:
    return list(run.directory.metrics.read())


def tokens_of(run: Any, step: int) -> list[list[int]]:
    return [
        rollout.completion.tokens.tolist() for group in run.directory.rollouts.read(step) for rollout in group.rollouts
    ]


class StopAt(StopRequest):
    """Asks a run to stop once it has saved a checkpoint inside its first phase."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def check(self) -> None:
        if (self.path / "checkpoints" / "step-000002").exists():
            raise Interrupted("stop")


@pytest.mark.slow
def test_a_run_on_a_gpu_goes_on_after_a_stop_inside_a_phase(tmp_path: Path) -> None:
    recipe = tiny_recipe(model={"device": "cuda"}, irl={"optimizer_state": "persistent"})
    with pretended_cuda():
        live(recipe, tmp_path / "whole")
        with pytest.raises(Interrupted):
            live(recipe, tmp_path / "cut", StopAt(tmp_path / "cut"))
        live(recipe, tmp_path / "cut")
    assert differences(tmp_path / "whole", tmp_path / "cut") == []


def test_before_a_run_and_beside_it(tmp_path: Path) -> None:
    """The rehearsal, the doctor's answer, an evaluation, a diagnosis with entropies."""
    recipe = small_recipe(
        model={"path": str(random_countdown()), "device": "cuda", "lora": LORA},
        rl={"kl_coefficient": 0.1},
        irl={"kl_guard": 0.1},
    )
    texts: Any = ([[1, 5]], [["1 + 2", "3"]], [[True, False]])
    with pretended_cuda():
        estimate, _ = preflight(recipe, load_parts(recipe), tmp_path / "run")
        assert estimate.memory.peak > 0
        assert "H100" in generation("cuda").detail
        model = uq.load_model(str(random_countdown()), max_rows=4, device="cuda")
        assert uq.evaluate(model, "countdown", n=2, limit=2, max_tokens=6).samples.num_rows == 4
        entropy = mean_entropy(model.policy, *texts)
    here = uq.load_model(str(random_countdown()), device="cpu")
    assert entropy == pytest.approx(mean_entropy(here.policy, *texts), rel=1e-6)


@pytest.mark.parametrize("model", [tiny_llama, tiny_qwen2])
def test_prompts_of_two_lengths_and_weights_that_are_handed_over(model: Callable[..., Any]) -> None:
    prompts, drawing = [[1, 4, 5], [1, 6]], Sampling(max_tokens=5, min_tokens=2)

    def drawn(device: str) -> tuple[list[list[int]], list[tuple[str, list[Any]]]]:
        policy = Policy(model().to(device), tiny_tokenizer())
        groups = HfEngine(policy.model, policy.tokenizer, max_rows=3).generate(prompts, 2, drawing, seeds=[1, 2])
        handed = [(name, weight.cpu().tolist()) for name, weight in policy.exported_weights()]
        return [one.tokens.tolist() for group in groups for one in group], handed

    with pretended_cuda():
        there = drawn("cuda")
    assert there == drawn("cpu")


# Faults as they are made, each of which must be found: a tensor left on the CPU, one read without a copy, a generator
# of the other device, a state that comes back from a file on the CPU.


def row(**extra: Any) -> Row:
    numbers = np.array([-0.5, -0.25], dtype=np.float32)
    fields = {
        "prompt_tokens": np.array([1, 4], dtype=np.int32),
        "tokens": np.array([5, 2], dtype=np.int32),
        "weight": 0.5,
        "advantage": 1.0,
        "logp_proximal": numbers,
        "logp_ref": numbers,
        "logp_behaviour": numbers,
        "distance_cost": numbers,
    }
    return Row(**(fields | extra))


def step_on(collating: Callable[..., TokenBatch]) -> None:
    """One RL step with every term of the loss, on batches that ``collating`` makes."""
    settings = tiny_recipe(rl={"kl_coefficient": 0.1, "entropy_coefficient": 0.01}).rl
    policy = Policy(tiny_llama().to("cuda"), tiny_tokenizer())
    short = row(prompt_tokens=np.array([1], dtype=np.int32))
    with mock.patch.object(policy_module, "collate", collating):
        optimizer_step(
            policy,
            make_optimizer(policy, settings),
            [row(), row(), short, short],
            partial(surrogate_loss, settings=settings),
            tokens_per_microbatch=64,
            max_grad_norm=1.0,
            with_entropy=True,
        )


def parts_of(made: TokenBatch, read_whole: bool) -> TokenBatch | SharedPrompts:
    if read_whole:
        return made
    assert made.shared is not None
    return made.shared


@pytest.mark.parametrize(
    ("name", "read_whole"),
    [(field.name, True) for field in fields(TokenBatch) if field.name != "shared"]
    + [(field.name, False) for field in fields(SharedPrompts)],
)
def test_a_part_of_a_batch_that_stays_on_the_cpu_is_found(name: str, read_whole: bool) -> None:
    def whole(rows: Sequence[Row], **keywords: Any) -> TokenBatch:
        return collate(rows, **(keywords | {"share_prompts": not read_whole}))

    def forgetful(rows: Sequence[Row], **keywords: Any) -> TokenBatch:
        made = whole(rows, **keywords)
        parts = parts_of(made, read_whole)
        forgotten = replace(parts, **{name: getattr(parts, name).cpu()})
        return forgotten if isinstance(forgotten, TokenBatch) else replace(made, shared=forgotten)

    with pretended_cuda():
        step_on(whole)
        with pytest.raises(RuntimeError, match="device"):
            step_on(forgetful)


def generate_on_gpu() -> None:
    policy = Policy(tiny_llama().to("cuda"), tiny_tokenizer())
    engine = HfEngine(policy.model, policy.tokenizer, max_rows=2)
    engine.generate([[1, 4, 5], [1, 6]], 4, Sampling(max_tokens=4, min_tokens=2), seeds=[1, 2])


def uniforms_on_gpu(num_rows: int, num_tokens: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((num_rows, num_tokens), generator=generator, dtype=torch.float64, device="cuda")


def ids_on_cpu(logits: Tensor, uniforms: Tensor, **keywords: Any) -> Any:
    banned = keywords.pop("banned")
    return sampling.sample_tokens(logits, uniforms, banned=None if banned is None else banned.cpu(), **keywords)


def uniforms_on_cpu(logits: Tensor, uniforms: Tensor, **keywords: Any) -> Any:
    return sampling.sample_tokens(logits, uniforms.cpu(), **keywords)


def taking_by_cpu(prefill: Callable[..., Any], *arguments: Any) -> Any:
    rows = prefill(*arguments)
    take = rows.take
    rows.take = lambda index_N, max_steps: take(index_N.cpu(), max_steps)
    return rows


IN_ENGINE: dict[str, tuple[Any, str, Any]] = {
    "a generator of the CPU": (queue, "token_uniforms", uniforms_on_gpu),
    "numbers of the CPU": (decode, "sample_tokens", uniforms_on_cpu),
    "barred ids of the CPU": (decode, "sample_tokens", ids_on_cpu),
    "rows by indices of the CPU": (queue, "prefill", partial(taking_by_cpu, queue.prefill)),
}


@pytest.mark.parametrize("name", IN_ENGINE)
def test_faults_of_the_engine_are_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_cuda():
        generate_on_gpu()
        monkeypatch.setattr(*IN_ENGINE[name])
        with pytest.raises(RuntimeError, match="device"):
            generate_on_gpu()


def optimizer_left_on_cpu(tensor: Tensor, parameters: Any, name: str) -> Tensor:
    return tensor


def test_moments_that_come_back_on_the_cpu_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_placed", optimizer_left_on_cpu)
    recipe = tiny_recipe(model={"device": "cuda"}, evaluation={"n": 1})
    with pretended_cuda():
        with pytest.raises(Interrupted):
            live(recipe, tmp_path / "run", StopAt(tmp_path / "run"))
        with pytest.raises(RuntimeError, match="device"):
            live(recipe, tmp_path / "run")


def test_reading_the_gpu_without_a_copy_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(tiny_llama(), tiny_tokenizer())
    with pretended_cuda():
        policy.model.to("cuda")
        assert policy.logp([row()], max_tokens=8)[0].shape == (2,)
        monkeypatch.setattr(OnCuda, "cpu", lambda self: self, raising=False)
        with pytest.raises(TypeError, match="numpy"):
            policy.logp([row()], max_tokens=8)


def test_autocast_of_the_other_device_is_found() -> None:
    """It would compute in fp32 and say nothing; the run above in bf16 would differ from that on the CPU."""
    settings = ModelSettings(path=str(random_countdown()), device="cuda", compute_dtype="bfloat16")
    with pretended_cuda():
        policy = Policy.load(settings)
        in_bf16 = policy.logp([row()], max_tokens=8)[0]
        other = torch.autocast("cpu", dtype=torch.bfloat16)
        with mock.patch.object(Policy, "_autocast", return_value=other):
            forgotten = policy.logp([row()], max_tokens=8)[0]
    assert np.abs(in_bf16 - forgotten).max() > 1e-5
