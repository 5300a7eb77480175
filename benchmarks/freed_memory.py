"""What it takes that freed memory goes back to the system: an update whose process keeps it, and one that does not.

    python benchmarks/freed_memory.py --out docs/results/freed-memory.md

The update is that of ``update.py`` on the embedded model, 16 prompts × 8 rollouts, one thread. The two sides take
turns, each turn in a process of its own: ours, and one in which the C library behaves as ever. Pages that the system
clears for the process are counted, and CPU time with that of the system.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from unittest import mock

import torch

from models import control_of, prompts_of
from pages import deliver, made_by, median_and_range
from rl_step_work import peak_mb
from unsqueeze.policy.freed_memory import keep_freed_memory
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.policy.policy import Policy
from update import cpu_ms, rows_of_a_step, update_of

SIDES = {"leave": "given back to the system", "keep": "kept, up to 256 MiB"}


def turn(side: str, steps: int) -> dict[str, float]:
    """What an update takes in this process."""
    without_progress_bars()
    torch.set_num_threads(1)
    recipe = control_of(None, None)
    with mock.patch("unsqueeze.policy.policy.keep_freed_memory", keep_freed_memory if side == "keep" else bool):
        policy = Policy.load(recipe.model)
    rows = rows_of_a_step(policy, prompts_of(recipe, policy.tokenizer, 16), recipe.rollout.max_tokens)
    update = update_of(policy, recipe.rl, rows)
    cpu_ms(update, 3)
    before = getrusage(RUSAGE_SELF)
    taken = cpu_ms(update, steps)
    after = getrusage(RUSAGE_SELF)
    return {
        "cpu_ms": taken,
        "pages": (after.ru_minflt - before.ru_minflt) / (steps + 1),
        "peak_mb": peak_mb(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="updates of a turn")
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    parser.add_argument("--part", choices=list(SIDES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(turn(arguments.part, arguments.steps)))
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(arguments.turns):
        for side, turns in found.items():
            command = [sys.executable, __file__, "--part", side, "--steps", str(arguments.steps)]
            turns.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    ratios = [a["cpu_ms"] / b["cpu_ms"] for a, b in zip(*found.values(), strict=True)]
    page = "\n".join(
        [
            "# Freed memory, kept and given back",
            "",
            f"{made_by('torch')} {arguments.turns} turns of {arguments.steps} updates on 128 rows; medians [smallest, "
            "largest].",
            "",
            "| freed memory is | an update, CPU ms | pages cleared in it | MB at the peak |",
            "| --- | ---: | ---: | ---: |",
            *(
                f"| {SIDES[side]} | "
                + " | ".join(median_and_range([turn[key] for turn in turns]) for key in ("cpu_ms", "pages", "peak_mb"))
                + " |"
                for side, turns in found.items()
            ),
            "",
            f"CPU time given back / kept, taken in turn: {median_and_range(ratios, 2)}.",
            "",
        ]
    )
    deliver(page, arguments.out)


if __name__ == "__main__":
    main()
