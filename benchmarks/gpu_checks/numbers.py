"""What a device computes, against the CPU, and how fast."""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch

from gpu_checks.setting import (
    BF16_GAP,
    BF16_GRADIENT,
    FP32_GAP,
    FP32_GRADIENT,
    Found,
    Setting,
    draw,
    engine_of,
    prompts_of,
    random_rows,
    scored,
)
from unsqueeze.algos.irl import nll_loss
from unsqueeze.api.health import generation
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.policy import head
from unsqueeze.policy.batch import Row, collate
from unsqueeze.policy.optimize import make_optimizer, optimizer_step
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.types import Completion, Sampling
from unsqueeze.seeds import prompt_seeds
from unsqueeze.training.irl_phase import demonstration_loss
from unsqueeze.training.phase_report import NOTHING_MOVED_NATS
from unsqueeze.training.probe import Probe


def gradient(policy: Policy, rows: Sequence[Row]) -> torch.Tensor:
    """The gradient of the rows' NLL, all weights in one vector, on the CPU."""
    batch = collate(rows, pad=policy.pad, device=policy.device)
    logp_NT, _ = policy.logprobs(batch, with_entropy=False)
    (-(logp_NT.double() * batch.weights_N[:, None])).sum().backward()
    parts = [weight.grad for _, weight in policy.trainable() if weight.grad is not None]
    return torch.cat([part.flatten().cpu().double() for part in parts])


def environment(setting: Setting) -> Found:
    """What is here; one answer of the embedded model."""
    facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda, "cpus": os.cpu_count()}
    if setting.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "name": properties.name,
            "memory_gib": properties.total_memory / 2**30,
            "capability": f"{properties.major}.{properties.minor}",
            "bf16": torch.cuda.is_bf16_supported(),
            "tf32": torch.backends.cuda.matmul.allow_tf32,
            "num_devices": torch.cuda.device_count(),
        }
    finding = generation(setting.device)
    return Found(finding.works, finding.detail, facts)


def agreement(setting: Setting) -> Found:
    """Log-probs and gradients against the CPU's in fp32."""
    ours, exact = (
        Policy.load(setting.model_settings()),
        Policy.load(setting.model_settings(device="cpu", compute_dtype="float32")),
    )
    rows = random_rows(exact, setting)
    gap = np.abs(scored(ours, rows) - scored(exact, rows))
    true = gradient(exact, rows[:4])
    apart = float((gradient(ours, rows[:4]) - true).norm() / true.norm())
    allowed, allowed_gradient = (FP32_GAP, FP32_GRADIENT) if setting.dtype == "float32" else (BF16_GAP, BF16_GRADIENT)
    ok = bool(gap.mean() <= allowed and apart <= allowed_gradient)
    says = (
        f"log-probs {gap.mean():.1e} nats/token from the CPU's in fp32 (at most {gap.max():.1e}), gradients {apart:.1e}"
    )
    numbers = {"logp_gap_mean": float(gap.mean()), "logp_gap_max": float(gap.max()), "gradient_gap": apart}
    return Found(ok, says, numbers | {"allowed": allowed, "allowed_gradient": allowed_gradient})


def sampling(setting: Setting) -> Found:
    """The hf engine: what it says of its tokens against what the trainer says, and the tokens against the CPU's."""

    def drawn(policy: Policy) -> tuple[list[Row], list[Completion]]:
        return draw(engine_of(policy, max_rows=setting.group), policy, setting)

    ours = Policy.load(setting.model_settings())
    rows, there = drawn(ours)
    _, here = drawn(Policy.load(setting.model_settings(device="cpu")))
    gap = np.abs(scored(ours, rows) - np.concatenate([one.logp_raw for one in there]))
    same = float(np.mean([a.tokens.tolist() == b.tokens.tolist() for a, b in zip(there, here, strict=True)]))
    allowed = 10 * FP32_GAP if setting.dtype == "float32" else BF16_GAP
    says = f"engine and trainer {gap.mean():.1e} nats/token apart; {same:.0%} of responses are those of the CPU"
    return Found(bool(gap.mean() <= allowed), says, {"gap_mean": float(gap.mean()), "same_responses": same})


