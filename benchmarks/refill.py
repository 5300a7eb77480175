"""Rollouts of a batch that is refilled as rows end, beside waves that last until their longest row has ended.

    python benchmarks/refill.py --out docs/results/refill-cpu.md
    python benchmarks/refill.py --model ./smollm2 --problems gsm8k_train.jsonl    # a real model's lengths

Both sides are one engine in one process, taking turns: a call for as many prompts at a time as fit the batch, and one
call for all. They draw the same rollouts, to rounding. Times are CPU time, which other work on the machine lengthens
less than time by the clock.

The models with random weights are plain decoders whose tokens are all about equally likely; one in 64 of them ends a
response, so that lengths are geometric. The embedded model's responses to Countdown are nearly equally long: there is
little to gain.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from models import add_model, check_model, control_of, name_of, prompts_of
from pages import deliver, made_by, median_and_range
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.plain_decoder import PlainDecoder
from unsqueeze.rollout.types import Completion, Sampling

VOCABULARY, PROMPT, MEAN_TOKENS = 4096, 32, 64


@dataclass(frozen=True)
class Case:
    """What is drawn: ``n`` rollouts of each prompt."""

    name: str
    policy: Policy
    prompts: Sequence[Sequence[int]]
    n: int
    sampling: Sampling


class Side:
    """One way of calling the engine, its CPU times in seconds, and what it drew last."""

    def __init__(self, case: Case, max_rows: int, prompts_a_call: int) -> None:
        self._case = case
        self._engine = HfEngine(case.policy.model, case.policy.tokenizer, max_rows=max_rows)
        self._prompts_a_call = prompts_a_call
        self.times: list[float] = []
        self.drawn: list[Completion] = []
        self._engine.generate([[1]], 1, Sampling(max_tokens=1), seeds=[0])

    def draw(self) -> None:
        case, begun = self._case, time.process_time()
        self.drawn = []
        for first in range(0, len(case.prompts), self._prompts_a_call):
            call = slice(first, first + self._prompts_a_call)
            seeds = range(len(case.prompts))[call]
            groups = self._engine.generate(case.prompts[call], case.n, case.sampling, seeds=seeds)
            self.drawn += [completion for group in groups for completion in group]
        self.times.append(time.process_time() - begun)


@contextmanager
def counted_steps() -> Iterator[Callable[[], int]]:
    """Count the steps that are computed meanwhile."""
    real = PlainDecoder.logits
    num_steps = 0

    def counted(*arguments: Any) -> torch.Tensor:
        nonlocal num_steps
        num_steps += 1
        return real(*arguments)

    with mock.patch.object(PlainDecoder, "logits", counted):
        yield lambda: num_steps


def random_decoder(tokenizer: Any, width: int) -> Policy:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=4,
        num_attention_heads=width // 64,
        max_position_embeddings=2048,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Policy(LlamaForCausalLM(config), tokenizer)


def cases(num_prompts: int) -> Iterator[Case]:
    recipe = control_of(None, None)
    embedded = Policy.load(recipe.model)
    sampling = Sampling(max_tokens=512, end_ids=tuple(range(VOCABULARY - VOCABULARY // MEAN_TOKENS, VOCABULARY)))
    prompts = torch.randint(4, VOCABULARY, (num_prompts, PROMPT), generator=torch.Generator().manual_seed(0)).tolist()
    for width, n in ((128, 8), (128, 32), (512, 8)):
        policy = random_decoder(embedded.tokenizer, width)
        yield Case(f"random weights, 4 layers × {width}", policy, prompts[: num_prompts * 8 // n], n, sampling)
    countdown = prompts_of(recipe, embedded.tokenizer, num_prompts)
    yield Case("the embedded model, Countdown", embedded, countdown, 8, Sampling(max_tokens=20))


def own_case(model: Path, problems: Path, num_prompts: int, max_tokens: int) -> Case:
    recipe = control_of(model, problems)
    policy = Policy.load(recipe.model)
    prompts = prompts_of(recipe, policy.tokenizer, num_prompts)
    return Case(name_of(model), policy, prompts, 8, Sampling(max_tokens=max_tokens))


def line_of(case: Case, max_rows: int, turns: int) -> str:
    """A line of the table."""
    waves, refilled = Side(case, max_rows, max(1, max_rows // case.n)), Side(case, max_rows, len(case.prompts))
    steps = []
    for side in (waves, refilled):  # warms up, too
        with counted_steps() as num_steps:
            side.draw()
            steps.append(num_steps())
    for _ in range(turns):
        waves.draw()
        refilled.draw()
    alike = sum(a.tokens.tolist() == b.tokens.tolist() for a, b in zip(waves.drawn, refilled.drawn, strict=True))
    lengths = [completion.num_tokens for completion in refilled.drawn]
    ratios = [a / b for a, b in zip(waves.times[1:], refilled.times[1:], strict=True)]
    cells = [
        case.name,
        f"{len(case.prompts)} × {case.n}",
        f"{sum(lengths) / len(lengths):.0f}, {max(lengths)}",
        f"{steps[0]:,} and {steps[1]:,}",
        median_and_range(waves.times[1:], 2),
        median_and_range(refilled.times[1:], 2),
        median_and_range(ratios, 2),
        f"{alike} of {len(lengths)}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=16, help="of 8 rollouts each")
    parser.add_argument("--max-rows", type=int, default=32)
    parser.add_argument("--cases", type=int, nargs="+", default=range(4), help="lines of the table, from 0 on")
    add_model(parser)
    parser.add_argument("--max-tokens", type=int, default=256, help="with --model: the longest response")
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    check_model(parser, arguments.model, arguments.problems)
    without_progress_bars()
    torch.set_num_threads(1)
    if arguments.model is None:
        chosen = [case for place, case in enumerate(cases(arguments.prompts)) if place in arguments.cases]
    else:
        chosen = [own_case(arguments.model, arguments.problems, arguments.prompts, arguments.max_tokens)]
    page = "\n".join(
        [
            "# Rollouts: a batch that is refilled, and waves",
            "",
            f"{made_by('torch', 'transformers')} Batches of {arguments.max_rows} rows, {arguments.turns} turns, one "
            "thread. Median [smallest, largest].",
            "",
            "| model | rollouts | tokens: mean, most | steps | waves, CPU s | refilled, CPU s | times | same tokens |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            *(line_of(case, arguments.max_rows, arguments.turns) for case in chosen),
            "",
        ]
    )
    deliver(page, arguments.out)


if __name__ == "__main__":
    main()
