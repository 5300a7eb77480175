"""What an IRL phase costs beside the RL phase before it, at the paper's proportions, in CPU time.

    python benchmarks/irl_cost.py --before a497cec --out docs/results/irl-cost-cpu.md
    python benchmarks/irl_cost.py --smollm2 ./smollm2

The proportions of the paper (3,000 prompts × 8 rollouts, then 4 updates of 512 demonstrations, 3 a prompt): an IRL
phase trains on 8.5 % as many responses as the RL phase sampled. Countdown runs at just these numbers, or at ``--share``
of each, where fixed costs weigh more; SmolLM2-135M, on a CPU, at fewer of each, 16 prompts × 8 rollouts of at most 128
tokens and 4 updates of 3, on problems so easy that it solves some (which of two numbers is larger): on GSM8K no group
was informative, and RL took no update.

RL is trained once, with the code of the working tree, and its clock is that of the CPU time of its process. Then IRL
phases are taken on the rollouts that it stored, choosing and updates, each side in a process of its own, in turns: that
of the commit ``--before``, where there is one, and that of the working tree. The share is that of a side's phase in the
RL of the working tree. Where the verifier has worker processes, their time is not counted.

The paper's share is 3.3 % (2.25 of 68.10 minutes, Table 5).
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from pages import COMMIT, ROOT, deliver, made_by
from unsqueeze.config.load import arms_of, load_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.policy.optimize import make_optimizer
from unsqueeze.progress import Silent, StopRequest
from unsqueeze.training.demonstrations import choose_demonstrations
from unsqueeze.training.irl_phase import irl_updates, settings_of_phase
from unsqueeze.training.loop import train
from unsqueeze.training.measure import first_rollouts, num_nll_rows
from unsqueeze.training.run import Run
from unsqueeze.training.setup import load_parts, open_directory, put_together

PROMPTS, DEMONSTRATIONS, PER_STEP = 3000, 512, 16
"""Prompts of the RL phase, demonstrations of an update, prompts of an RL step."""


def countdown(share: float) -> list[str]:
    """The quickstart at so large a share of the numbers of the paper."""
    prompts, demonstrations = round(PROMPTS * share), round(DEMONSTRATIONS * share)
    return [
        "quickstart",
        f"data.num_train={prompts}",
        f"rl.steps={math.ceil(prompts / PER_STEP)}",
        f"irl.batch_size={demonstrations}",
        "evaluation.n=1",
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
        f"model.path={model}",
        f"data.train_path={folder / 'train.jsonl'}",
        f"data.test_path={folder / 'test.jsonl'}",
        "data.num_train=16",
        "data.num_test=8",
        "verify.credit=anywhere",
        "rollout.max_tokens=128",
        "rl.prompts_per_step=8",
        "rl.steps=2",
        "irl.batch_size=3",
        "evaluation.n=1",
        "evaluation.every_steps=null",
    ]


def recipe_of(arguments: list[str]) -> Recipe:
    """The recipe named first, with settings; of one with arms, that with IRL phases."""
    arms = arms_of(load_recipe(arguments[0], arguments[1:]), arguments[0])
    return arms.get("sps") or next(iter(arms.values()))


def opened(recipe: Recipe, path: Path) -> Run:
    """The run in a folder, or a new one there."""
    without_progress_bars()
    parts = load_parts(recipe)
    assert parts.reference is None, "choosing would need it"
    return put_together(recipe, parts, open_directory(recipe, parts, path), progress=Silent(), stop=StopRequest())


def train_by_cpu_time(arguments: list[str], path: Path) -> None:
    """Train to the end; what the run writes down of its time is CPU time."""
    run = opened(recipe_of(arguments), path)
    with closing(run.verifier), closing(run.directory), mock.patch("time.perf_counter", time.process_time):
        train(run, reference=None)


def take_phases(arguments: list[str], path: Path) -> None:
    """For every line that comes, take the first IRL phase again, and write down the CPU time of its parts."""
    recipe = recipe_of(arguments)
    run = opened(recipe, path)
    run.directory.close()  # it is read alone, and by two at a time
    phases = recipe.phases(len(run.train_problems))
    phase = next(one for one in phases if one.kind == "irl")
    run.policy.logp(first_rollouts(run, phases[0], num_nll_rows(run)), max_tokens=recipe.rl.tokens_per_microbatch)
    weights = run.policy.full_weights()
    for _ in sys.stdin:
        begun = time.process_time()
        rows = choose_demonstrations(run, phase, None)
        chosen = time.process_time()
        settings = settings_of_phase(run, phase)
        losses = [
            update.result.loss
            for update in irl_updates(
                run.policy,
                settings,
                rows,
                optimizer=make_optimizer(run.policy, settings),
                rng=run.rng("irl", phase.number),
                tokens_per_microbatch=recipe.rl.tokens_per_microbatch,
                kl_moved=lambda: math.nan,
                check_stop=lambda: None,
            )
        ]
        done = time.process_time()
        run.policy.put_weights(weights)
        turn = {"choosing": chosen - begun, "updates": done - chosen, "phase": done - begun, "losses": losses}
        print(json.dumps(turn), flush=True)


def command_of(part: str, arguments: list[str], path: Path, source: Path) -> dict[str, Any]:
    """How to have a part of this done by the code in ``source``."""
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    return {
        "args": [sys.executable, __file__, "--part", part, str(path), *arguments],
        "env": os.environ | {"OMP_NUM_THREADS": threads, "PYTHONPATH": str(source / "src")},
    }


def rl_cost(path: Path) -> dict[str, float]:
    """What the RL phase before the first IRL phase took, in CPU seconds, and how much was done."""
    metrics = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    updates = [line for line in metrics if line["kind"] == "irl" and line["phase"] == 1]
    steps = [line for line in metrics if line["kind"] == "rl" and line["phase"] == 0]
    seconds = {key: sum(line[key] for line in steps) for key in ("generate_s", "verify_s", "store_s", "update_s")}
    sampled = sum(line["num_sampled"] for line in steps)
    return {
        "rollouts": sampled,
        "tokens": sum(line["sampled_tokens"] for line in steps) / sampled,
        "informative": sum(line["informative_groups"] for line in steps) / len(steps),
        "demonstrations": sum(line["num_demonstrations"] for line in updates),
        **seconds,
        "rl_s": sum(seconds.values()),
    }


def phases_in_turns(
    arguments: list[str], sides: dict[str, Path], turns: int, path: Path
) -> dict[str, list[dict[str, Any]]]:
    """Phases on what a run stored, by every side once a turn."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with ExitStack() as stack:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        workers = {
            side: stack.enter_context(subprocess.Popen(**command_of("phases", arguments, path, source), **pipes))
            for side, source in sides.items()
        }
        for turn in range(turns + 1):
            for side, worker in workers.items():
                assert worker.stdin is not None
                assert worker.stdout is not None
                worker.stdin.write("\n")
                worker.stdin.flush()
                taken = json.loads(worker.stdout.readline())
                print(f"turn {turn}, {side}: {taken}", file=sys.stderr, flush=True)
                if turn > 0:  # the first warms up
                    found[side].append(taken)
        for worker in workers.values():
            worker.communicate()
    return found


