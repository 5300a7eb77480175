"""One update of the embedded model, prompts read once a row and once for all rows of a group, and the floor of both.

    python benchmarks/update.py --out docs/results/update-cpu.md

The rows are those of an RL step of the quickstart: 16 prompts × 8 rollouts that the model draws, all trained on. Both
sides take turns in one process, on the same rows and from the same weights, and times are CPU time. The floor is
counted on paper: three times two floating-point operations a weight of the layers and the head for each token that is
read (a token of a prompt meets no head), at the rate of a plain product of two 1,024 × 1,024 matrices in the same
process. What attention, norms and the optimizer do is not in it.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from pages import deliver, median_and_range, this_commit
from unsqueeze.config.load import arms_of, load_recipe
from unsqueeze.policy.batch import Row, TokenBatch, collate
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.policy.optimize import make_optimizer, optimizer_step
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Sampling
from unsqueeze.tasks.countdown import countdown_problems
from unsqueeze.training.rl_step import surrogate_loss

PROMPTS, GROUP_SIZE, MAX_TOKENS, STEPS = 16, 8, 20, 5
RECIPE = arms_of(load_recipe("quickstart", []), "quickstart")["grpo"]


def rows_of_a_step(policy: Policy) -> list[Row]:
    """Rollouts of the policy, of which three in a group of eight count as right."""
    problems, _ = countdown_problems(PROMPTS, 1, 0)
    prompts = [policy.tokenizer(problem.prompt)["input_ids"] for problem in problems]
    groups = HfEngine(policy.model, policy.tokenizer).generate(
        prompts, GROUP_SIZE, Sampling(temperature=1.0, max_tokens=MAX_TOKENS), seeds=range(PROMPTS)
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


def step_ms(policy: Policy, rows: Sequence[Row], *, shared: bool) -> tuple[float, float]:
    """CPU time of an update in ms, and the loss of the first, from weights that are put back."""
    weights = policy.full_weights()
    losses: list[float] = []
    optimizer = make_optimizer(policy, RECIPE.rl)

    def update() -> None:
        losses.append(
            optimizer_step(
                policy,
                optimizer,
                rows,
                partial(surrogate_loss, settings=RECIPE.rl),
                tokens_per_microbatch=RECIPE.rl.tokens_per_microbatch,
                max_grad_norm=RECIPE.rl.max_grad_norm,
            ).loss
        )

    def whole(rows: Sequence[Row]) -> TokenBatch:
        return collate(rows, pad=policy.pad, device=policy.device)

    with mock.patch.object(policy, "collate", policy.collate if shared else whole):
        taken = cpu_ms(update, STEPS)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    without_progress_bars()
    torch.set_num_threads(1)
    policy = Policy.load(RECIPE.model)
    rows = rows_of_a_step(policy)
    matrix = torch.randn(1024, 1024)
    found: dict[bool, list[float]] = {False: [], True: []}
    rates, losses = [], {}
    for _ in range(arguments.turns):
        rates.append(2e-6 * 1024**3 / cpu_ms(lambda: matrix @ matrix, 5))
        for shared, times in found.items():
            taken, losses[shared] = step_ms(policy, rows, shared=shared)
            times.append(taken)
    gflops = max(rates)
    batches = {False: collate(rows, pad=policy.pad, device=policy.device), True: policy.collate(rows)}
    floors = {shared: floor_ms(policy, batch, gflops) for shared, batch in batches.items()}
    commit = this_commit()
    ratios = [a / b for a, b in zip(found[False], found[True], strict=True)]
    page = "\n".join(
        [
            "# An update: prompts read once a row, and once for all rows of a group",
            "",
            f"Made by `python benchmarks/update.py` at commit `{commit}`: {arguments.turns} turns of {STEPS} updates "
            f"on {len(rows)} rows, torch {version('torch')}, transformers {version('transformers')}, one thread, other "
            "work on the machine. Median [smallest, largest]; plain products ran at "
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
