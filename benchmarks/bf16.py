"""What rounding alone gives in bf16: clip shares, KL moved, greedy log-probs, the gradient of the vocabulary head.

    python scripts/smollm2_checkpoint.py ./smollm2
    python benchmarks/bf16.py --model ./smollm2 --data ../shared/data --out docs/results/bf16-cpu.md

SmolLM2-135M-Instruct on GSM8K, bf16 autocast on a CPU, at temperature 1. Both sides are measured on the same rollouts:
the ratio to the log-probs that the engine gave, as it was before, and that of the trainer to its own, in the very
optimizer step. Every second response of a group counts as right: clip shares need advantages of both signs, no more.
Two things are then done to the weights, and seen in bf16 and in fp32: a move of 2e-9 each, and a step of AdamW.

The checkpoint is dequantised from 4 bits: up to a tenth of the weights of a matrix lie exactly half way between two
numbers of bf16, from where the smallest step takes them a whole one further. Weights in training are not like that, so
each is first moved by at most 2^-9 of itself at random, which is what bf16 would round away.
"""

import argparse
import contextlib
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pages import deliver, made_by
from unsqueeze.algos.mismatch import outside_clip_share
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.errors import UserError
from unsqueeze.evaluation.greedy import greedy_logp
from unsqueeze.policy import head as head_module
from unsqueeze.policy.batch import Row, collate
from unsqueeze.policy.optimize import optimizer_step
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Sampling
from unsqueeze.seeds import prompt_seeds
from unsqueeze.tasks.files import load_file_problems
from unsqueeze.tasks.prompts import PromptBuilder
from unsqueeze.tasks.styles import MATH_TEMPLATE, Wording
from unsqueeze.training.probe import mean_k3
from unsqueeze.training.rl_step import surrogate_loss

ALGORITHMS = ("grpo", "dapo", "gspo")
PROMPTS, GROUP, TOKENS = 2, 4, 48
MICROBATCH = 512
"""Tokens of a micro-batch: a step has several, and its gradient is accumulated over them."""
MOVE = 2e-9
RATE = 1e-6
CHUNKS = (1, 16, 64)
Logps = Sequence[NDArray[np.float32]]


@dataclass(frozen=True)
class Found:
    """Of one seed. Shares in [0, 1], nats per token."""

    clips: dict[str, dict[str, float]] = field(default_factory=dict)
    gaps: dict[str, float] = field(default_factory=dict)
    later: dict[str, float] = field(default_factory=dict)
    kl: dict[str, float] = field(default_factory=dict)
    greedy: dict[str, float] = field(default_factory=dict)
    head: dict[int, tuple[float, float]] = field(default_factory=dict)


def measure(policy: Policy, prompts: Sequence[Sequence[int]], seed: int) -> Found:
    found = Found()
    engine = HfEngine(policy.model, policy.tokenizer, autocast_dtype=torch.bfloat16)
    groups = engine.generate(prompts, GROUP, Sampling(max_tokens=TOKENS), seeds=prompt_seeds(seed, len(prompts)))
    count = sum(completion.num_tokens for group in groups for completion in group)
    rows = [
        Row(
            prompt_tokens=np.asarray(prompt, np.int32),
            tokens=completion.tokens,
            weight=1 / count,
            advantage=float((-1) ** place),
            logp_behaviour=completion.logp_behaviour,
        )
        for prompt, group in zip(prompts, groups, strict=True)
        for place, completion in enumerate(group)
    ]
    sampler = [row.logp_behaviour for row in rows if row.logp_behaviour is not None]
    logp = partial(policy.logp, rows, max_tokens=MICROBATCH)
    scored, exact = logp(), logp(in_fp32=True)
    found.gaps["mean |trainer − sampler|"] = float(np.abs(joined(scored) - joined(sampler)).mean())
    found.gaps["mean |trainer − fp32|"] = float(np.abs(joined(scored) - joined(exact)).mean())
    found.gaps["mean (sampler − fp32)"] = float((joined(sampler) - joined(exact)).mean(dtype=np.float64))
    found.kl["KL(sampler ‖ fp32), the same weights"] = mean_k3(joined(sampler), joined(exact))
    found.kl["KL(fp32 ‖ bf16), the same weights"] = mean_k3(joined(exact), joined(scored))
    for name, engine_of in (("bf16", engine), ("fp32", HfEngine(policy.model, policy.tokenizer))):
        found.greedy[name] = greedy_logp(engine_of, prompts, Sampling(max_tokens=TOKENS))
    found.head.update(head_errors(policy, rows))

    present = {name: parameter.detach().clone() for name, parameter in policy.trainable()}
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        for _, parameter in policy.trainable():
            parameter.add_(MOVE * torch.randn(parameter.shape, generator=generator).sign())
    moved(found, f"moved {MOVE:g} a weight", scored, exact, logp(), logp(in_fp32=True))
    policy.put_weights(present)

    for algorithm in ALGORITHMS:
        settings = RlSettings(algorithm=algorithm)
        found.clips[algorithm] = clip_shares(policy, rows, scored, settings)
    settings = RlSettings(algorithm="gspo")
    now, now_exact = logp(), logp(in_fp32=True)
    gaps = [np.subtract(*pair, dtype=np.float64) for pair in zip(now, scored, strict=True)]
    gaps_exact = [np.subtract(*pair, dtype=np.float64) for pair in zip(now_exact, exact, strict=True)]
    found.later["bf16"] = outside_clip_share(gaps, settings.surrogate)
    found.later["fp32"] = outside_clip_share(gaps_exact, settings.surrogate)
    moved(found, f"after a step of AdamW at {RATE:g}", scored, exact, now, now_exact)
    policy.put_weights(present)
    return found


