"""On a real GPU what the pretended one cannot show: its numbers, its memory. ``benchmarks/gpu_check.py`` runs these."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lives import tiny_recipe
from small_runs import run_to_end
from tiny_models import random_countdown, tiny_llama, tiny_tokenizer
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.device_errors import device_errors
from unsqueeze.errors import RunError
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Sampling

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.usefixtures("judged_by_hash"),
]

ROWS = [
    Row(
        prompt_tokens=np.array([1, 4], dtype=np.int32),
        tokens=np.arange(3, 3 + length, dtype=np.int32),
        weight=0.5,
    )
    for length in (2, 9)
]


def policies(**settings: object) -> tuple[Policy, Policy]:
    here, there = ({"path": str(random_countdown()), "device": device} for device in ("cpu", "cuda"))
    return Policy.load(ModelSettings.model_validate(here)), Policy.load(ModelSettings.model_validate(there | settings))


@pytest.mark.parametrize(("dtype", "gap"), [("float32", 1e-4), ("bfloat16", 0.05)])
def test_log_probs_are_those_of_the_cpu(dtype: str, gap: float) -> None:
    cpu, gpu = policies(compute_dtype=dtype)
    for ours, theirs in zip(gpu.logp(ROWS, max_tokens=64), cpu.logp(ROWS, max_tokens=64), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=gap)


def test_the_engine_draws_what_it_draws_on_the_cpu() -> None:
    drawn = [
        [
            one.tokens.tolist()
            for group in HfEngine(tiny_llama().to(device), tiny_tokenizer()).generate(
                [[1, 4, 5], [1, 6]], 4, Sampling(max_tokens=6), seeds=[1, 2]
            )
            for one in group
        ]
        for device in ("cpu", "cuda")
    ]
    assert drawn[0] == drawn[1]


def test_a_run_trains_and_says_what_memory_it_took(tmp_path: Path) -> None:
    run, reports = run_to_end(tiny_recipe(model={"device": "cuda"}, rl={"kl_coefficient": 0.1}), tmp_path / "run")
    lines = list(run.directory.metrics.read())
    assert all(line["peak_device_mb"] > 0 for line in lines if line["kind"] == "rl")
    assert any(report.kind == "irl" and report.share_moved > 0 for report in reports)
    assert all(math.isfinite(line["loss"]) for line in lines if line.get("loss") is not None)


def test_running_out_of_memory_is_one_sentence() -> None:
    with pytest.raises(RunError, match="out of memory while filling"), device_errors("filling it", "Fill less."):
        torch.empty(2**50, device="cuda")