def measure(arguments: list[str], sides: dict[str, Path], turns: int, path: Path) -> list[str]:
    """Train where ``path`` is not a run already, take phases in turns, and return lines of the page."""
    if not (path / "run.json").exists():
        subprocess.run(**command_of("train", arguments, path, ROOT), check=True)
    rl = rl_cost(path)
    found = phases_in_turns(arguments, sides, turns, path)
    lines = [
        f"RL: {rl['rollouts']:,} rollouts of {rl['tokens']:.0f} tokens, {100 * rl['informative']:.0f} % of groups "
        f"informative; {rl['rl_s']:.1f} s, of which generation {rl['generate_s']:.1f} and updates "
        f"{rl['update_s']:.1f}. IRL: {rl['demonstrations']:,} demonstrations trained on, "
        f"{100 * rl['demonstrations'] / rl['rollouts']:.1f} % of the rollouts.",
        "",
        "| IRL phase, CPU seconds | choosing | updates | in all | of RL |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for side, taken in found.items():
        cells = [spread([one[part] for one in taken]) for part in ("choosing", "updates", "phase")]
        share = spread([100 * one["phase"] / rl["rl_s"] for one in taken], " %")
        lines.append(f"| {side} | {' | '.join(cells)} | {share} |")
    apart = [
        abs(ours - theirs)
        for taken in zip(*found.values(), strict=True)
        for ours, theirs in zip(taken[0]["losses"], taken[-1]["losses"], strict=True)
    ]
    return [*lines, "", f"Losses of the sides differ by at most {max(apart):.1e}."] if len(sides) > 1 else lines


def spread(values: Sequence[float], unit: str = "") -> str:
    """The median, smallest and largest."""
    return f"{statistics.median(values):.2f}{unit} [{min(values):.2f}, {max(values):.2f}]"


def checkout(commit: str, folder: Path) -> Path:
    """The files of a commit in a folder of their own."""
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "checkout", "--quiet", commit], check=True)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="a commit that takes turns with the working tree")
    parser.add_argument("--smollm2", type=Path, help="a checkpoint made by scripts/smollm2_checkpoint.py")
    parser.add_argument("--share", type=float, default=1.0, help="of the paper's numbers on Countdown, all alike")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--work", type=Path, help="a folder for runs, where one that is there is not made again")
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        part, path, *arguments = options.part
        {"train": train_by_cpu_time, "phases": take_phases}[part](arguments, Path(path))
        return
    lines = [
        "# What an IRL phase costs",
        "",
        f"{made_by('torch')} One thread, hf engine, {options.turns} turns. The script says what is measured; medians, "
        "smallest and largest.",
    ]
    with TemporaryDirectory() as folder:
        sides = {f"`{options.before}`": checkout(options.before, Path(folder) / "before")} if options.before else {}
        sides[f"`{COMMIT}`"] = ROOT
        work = options.work or Path(folder)
        found = measure(countdown(options.share), sides, options.turns, work / "countdown")
        lines += ["", "## Countdown, embedded model", "", *found]
        if options.smollm2 is not None:
            found = measure(smollm2(options.smollm2, work), sides, options.turns, work / "smollm2")
            lines += ["", "## Larger number, SmolLM2-135M", "", *found]
    page = "\n".join(lines) + "\n"
    deliver(page, options.out)


if __name__ == "__main__":
    main()