def scatter(policy: Policy) -> None:
    """Move every weight off the grid of numbers that a quantised checkpoint knows."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, parameter in policy.trainable():
            parameter.mul_(1 + 2**-9 * (2 * torch.rand(parameter.shape, generator=generator) - 1))


def joined(logp: Logps) -> NDArray[np.float32]:
    return np.concatenate(logp)


def moved(found: Found, what: str, scored: Logps, exact: Logps, scored_now: Logps, exact_now: Logps) -> None:
    found.kl[f"{what}, seen in bf16"] = mean_k3(joined(scored), joined(scored_now))
    found.kl[f"{what}, seen in fp32"] = mean_k3(joined(exact), joined(exact_now))


def clip_shares(policy: Policy, rows: Sequence[Row], scored: Logps, settings: RlSettings) -> dict[str, float]:
    """The first step of a generation against its own log-probs, and the same forward pass against the sampler's.

    With GSPO the step is a real one; with the others no weight moves. ``scored`` is what the pass before it gave.
    """
    parameters = [parameter for _, parameter in policy.trainable()]
    is_real = settings.algorithm == "gspo"
    result = optimizer_step(
        policy,
        torch.optim.AdamW(parameters, lr=RATE) if is_real else torch.optim.SGD(parameters, lr=0.0),
        rows,
        partial(surrogate_loss, settings=settings),
        tokens_per_microbatch=MICROBATCH,
        max_grad_norm=1.0,
        keep_logp=True,
    )
    sampler = [row.logp_behaviour for row in rows if row.logp_behaviour is not None]
    gaps = [np.subtract(own, other, dtype=np.float64) for own, other in zip(result.logp, sampler, strict=True)]
    sampled = [replace(row, logp_proximal=row.logp_behaviour, logp_behaviour=None) for row in rows]
    return {
        "outside": outside_clip_share(gaps, settings.surrogate),
        "clipped": clipped(sampled, result.logp, settings),
        "own": result.metrics["clip_low_share"] + result.metrics["clip_high_share"],
        "own ratio": result.metrics["ratio_mean"],
        "scored": clipped(
            [replace(row, logp_proximal=logp_T) for row, logp_T in zip(rows, scored, strict=True)],
            result.logp,
            settings,
        ),
    }


def clipped(rows: Sequence[Row], logp: Logps, settings: RlSettings) -> float:
    """Share of tokens whose gradient the clip takes away, were these the log-probs of the policy."""
    batch = collate(rows, pad=0, device=torch.device("cpu"))
    logp_NT = torch.zeros(batch.mask_NT.shape)
    logp_NT[batch.mask_NT] = torch.from_numpy(joined(logp))
    output = surrogate_loss(logp_NT, torch.zeros_like(logp_NT), batch, settings=settings)
    shares = output.metrics["clip_low_share"] + output.metrics["clip_high_share"]
    return float(shares / output.weight)


def head_errors(policy: Policy, rows: Sequence[Row]) -> dict[int, tuple[float, float]]:
    """By number of chunks, the relative error of the head's gradient: with one copy of its weights in bf16, and now."""
    batch = collate(rows[:8], pad=policy.pad, device=policy.device)
    head = policy.model.get_output_embeddings()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        hidden_NSH = policy.model.base_model(input_ids=batch.tokens_NS, use_cache=False).last_hidden_state
        hidden_MH = hidden_NSH.flatten(0, 1).index_select(0, batch.sources)[:320]
        logits_MV = head(hidden_MH).double()
    targets_M = batch.responses_NT.flatten().index_select(0, batch.places)[:320]
    error_MV = logits_MV.softmax(dim=-1)
    error_MV[torch.arange(len(targets_M)), targets_M] -= 1
    exact = error_MV.T @ hidden_MH.bfloat16().double()
    return {
        num: (
            head_error(policy, hidden_MH, targets_M, num, exact, one_copy=True),
            head_error(policy, hidden_MH, targets_M, num, exact, one_copy=False),
        )
        for num in CHUNKS
    }


