"""An update in micro-batches of more and more tokens: its time and its peak of memory.

    python benchmarks/microbatch.py --out docs/results/microbatch-cpu.md
    python benchmarks/microbatch.py --model ./smollm2 --problems gsm8k_train.jsonl

The rows have prompts of a file's problems with 8 responses each of random tokens, as long as the responses of a chat
model; without ``--model`` the decoder has random weights, 4 layers, 512 wide, and random prompts. Every size is a
process of its own, and they take turns. The cap that a CPU has (``TOKENS_AT_ONCE_ON_CPU``) is lifted. Times are CPU
time, which other work on the machine lengthens less than time by the clock.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from launched import asked
from models import add_model, check_model, control_of, name_of, prompts_of
from pages import deliver, made_by, median_and_range
from refill import VOCABULARY, random_decoder
from rl_step_work import peak_mb
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.policy import policy as policies
from unsqueeze.policy.batch import Row
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.policy.policy import Policy
from update import update_of

GROUP, PROMPT, SHORTEST, LONGEST = 8, 100, 96, 128


def policy_and_prompts(model: str | None, problems: str | None, count: int) -> tuple[Policy, list[list[int]]]:
    recipe = control_of(model, problems)
    policy = Policy.load(recipe.model)
    if model is not None:
        return policy, prompts_of(recipe, policy.tokenizer, count)
    drawn = torch.randint(4, VOCABULARY, (count, PROMPT), generator=torch.Generator().manual_seed(0))
    return random_decoder(policy.tokenizer, 512), drawn.tolist()


def rows_of(prompts: list[list[int]], vocabulary: int) -> list[Row]:
    """Responses of random tokens, of which three in a group count as right."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt in prompts:
        for place in range(GROUP):
            tokens = rng.integers(4, vocabulary, rng.integers(SHORTEST, LONGEST + 1), dtype=np.int32)
            rows.append(
                Row(
                    prompt_tokens=np.array(prompt, dtype=np.int32),
                    tokens=tokens,
                    weight=1 / (len(prompts) * GROUP * LONGEST),
                    advantage=1.0 if place < 3 else -0.6,
                    logp_proximal=np.full(len(tokens), -10.0, dtype=np.float32),
                )
            )
    return rows


def side(work: dict[str, Any]) -> None:
    """Make an update for every line that comes in; tell its CPU seconds, and the peak of memory so far."""
    without_progress_bars()
    torch.set_num_threads(1)
    policy, prompts = policy_and_prompts(work["model"], work["problems"], work["prompts"])
    update = update_of(policy, RlSettings(tokens_per_microbatch=work["tokens"]), rows_of(prompts, policy.vocabulary))
    with mock.patch.object(policies, "TOKENS_AT_ONCE_ON_CPU", work["tokens"]):
        for _ in sys.stdin:
            begun = time.process_time()
            update()
            print(json.dumps([time.process_time() - begun, peak_mb()]), flush=True)


def side_of(name: str, work: dict[str, Any]) -> "subprocess.Popen[str]":
    """A process for one size, which has warmed up."""
    command = [sys.executable, __file__, json.dumps(work)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    asked(name, process)
    return process


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--prompts", type=int, default=8, help="with 8 responses each")
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    add_model(parser)
    arguments = parser.parse_args()
    check_model(parser, arguments.model, arguments.problems)
    work = {name: value and str(value) for name, value in vars(arguments).items() if name in ("model", "problems")}
    sides = {
        tokens: side_of(f"{tokens:,} tokens", work | {"tokens": tokens, "prompts": arguments.prompts})
        for tokens in arguments.tokens
    }
    taken: dict[int, list[list[float]]] = {tokens: [] for tokens in sides}
    for _ in range(arguments.turns):
        for tokens, process in sides.items():
            taken[tokens].append(asked(f"{tokens:,} tokens", process))
            print(f"{tokens} tokens: {taken[tokens][-1]}", file=sys.stderr, flush=True)
    for process in sides.values():
        process.communicate()
    first = taken[arguments.tokens[0]]
    lines = [
        f"| {tokens:,} | {median_and_range([seconds for seconds, _ in turns], 2)} | "
        f"{median_and_range([a[0] / b[0] for a, b in zip(first, turns, strict=True)], 2)} | {turns[-1][1]:,.0f} |"
        for tokens, turns in taken.items()
    ]
    name = "A decoder with random weights" if arguments.model is None else name_of(arguments.model)
    page = [
        "# An update in micro-batches of more and more tokens",
        "",
        f"{made_by('torch', 'transformers')} {name}, {arguments.prompts} prompts × {GROUP} responses, "
        f"{arguments.turns} turns, one thread. Median [smallest, largest].",
        "",
        f"| tokens at most | an update, CPU s | time of {arguments.tokens[0]:,} / its own | peak memory, MB |",
        "| ---: | ---: | ---: | ---: |",
        *lines,
        "",
    ]
    deliver("\n".join(page), arguments.out)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("{"):
        side(json.loads(sys.argv[1]))
    else:
        main()
