"""The checks of ``gpu_check.py``, in the order they are run."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gpu_checks.numbers import agreement, environment, head_gradient, sampling, speed, standstill
from gpu_checks.runs import irl_phase, memory, resume, rl_step, tests, vllm, vllm_run
from gpu_checks.setting import Found, Setting, SkipCheck
from unsqueeze.policy.loading import without_progress_bars

__all__ = ["Check", "Found", "SkipCheck", "checks_of"]


@dataclass(frozen=True, slots=True)
class Check:
    """A check by name. ``budget_s`` is the most it may take."""

    name: str
    run: Callable[[], Found]
    budget_s: float


def checks_of(device: str, models: Sequence[str], sizes: tuple[int, int, int]) -> list[Check]:
    """Every check, the cheap and telling ones first; ``sizes`` are prompts, responses a prompt and tokens of each."""
    without_progress_bars()
    prompts, group, tokens = sizes
    small = Setting(device=device, model=models[0], dtype="float32", prompts=prompts, group=group, tokens=tokens)
    made: list[Check] = []

    def add(name: str, function: Callable[..., Found], setting: Setting, budget_s: float, **keywords: Any) -> None:
        made.append(Check(name, partial(afresh, function, setting, **keywords), budget_s))

    add("environment", environment, small, 60)
    for model in models:
        for dtype in ("float32", "bfloat16"):
            setting = replace(small, model=model, dtype=dtype)
            label = f"{short(model)} {dtype}"
            add(f"agreement {label}", agreement, setting, 60)
            add(f"sampling {label}", sampling, setting, 60)
    for model in models:
        bf16 = replace(small, model=model, dtype="bfloat16")
        add(f"standstill {short(model)} bfloat16", standstill, bf16, 45)
        add(f"head gradient {short(model)} bfloat16", head_gradient, bf16, 45)
    for dtype in ("float32", "bfloat16"):
        setting = replace(small, dtype=dtype)
        for algorithm in ("grpo", "dapo", "gspo", "dr_grpo"):
            add(f"RL step {algorithm} {dtype}", rl_step, setting, 45, algorithm=algorithm)
        add(f"IRL phase {dtype}", irl_phase, setting, 45)
    for model in models[1:]:
        add(f"RL step grpo {short(model)} bfloat16", rl_step, replace(setting, model=model), 60, algorithm="grpo")
    last = replace(small, model=models[-1], dtype="bfloat16")
    add("RL step LoRA bfloat16", rl_step, last, 45, algorithm="grpo", lora=True)
    add("resume float32", resume, small, 60)
    for model in models:
        add(f"memory {short(model)} bfloat16", memory, replace(last, model=model), 60)
        for dtype in ("float32", "bfloat16"):
            more = 8 if device == "cuda" else 1
            setting = replace(small, model=model, dtype=dtype, group=more * group, tokens=more * tokens)
            add(f"speed {short(model)} {dtype}", speed, setting, 60)
    add("vLLM", vllm, last, 150)
    add("vLLM run", vllm_run, last, 150)
    add("tests", tests, small, 120)
    return made


def afresh(function: Callable[..., Found], setting: Setting, **keywords: Any) -> Found:
    """Run a check once what the last one left behind is gone."""
    gc.collect()
    if setting.device == "cuda":
        torch.cuda.empty_cache()
    return function(setting, **keywords)


def short(model: str) -> str:
    """A model's name without its folders."""
    return Path(model).name or model