def head_error(
    policy: Policy, hidden_MH: Tensor, targets_M: Tensor, num_chunks: int, exact: Tensor, *, one_copy: bool
) -> float:
    head = policy.model.get_output_embeddings()
    logits = math.ceil(len(targets_M) / num_chunks) * head_module.head_size(head)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(head_module, "max_logits", return_value=logits))
        if one_copy:
            same_copy = mock.patch.object(head_module, "_casting_anew", return_value=contextlib.nullcontext())
            stack.enter_context(same_copy)
        stack.enter_context(torch.autocast("cpu", torch.bfloat16))
        logp_M, _ = head_module.token_logprobs(hidden_MH, targets_M, head, with_entropy=False)
    (gradient,) = torch.autograd.grad(-logp_M.sum(), [head.weight])
    return float((gradient - exact).norm() / exact.norm())


def report(found: Sequence[Found], seeds: Sequence[int]) -> str:
    def cell(values: Sequence[float], style: str) -> str:
        return ", ".join(format(value, style) for value in values)

    clips = [
        f"| {name.upper()} | {cell([100 * f.clips[name]['outside'] for f in found], '.1f')} | "
        f"{cell([100 * f.clips[name]['clipped'] for f in found], '.1f')} | "
        f"{cell([100 * f.clips[name]['own'] for f in found], 'g')} | "
        f"{cell([f.clips[name]['own ratio'] for f in found], 'g')} | "
        f"{cell([100 * f.clips[name]['scored'] for f in found], 'g')} |"
        for name in ALGORITHMS
    ]
    gaps = [f"| {name.replace('|', '∣')} | {cell([f.gaps[name] for f in found], '.2e')} |" for name in found[0].gaps]
    kl = [f"| {name} | {cell([f.kl[name] for f in found], '.1e')} |" for name in found[0].kl]
    greedy = [f"| {name} | {cell([f.greedy[name] for f in found], '.4f')} |" for name in found[0].greedy]
    head = [
        f"| {num} | {cell([100 * f.head[num][0] for f in found], '.2f')} | "
        f"{cell([100 * f.head[num][1] for f in found], '.2f')} |"
        for num in CHUNKS
    ]
    later = ", ".join(f"{name} {cell([100 * f.later[name] for f in found], '.0f')} %" for name in ("bf16", "fp32"))
    return "\n".join(
        [
            "# What rounding alone gives in bf16",
            "",
            f"{made_by('torch', 'transformers')} Seeds {', '.join(map(str, seeds))} ({PROMPTS} prompts × {GROUP} "
            f"responses of at most {TOKENS} tokens each): SmolLM2-135M-Instruct on GSM8K, bf16 autocast on a CPU. "
            "Cells hold a number a seed. The script says what is done to the weights first.",
            "",
            "## Step one of a generation: no weight has moved",
            "",
            "*Before* is the ratio to the sampler's log-probs, *own* that of the step to its own log-probs, *scored* "
            "that to a pass before it, over the same micro-batches, which later steps of a generation are against.",
            "",
            "| | before: ratios outside the clip range, % | before: tokens clipped, % | own: tokens clipped, % | own: "
            "mean ratio | scored: tokens clipped, % |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
            *clips,
            "",
            "Ratios are of tokens; of responses with GSPO.",
            "",
            "| log-probs of the same tokens by the same weights, nats | |",
            "| --- | ---: |",
            *gaps,
            "",
            "## Step two",
            "",
            f"GSPO after one step of AdamW at {RATE:g}: responses outside the clip range: {later}. In bf16 rounding, "
            "which alone puts as many there (step one), and the step itself cannot be told apart.",
            "",
            "## KL moved",
            "",
            "| k3 on these responses, nats per token | |",
            "| --- | ---: |",
            *kl,
            "",
            "## Greedy log-prob",
            "",
            "| decoded in | mean log-prob of the greedy answers, nats per token |",
            "| --- | ---: |",
            *greedy,
            "",
            "Log-probs of the same tokens differ by less (above): answers go another way where two tokens are about as "
            "likely.",
            "",
            "## Gradient of the vocabulary head",
            "",
            "Relative error to float64 from the same logits, for positions that go through the head in so many chunks.",
            "",
            "| chunks | before: one copy of the weights in bf16, % | now, % |",
            "| ---: | ---: | ---: |",
            *head,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of gsm8k_test.jsonl")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    policy = Policy.load(ModelSettings(path=arguments.model, compute_dtype="bfloat16", device="cpu"))
    problems = load_file_problems(arguments.data / "gsm8k_test.jsonl")
    builder = PromptBuilder(tokenizer=policy.tokenizer, wording=Wording(mode="chat", template=MATH_TEMPLATE))
    scatter(policy)
    found = []
    for seed in arguments.seeds:
        prompts = [builder.tokens(problem) for problem in problems[PROMPTS * seed : PROMPTS * (seed + 1)]]
        found.append(measure(policy, prompts, seed))
        print(found[-1], file=sys.stderr)
    page = report(found, arguments.seeds)
    deliver(page, arguments.out)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