def standstill(setting: Setting) -> Found:
    """A phase that moves the policy by less than rounding must be known for one that did nothing."""
    policy = Policy.load(setting.model_settings())
    engine = engine_of(policy)
    prompts = tuple(tuple(prompt) for prompt in prompts_of(policy, setting.prompts))
    probe = Probe(prompts, Sampling(max_tokens=setting.tokens), 8192)
    before = probe.sample(engine, policy, seed=0)
    idle = probe.kl_moved(policy, before)
    with torch.no_grad():
        for _, weight in policy.trainable():
            weight.add_(2e-9)
    moved = probe.kl_moved(policy, before)
    floor = probe.floor(policy, before)
    says = (
        f"idle {idle:.1e}, after 2e-9 on every weight {moved:.1e} nats/token; engine and trainer {floor.kl_sampler:.1e}"
    )
    return Found(
        idle < NOTHING_MOVED_NATS and moved < NOTHING_MOVED_NATS,
        says,
        {"idle": idle, "moved": moved, "kl_rounding": floor.kl_rounding, "kl_sampler": floor.kl_sampler},
    )


def head_gradient(setting: Setting) -> Found:
    """The vocabulary head's gradient over many chunks, against one chunk, in bf16."""
    policy = Policy.load(setting.model_settings(compute_dtype="bfloat16"))
    rows = random_rows(policy, setting)

    def found() -> torch.Tensor:
        for _, weight in policy.trainable():
            weight.grad = None
        gradient(policy, rows)
        grown = policy.model.get_output_embeddings().weight.grad
        assert isinstance(grown, torch.Tensor)
        return grown.double().cpu()

    whole = found()
    with mock.patch.object(head, "head_size", return_value=2**60):  # one position a chunk
        chunked = found()
    apart = float((chunked - whole).norm() / whole.norm())
    num_chunks = sum(len(row.tokens) for row in rows)
    return Found(apart < 0.02, f"{num_chunks} chunks against one: {apart:.1e} of the gradient", {"relative_gap": apart})


def speed(setting: Setting) -> Found:
    """Tokens a second: drawn, scored, trained on."""
    policy = Policy.load(setting.model_settings())
    rows = setting.prompts * setting.group
    engine = engine_of(policy, max_rows=rows)
    prompts = prompts_of(policy, setting.prompts)
    longest = setting.tokens if policy.context is None else policy.context - max(map(len, prompts))
    setting = replace(setting, tokens=min(setting.tokens, longest))
    fixed = Sampling(max_tokens=setting.tokens, min_tokens=setting.tokens)
    batch = random_rows(policy, setting)
    settings = RlSettings()
    nll = partial(demonstration_loss, loss=nll_loss, kl_guard=0.0)
    optimizer = make_optimizer(policy, settings)
    work: dict[str, Callable[[], object]] = {
        "drawn": lambda: engine.generate(prompts, setting.group, fixed, seeds=prompt_seeds(0, len(prompts))),
        "scored": lambda: policy.logp(batch, max_tokens=8192),
        "trained": lambda: optimizer_step(policy, optimizer, batch, nll, tokens_per_microbatch=8192, max_grad_norm=1.0),
    }
    counts = {"drawn": rows * setting.tokens, "scored": sum(r.num_tokens for r in batch)}
    counts["trained"] = counts["scored"]
    rates = {name: counts[name] / _seconds(once, setting.device) for name, once in work.items()}
    says = ", ".join(f"{rate:,.0f} tokens/s {name}" for name, rate in rates.items())
    return Found(all(map(math.isfinite, rates.values())), f"{rows} rows: {says}", rates)


def _seconds(once: Callable[[], object], device: str) -> float:
    """The time of the second call; the first warms up."""
    once()
    if device == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    once()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun
