"""Rollouts: the step that is written out beside the step that is transformers' own.

    python benchmarks/decode_step.py --out docs/results/decode-step-cpu.md
    python benchmarks/decode_step.py --model ./smollm2 --problems gsm8k_train.jsonl \
        --prompts 4 --rollouts 2 8 32 --max-tokens 48 --turns 5

Both engines draw the same rollouts, of the embedded model and Countdown or of one's own, in one process and taking
turns; times are CPU time, which other work on the machine lengthens less than time by the clock. The gap is between the
log-probs of the two, where they drew the same tokens.
"""

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from models import add_model, check_model, control_of, name_of, prompts_of
from pages import deliver, made_by, median_and_range
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout import hf
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.plain_rows import steps_as_the_model
from unsqueeze.rollout.types import Completion, Sampling


class Side:
    """One engine, its CPU times in ms, and what it drew last."""

    def __init__(self, policy: Policy, *, written_out: bool) -> None:
        self._engine = HfEngine(policy.model, policy.tokenizer)
        self.times: list[float] = []
        self.drawn: list[Completion] = []
        with mock.patch.object(hf, "steps_as_the_model", steps_as_the_model if written_out else lambda model: False):
            self._engine.generate([[1]], 1, Sampling(max_tokens=1), seeds=[0])

    def draw(self, prompts: Sequence[Sequence[int]], n: int, max_tokens: int) -> None:
        begun = time.process_time()
        groups = self._engine.generate(prompts, n, Sampling(max_tokens=max_tokens), seeds=range(len(prompts)))
        self.times.append(1e3 * (time.process_time() - begun))
        self.drawn = [completion for group in groups for completion in group]


def line_of(policy: Policy, prompts: Sequence[Sequence[int]], n: int, max_tokens: int, turns: int) -> str:
    """A line of the table: ``n`` rollouts of every prompt."""
    own, written = Side(policy, written_out=False), Side(policy, written_out=True)
    for _ in range(1 + turns):  # the first warms up
        own.draw(prompts, n, max_tokens)
        written.draw(prompts, n, max_tokens)
    alike = [(a, b) for a, b in zip(own.drawn, written.drawn, strict=True) if a.tokens.tolist() == b.tokens.tolist()]
    gap = max((float(np.abs(a.logp_raw - b.logp_raw).max()) for a, b in alike), default=math.nan)
    ratios = [a / b for a, b in zip(own.times[1:], written.times[1:], strict=True)]
    cells = [median_and_range(own.times[1:], 0), median_and_range(written.times[1:], 0), median_and_range(ratios, 2)]
    return f"| {len(prompts)} × {n} | {' | '.join(cells)} | {len(alike)} of {len(own.drawn)} | {gap:.1e} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=20)
    add_model(parser)
    parser.add_argument("--rollouts", type=int, nargs="+", default=[8, 128], help="of each prompt")
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    without_progress_bars()
    torch.set_num_threads(1)
    check_model(parser, arguments.model, arguments.problems)
    recipe = control_of(arguments.model, arguments.problems)
    policy = Policy.load(recipe.model)
    prompts = prompts_of(recipe, policy.tokenizer, arguments.prompts)
    page = "\n".join(
        [
            "# Rollouts: the step written out, and transformers' own",
            "",
            f"{made_by('torch', 'transformers')} Rollouts of {name_of(arguments.model)}, of at most "
            f"{arguments.max_tokens} tokens, {arguments.turns} turns, one thread. Median [smallest, largest].",
            "",
            "| rollouts | transformers', CPU ms | written out, CPU ms | times | the same tokens | largest gap, nats |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
            *(line_of(policy, prompts, n, arguments.max_tokens, arguments.turns) for n in arguments.rollouts),
            "",
        ]
    )
    deliver(page, arguments.out)


if __name__ == "__main__":
    main()
