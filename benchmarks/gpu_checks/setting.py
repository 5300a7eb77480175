"""Where a check runs and on what, what it finds, and what all checks share.

The CPU is what a device is compared with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.policy import head
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Completion, Sampling
from unsqueeze.seeds import prompt_seeds
from unsqueeze.tasks.countdown import countdown_problems
from unsqueeze.tasks.problem import Problem

# Nats per token, mean over tokens, between the device and the CPU in fp32. TF32 alone would give about 1e-3.
FP32_GAP = 1e-4
# bf16 keeps 8 bits of each factor; what SmolLM2 and the embedded model give on a CPU is about 0.01.
BF16_GAP = 0.1
# Relative L2 distance of gradients of all weights.
FP32_GRADIENT, BF16_GRADIENT = 1e-3, 0.1


class SkipCheck(Exception):  # noqa: N818  (no error: what is said is why a check has nothing to check here)
    """There is nothing to check, for the reason given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a check runs, on what, and how much it does: ``prompts`` × ``group`` responses of at most ``tokens``."""

    device: str
    model: str
    dtype: str
    prompts: int
    group: int
    tokens: int

    def model_settings(self, **changes: Any) -> ModelSettings:
        given = {"path": self.model, "device": self.device, "compute_dtype": self.dtype} | changes
        return ModelSettings.model_validate(given)


@dataclass(frozen=True, slots=True)
class Found:
    """Outcome of a check: is it as it must be, one sentence, and the numbers."""

    ok: bool
    says: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


def problems_of(count: int) -> list[Problem]:
    return list(countdown_problems(count, 1, 0)[0])


def prompts_of(policy: Policy, count: int) -> list[list[int]]:
    return [policy.tokenizer(problem.prompt)["input_ids"] for problem in problems_of(count)]


def random_rows(policy: Policy, setting: Setting) -> list[Row]:
    """Rows of fixed tokens that no model drew, so that every device scores the same."""
    draws = np.random.default_rng(0)
    vocabulary = head.head_size(policy.model.get_output_embeddings())
    lengths = [max(1, setting.tokens - i % 7) for i in range(setting.prompts * setting.group)]
    return [
        Row(
            prompt_tokens=np.asarray(prompt, dtype=np.int32),
            tokens=draws.integers(3, vocabulary, size=length).astype(np.int32),
            weight=1.0 / (len(lengths) * length),
        )
        for length, prompt in zip(lengths, prompts_of(policy, setting.prompts) * setting.group, strict=True)
    ]


def scored(policy: Policy, rows: Sequence[Row]) -> np.ndarray:
    return np.concatenate(policy.logp(rows, max_tokens=8192)).astype(np.float64)


def needs(package: str) -> None:
    if find_spec(package) is None:
        raise SkipCheck(f"the package {package} is not installed")


def engine_of(policy: Policy, *, max_rows: int = 256) -> HfEngine:
    """The embedded engine, computing in the policy's precision."""
    dtype = None if policy.compute_dtype is torch.float32 else policy.compute_dtype
    return HfEngine(policy.model, policy.tokenizer, max_rows=max_rows, autocast_dtype=dtype)


def draw(engine: Any, policy: Policy, setting: Setting, *, seed: int = 0) -> tuple[list[Row], list[Completion]]:
    """Responses of an engine to the setting's prompts, and the same as rows."""
    prompts = prompts_of(policy, setting.prompts)
    groups = engine.generate(
        prompts, setting.group, Sampling(max_tokens=setting.tokens), seeds=prompt_seeds(seed, len(prompts))
    )
    pairs = [(prompt, one) for prompt, group in zip(prompts, groups, strict=True) for one in group]
    rows = [Row(prompt_tokens=np.asarray(p, dtype=np.int32), tokens=one.tokens, weight=0.0) for p, one in pairs]
    return rows, [one for _, one in pairs]
