"""One update, prompts read once a row and once for all rows of a group, and the floor of both.

    python benchmarks/update.py --out docs/results/update-cpu.md
    python benchmarks/update.py --model ./smollm2 --problems gsm8k_train.jsonl --prompts 2 --turns 5 --steps 1

The rows are those of an RL step of the quickstart: 16 prompts × 8 rollouts that the model draws, all trained on; or of
the recipe for SmolLM2 with a model of one's own, responses of at most 128 tokens. Both sides take turns in one process,
on the same rows and from the same weights, and times are CPU time. The floor is counted on paper: three times two
floating-point operations a weight of the layers and the head for each token that is read (a token of a prompt meets no
head), at the rate of a plain product of two 1,024 × 1,024 matrices in the same process. What attention, norms and the
optimizer do is not in it.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from models import add_model, check_model, control_of, name_of, prompts_of
from pages import deliver, made_by, median_and_range
from unsqueeze.config.recipe import Recipe
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.policy.batch import Row, TokenBatch, collate
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.policy.optimize import StepResult, make_optimizer, optimizer_step
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Sampling
from unsqueeze.training.rl_step import surrogate_loss

GROUP_SIZE = 8


def rows_of_a_step(policy: Policy, prompts: Sequence[Sequence[int]], max_tokens: int) -> list[Row]:
    """Rollouts of the policy, of which three in a group of eight count as right."""
    groups = HfEngine(policy.model, policy.tokenizer).generate(
        prompts, GROUP_SIZE, Sampling(temperature=1.0, max_tokens=max_tokens), seeds=range(len(prompts))
    )
    total = sum(len(completion.tokens) for group in groups for completion in group)
    return [
        Row(
            prompt_tokens=np.array(prompt, dtype=np.int32),
            tokens=completion.tokens,
            weight=1 / total,
            advantage=1.0 if place < 3 else -0.6,
            logp_proximal=completion.logp_behaviour,
        )
        for prompt, group in zip(prompts, groups, strict=True)
        for place, completion in enumerate(group)
    ]


def cpu_ms(work: Callable[[], object], times: int) -> float:
    """CPU time of one call, after one that warms up."""
    work()
    begun = time.process_time()
    for _ in range(times):
        work()
    return 1e3 * (time.process_time() - begun) / times


def update_of(policy: Policy, rl: RlSettings, rows: Sequence[Row]) -> Callable[[], StepResult]:
    """One optimizer step on the rows at a call, with an optimizer of its own."""
    return partial(
        optimizer_step,
        policy,
        make_optimizer(policy, rl),
        rows,
        partial(surrogate_loss, settings=rl),
        tokens_per_microbatch=rl.tokens_per_microbatch,
        max_grad_norm=rl.max_grad_norm,
    )


def step_ms(policy: Policy, rl: RlSettings, rows: Sequence[Row], steps: int, *, shared: bool) -> tuple[float, float]:
    """CPU time of an update in ms, and the loss of the first, from weights that are put back."""
    weights = policy.full_weights()
    losses: list[float] = []
    update = update_of(policy, rl, rows)

    def whole(rows: Sequence[Row]) -> TokenBatch:
        return collate(rows, pad=policy.pad, device=policy.device)

    with mock.patch.object(policy, "collate", policy.collate if shared else whole):
        taken = cpu_ms(lambda: losses.append(update().loss), steps)
    policy.put_weights(weights)
    return taken, losses[0]


def floor_ms(policy: Policy, batch: TokenBatch, gflops: float) -> float:
    """What the products with weights alone take at that rate, forward and backward."""
    head = policy.model.get_output_embeddings().weight.numel()
    layers = sum(p.numel() for p in policy.model.base_model.parameters() if p.ndim == 2) - head
    if batch.shared is None:
        read = batch.tokens_NS.numel()
    else:
        read = batch.shared.prompts_PS.numel() + batch.shared.inputs_NR.numel()
    operations = 3 * 2 * (layers * read + head * len(batch.places))
    return operations / gflops / 1e6


def begin(description: str | None) -> tuple[argparse.Namespace, Recipe, Policy, list[Row]]:
    """Read the command line, whose first line of help is that of ``description``, and draw the rows of an update."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=5, help="updates of a turn, after one that warms up")
    parser.add_argument("--prompts", type=int, default=16)
    add_model(parser)
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    without_progress_bars()
    torch.set_num_threads(1)
    check_model(parser, arguments.model, arguments.problems)
    recipe = control_of(arguments.model, arguments.problems, ["rollout.max_tokens=128"] if arguments.model else [])
    policy = Policy.load(recipe.model)
    rows = rows_of_a_step(policy, prompts_of(recipe, policy.tokenizer, arguments.prompts), recipe.rollout.max_tokens)
    return arguments, recipe, policy, rows


def main() -> None:
    arguments, recipe, policy, rows = begin(__doc__)
    matrix = torch.randn(1024, 1024)
    found: dict[bool, list[float]] = {False: [], True: []}
    rates, losses = [], {}
    for _ in range(arguments.turns):
        rates.append(2e-6 * 1024**3 / cpu_ms(lambda: matrix @ matrix, 5))
        for shared, times in found.items():
            taken, losses[shared] = step_ms(policy, recipe.rl, rows, arguments.steps, shared=shared)
            times.append(taken)
    gflops = max(rates)
    batches = {False: collate(rows, pad=policy.pad, device=policy.device), True: policy.collate(rows)}
    floors = {shared: floor_ms(policy, batch, gflops) for shared, batch in batches.items()}
    ratios = [a / b for a, b in zip(found[False], found[True], strict=True)]
    page = "\n".join(
        [
            "# An update: prompts read once a row, and once for all rows of a group",
            "",
            f"{made_by('torch', 'transformers')} Updates of {name_of(arguments.model)}, {arguments.turns} turns of "
            f"{arguments.steps} on {len(rows)} rows, one thread. Median [smallest, largest]; plain products ran at "
            f"{gflops:.0f} GFLOP/s at best.",
            "",
            "| prompts are read | an update, CPU ms | floor of the products, ms | times the floor | loss |",
            "| --- | ---: | ---: | ---: | ---: |",
            *(
                f"| {'once a group' if shared else 'with every row'} | {median_and_range(times, 0)} | "
                f"{floors[shared]:.0f} | {statistics.median(times) / floors[shared]:.1f} | {losses[shared]:.9f} |"
                for shared, times in found.items()
            ),
            "",
            f"Times of the two, taken in turn: {median_and_range(ratios, 2)}.",
            "",
        ]
    )
    deliver(page, arguments.out)


if __name__ == "__main__":
    main()
