"""What an IRL phase costs beside the RL phase before it, at the paper's proportions.

    python benchmarks/irl_cost.py --out docs/results/irl-cost-2cores.md
    python benchmarks/irl_cost.py --smollm2 ./smollm2

The proportions of the paper (3,000 prompts × 8 rollouts, then 4 updates of 512 demonstrations, 3 a prompt): an IRL
phase trains on 8.5 % as many responses as the RL phase sampled. Countdown runs at just these numbers; SmolLM2-135M, on
a CPU, at fewer of each, 16 prompts × 8 rollouts of at most 128 tokens and 4 updates of 3, on problems so easy that it
solves some (which of two numbers is larger): on GSM8K no group was informative, and RL took no update. One RL phase and
one IRL phase each.

The paper's share is 3.3 % (2.25 of 68.10 minutes, Table 5).
"""

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

COUNTDOWN = [
    "quickstart",
    "--set=arms=null",
    "--set=data.num_train=3000",
    "--set=rl.steps=188",
    "--set=evaluation.n=1",
    "--set=irl.learning_rate=1.25e-4",
]


def smollm2(model: Path, folder: Path) -> list[str]:
    """The recipe that ships, on 16 problems that are written to ``folder``."""
    rng = random.Random(0)
    for name, count, digits in (("train", 16, 3), ("test", 8, 2)):
        pairs = [rng.sample(range(10 ** (digits - 1), 10**digits), 2) for _ in range(count)]
        lines = [{"problem": f"Which number is larger, {a} or {b}?", "answer": str(max(a, b))} for a, b in pairs]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return [
        "gsm8k-smollm2",
        f"--set=model.path={model}",
        f"--set=data.train_path={folder / 'train.jsonl'}",
        f"--set=data.test_path={folder / 'test.jsonl'}",
        "--set=data.num_train=16",
        "--set=data.num_test=8",
        "--set=verify.credit=anywhere",
        "--set=rollout.max_tokens=128",
        "--set=rl.prompts_per_step=8",
        "--set=rl.steps=2",
        "--set=irl.batch_size=3",
        "--set=evaluation.n=1",
        "--set=evaluation.every_steps=null",
    ]


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Train, and take the costs of both phases from what the run wrote down, in seconds."""
    with TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        environment = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        command = [sys.executable, "-m", "unsqueeze", "train", *arguments, "--run", str(run)]
        subprocess.run(command, check=True, env=environment)
        metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        events = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    steps = [line for line in metrics if line["kind"] == "rl"]
    updates = [line for line in metrics if line["kind"] == "irl"]
    irl = next(e for e in events if e["event"] == "phase_finished" and e["kind"] == "irl")
    seconds = {key: sum(line[key] for line in steps) for key in ("generate_s", "verify_s", "store_s", "update_s")}
    return {
        "rollouts": sum(line["num_sampled"] for line in steps),
        "tokens": sum(line["sampled_tokens"] for line in steps) / sum(line["num_sampled"] for line in steps),
        "informative": sum(line["informative_groups"] for line in steps) / len(steps),
        "demonstrations": sum(line["num_demonstrations"] for line in updates),
        **seconds,
        "rl_s": sum(seconds.values()),
        "irl_updates_s": sum(line["update_s"] for line in updates),
        "irl_s": irl["seconds"],
    }


def row(name: str, cost: dict[str, Any]) -> str:
    """A line of the table."""
    cells = [
        name,
        f"{cost['rollouts']:,} of {cost['tokens']:.0f} tokens",
        f"{100 * cost['informative']:.0f} %",
        f"{cost['demonstrations']:,} ({100 * cost['demonstrations'] / cost['rollouts']:.1f} %)",
        f"{cost['generate_s']:.1f}",
        f"{cost['update_s']:.1f}",
        f"{cost['rl_s']:.1f}",
        f"{cost['irl_updates_s']:.1f}",
        f"{cost['irl_s']:.1f}",
        f"**{100 * cost['irl_s'] / cost['rl_s']:.1f} %**",
    ]
    return "| " + " | ".join(cells) + " |"


HEADINGS = [
    "",
    "rollouts",
    "informative groups",
    "demonstrations trained on",
    "RL: generation, s",
    "RL: updates, s",
    "RL in all, s",
    "IRL: updates, s",
    "IRL in all, s",
    "IRL / RL",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=Path, help="a checkpoint made by scripts/smollm2_checkpoint.py")
    parser.add_argument("--out", type=Path, help="where to write the table; it is printed anyway")
    arguments = parser.parse_args()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    lines = [
        f"One thread, one phase each, hf engine; commit {commit.stdout.strip()}, seed of the recipes.",
        "",
        "| " + " | ".join(HEADINGS) + " |",
        "| " + " | ".join(["---"] * len(HEADINGS)) + " |",
        row("Countdown, embedded model", measure(COUNTDOWN)),
    ]
    if arguments.smollm2 is not None:
        with TemporaryDirectory() as folder:
            lines.append(row("larger number, SmolLM2-135M", measure(smollm2(arguments.smollm2, Path(folder)))))
    print("\n".join(lines))
    if arguments.out is not None:
        arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
