"""SPS inside TRL beside plain TRL: what ``SPSTrainer`` makes of Countdown, and what ``GRPOTrainer`` does.

    python benchmarks/sps_trl.py runs/sps-trl --out docs/results/sps-trl-2cores.md

Both train the embedded model with TRL's GRPO and the settings of the recipe ``quickstart``: 16 prompts × 8 rollouts a
step, 300 steps over 736 problems, so that IRL phases follow six passes and the run ends with half a pass of RL. The
settings of IRL are the recipe's, and both trainers get the same seeds. What each leaves is asked 192 problems that were
not trained on, 128 times each, at temperature 0.7. Problems are the same for all seeds.

A training is a process of its own with one thread, ``--jobs`` of them side by side. Those that are done are not done
again, so the same command goes on where it was stopped.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import unsqueeze as uq
from pages import deliver, made_by
from unsqueeze.config.load import arms_of, load_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.tasks.countdown import countdown_problems

TRAINERS = {"grpo": "`GRPOTrainer`", "sps": "`SPSTrainer`"}
NUM_TRAIN, NUM_TEST, PROBLEMS_SEED, SAMPLES, STEPS = 736, 192, 30, 128, 300
KS = (1, 8, 32, 128)


def recipe() -> Recipe:
    """The settings of both sides: the quickstart's with SPS."""
    return arms_of(load_recipe("quickstart", []), "quickstart")["sps"]


def train(trainer: str, seed: int, folder: Path) -> None:
    """Train the embedded model, and leave it in ``folder/final``."""
    import torch
    from trl import GRPOConfig, GRPOTrainer

    from countdown_trl import countdown_parts
    from unsqueeze.integrations.trl import SPSConfig, SPSTrainer

    torch.set_num_threads(1)
    settings = recipe()
    irl = settings.irl
    assert irl is not None, "the recipe's arm sps has IRL phases"
    problems, _ = countdown_problems(NUM_TRAIN, NUM_TEST, PROBLEMS_SEED)
    both: Mapping[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": settings.rl.prompts_per_step * settings.rl.group_size,
        "num_generations": settings.rl.group_size,
        "max_completion_length": settings.rollout.max_tokens,
        "temperature": settings.rollout.temperature,
        "beta": 0.0,
        "loss_type": "grpo",
        "learning_rate": settings.rl.learning_rate,
        "lr_scheduler_type": "constant",
        "max_steps": STEPS,
        "save_strategy": "no",
        "logging_steps": 1,
        "seed": seed,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "report_to": [],
    }
    config = (
        GRPOConfig(**both)
        if trainer == "grpo"
        else SPSConfig(
            **both,
            sps_every_passes=irl.every_passes,
            sps_k=irl.k,
            sps_pool=irl.pool,
            sps_steps=irl.steps,
            sps_batch_size=irl.batch_size,
            sps_learning_rate=irl.learning_rate,
        )
    )
    made = (GRPOTrainer if trainer == "grpo" else SPSTrainer)(
        **countdown_parts(problems),
        args=config,
    )
    made.train()
    (folder / "log.json").write_text(json.dumps(made.state.log_history), encoding="utf-8")
    made.save_model(str(folder / "final.tmp"))
    (folder / "final.tmp").rename(folder / "final")


def evaluate(model: str | Path, seed: int, out: Path) -> None:
    """Ask a model the problems that nothing was trained on; ``seed`` is that of the samples."""
    _, problems = countdown_problems(NUM_TRAIN, NUM_TEST, PROBLEMS_SEED)
    temperature = recipe().evaluation.temperature
    uq.evaluate(
        uq.load_model(str(model)),
        problems,
        n=SAMPLES,
        ks=KS,
        temperature=temperature,
        max_tokens=recipe().rollout.max_tokens,
        seed=seed,
        out=out,
    )


def one(work: Path, name: str, seed: int) -> None:
    """Train, where that lacks, and evaluate: in a process of its own."""
    folder = work / f"{name}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    if name != "base" and not (folder / "final").is_dir():
        train(name, seed, folder)
    evaluate("countdown-0.4m" if name == "base" else folder / "final", seed, folder / "eval")


def all_of(work: Path, seeds: Sequence[int], jobs: int) -> None:
    """Do what lacks, ``jobs`` processes at a time."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(wanted: tuple[str, int]) -> None:
        name, seed = wanted
        (work / f"{name}-{seed}").mkdir(parents=True, exist_ok=True)
        command = [sys.executable, __file__, str(work), "--one", name, str(seed)]
        with (work / f"{name}-{seed}" / "output.txt").open("w", encoding="utf-8") as output:
            ended = subprocess.run(command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False)
        print(f"{name}, seed {seed}: {'done' if ended.returncode == 0 else f'failed, see {output.name}'}", flush=True)
        if ended.returncode != 0:
            raise SystemExit(1)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(start, [(name, seed) for seed in seeds for name in ("base", *TRAINERS)]))


def page(work: Path, seeds: Sequence[int]) -> str:
    """The result as Markdown."""

    def sides(name: str) -> list[Path]:
        return [work / f"{name}-{seed}" / "eval" for seed in seeds]

    change = uq.compare(sides("grpo"), sides("sps"))
    rows = []
    for name, label in {"base": "the base", **TRAINERS}.items():
        summaries = [
            uq.Summary.from_json_object(json.loads((side / "summary.json").read_text())) for side in sides(name)
        ]
        columns = [[one.avg.mean for one in summaries]] + [[one.pass_at[k].mean for one in summaries] for k in KS[1:]]
        cells = [
            f"{100 * sum(each) / len(each):.1f} [{100 * min(each):.1f}, {100 * max(each):.1f}]" for each in columns
        ]
        rows.append(f"| {label} | " + " | ".join(cells) + " |")
    differences = [change.avg.paired.difference, *(change.pass_at[k].paired.difference for k in KS[1:])]
    cells = [
        f"{100 * each.mean:+.1f} [{100 * each.low:+.1f}, {100 * each.high:+.1f}]".replace("-", "−")
        for each in differences
    ]
    return "\n".join(
        [
            "# SPS inside TRL, beside plain TRL",
            "",
            f"{made_by('trl', 'transformers', 'torch')} Seeds {', '.join(map(str, seeds))}, one thread a training. "
            "The script says what is trained and asked.",
            "",
            f"| {STEPS} steps, percent | Avg@{SAMPLES} | " + " | ".join(f"Pass@{k}" for k in KS[1:]) + " |",
            "| --- |" + " ---: |" * len(KS),
            *rows,
            "| `SPSTrainer` less `GRPOTrainer` | " + " | ".join(cells) + " |",
            "",
            f"Trainers: mean over {len(seeds)} seeds [smallest, largest]. Difference: paired by problem and seed, with "
            "95 % intervals over problems. No learning rate was searched for either.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("work", type=Path, help="folder of the trainings and evaluations")
    parser.add_argument("--seeds", type=int, nargs="+", default=[31, 32, 33])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "SEED"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.work, given.one[0], int(given.one[1]))
        return
    all_of(given.work, given.seeds, given.jobs)
    text = page(given.work, given.seeds)
    deliver(text, given.out)


if __name__ == "__main__":
    main()
