"""An RL step, ours beside TRL's GRPO trainer: generating, judging, updating, and what storing every rollout adds.

    python benchmarks/rl_step.py --out docs/results/rl-step-2cores.md

Both train the embedded Countdown model by GRPO with the same settings (16 prompts × 8 rollouts of at most 20 tokens,
fp32, AdamW, one thread, rewards by the same judge), in one process and taking turns: TRL, ours, TRL, ours, and so on.
The first steps of a turn warm up. A step is the time from the end of one to the end of the next, so that everything a
trainer does between them counts; neither evaluates or saves checkpoints, and ours stores every rollout. The ratio is
that of the CPU time a step takes, which other work on the machine lengthens less than time by the clock; the columns of
its parts are by the clock. With
``--kl-coefficients 0 0.01`` each is measured without and with a reference policy. A cell is the median over the turns,
smallest and largest.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from countdown_trl import countdown_parts
from pages import deliver, median_and_range, this_commit
from unsqueeze.config.load import arms_of, load_recipe
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.progress import Silent, StopRequest
from unsqueeze.tasks.countdown import countdown_problems
from unsqueeze.training.loop import train
from unsqueeze.training.setup import load_parts, open_directory, put_together

PROMPTS, GROUP_SIZE, MAX_TOKENS, LEARNING_RATE, PROBLEMS = 16, 8, 20, 1e-4, 256
WARM_UP = 2


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Means over the steps of a turn: milliseconds a step, and how many tokens were drawn in it."""

    cpu_ms: float
    step_ms: float
    generate_ms: float
    judge_ms: float
    store_ms: float
    tokens: float

    @property
    def rest_ms(self) -> float:
        """The update with what belongs to it: scoring by the reference, batches, metrics."""
        return self.step_ms - self.generate_ms - self.judge_ms - self.store_ms


class Clock(Silent):
    """When each step of ours ended, and what its line of metrics says."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.cpu_ends: list[float] = []
        self.records: list[Mapping[str, Any]] = []

    def step(self, record: Mapping[str, Any]) -> None:
        if record["kind"] != "rl":
            return
        self.ends.append(time.perf_counter())
        self.cpu_ends.append(time.process_time())
        self.records.append(record)


def ours(steps: int, kl_coefficient: float) -> Turn:
    """A run of the quickstart's control, every rollout stored."""
    settings = [
        f"data.num_train={PROBLEMS}",
        f"rl.steps={steps + WARM_UP}",
        f"rl.prompts_per_step={PROMPTS}",
        f"rl.group_size={GROUP_SIZE}",
        f"rl.learning_rate={LEARNING_RATE}",
        f"rl.kl_coefficient={kl_coefficient}",
        f"rollout.max_tokens={MAX_TOKENS}",
        *("evaluation.n=1", "data.num_test=4", "checkpoint.every_steps=null"),
    ]
    recipe = arms_of(load_recipe("quickstart", settings), "quickstart")["grpo"]
    parts, clock = load_parts(recipe), Clock()
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="rl-step-") as folder,
        closing(open_directory(recipe, parts, Path(folder, "run"))) as directory,
    ):
        run = put_together(recipe, parts, directory, progress=clock, stop=StopRequest())
        train(run, reference=parts.reference)

    def mean(key: str) -> float:
        return statistics.mean(record[key] for record in clock.records[WARM_UP:])

    return Turn(
        cpu_ms=1e3 * (clock.cpu_ends[-1] - clock.cpu_ends[WARM_UP - 1]) / steps,
        step_ms=1e3 * (clock.ends[-1] - clock.ends[WARM_UP - 1]) / steps,
        generate_ms=1e3 * mean("generate_s"),
        judge_ms=1e3 * mean("verify_s"),
        store_ms=1e3 * mean("store_s"),
        tokens=mean("sampled_tokens"),
    )


class TimedTrainer(GRPOTrainer):
    """Adds up what TRL spends on generating and judging, and how many tokens it draws."""

    spent: dict[str, float]

    def _generate(self, *arguments: Any, **keywords: Any) -> Any:
        generated = self._timed("generate", super()._generate, *arguments, **keywords)
        self.spent["tokens"] += sum(len(ids) for ids in generated[1])
        return generated

    def _calculate_rewards(self, *arguments: Any, **keywords: Any) -> Any:
        return self._timed("judge", super()._calculate_rewards, *arguments, **keywords)

    def _timed(self, kind: str, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        begun = time.perf_counter()
        result = function(*arguments, **keywords)
        self.spent[kind] += time.perf_counter() - begun
        return result


class FromWarmUpOn(TrainerCallback):
    """Sets the sums of a trainer to zero when the warm-up is over, and takes the time from then to the last step."""

    def __init__(self, spent: dict[str, float]) -> None:
        self.spent = spent
        self.begun = self.cpu_begun = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == WARM_UP:
            self.spent.update(dict.fromkeys(self.spent, 0.0))
            self.begun, self.cpu_begun = time.perf_counter(), time.process_time()
        self.spent["step"] = time.perf_counter() - self.begun
        self.spent["cpu"] = time.process_time() - self.cpu_begun


def trl(steps: int, kl_coefficient: float) -> Turn:
    """TRL with the settings of ours."""
    problems, _ = countdown_problems(PROBLEMS, 1, 0)
    spent = dict.fromkeys(("cpu", "step", "generate", "judge", "tokens"), 0.0)
    with tempfile.TemporaryDirectory(prefix="rl-step-trl-") as folder:
        trainer = TimedTrainer(
            **countdown_parts(problems),
            callbacks=[FromWarmUpOn(spent)],
            args=GRPOConfig(
                output_dir=folder,
                per_device_train_batch_size=PROMPTS * GROUP_SIZE,
                num_generations=GROUP_SIZE,
                max_completion_length=MAX_TOKENS,
                temperature=1.0,
                beta=kl_coefficient,
                loss_type="grpo",
                learning_rate=LEARNING_RATE,
                lr_scheduler_type="constant",
                max_steps=steps + WARM_UP,
                save_strategy="no",
                logging_steps=1,
                seed=0,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                disable_tqdm=True,
                report_to=[],
            ),
        )
        trainer.spent = spent
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return Turn(
        cpu_ms=1e3 * spent["cpu"] / steps,
        step_ms=1e3 * spent["step"] / steps,
        generate_ms=1e3 * spent["generate"] / steps,
        judge_ms=1e3 * spent["judge"] / steps,
        store_ms=0.0,
        tokens=spent["tokens"] / steps,
    )


def take_turns(turns: int, steps: int, kl_coefficient: float) -> dict[str, list[Turn]]:
    """TRL, ours, TRL, ours, …"""
    found: dict[str, list[Turn]] = {"TRL": [], "ours": []}
    for number in range(turns):
        for name, side in {"TRL": trl, "ours": ours}.items():
            found[name].append(side(steps, kl_coefficient))
            done = found[name][-1]
            print(
                f"beta {kl_coefficient:g}, turn {number + 1}, {name}: {done.cpu_ms:.0f} CPU ms a step", file=sys.stderr
            )
    return found


COLUMNS: dict[str, Callable[[Turn], float]] = {
    "a step, CPU ms": lambda turn: turn.cpu_ms,
    "a step, ms": lambda turn: turn.step_ms,
    "generating": lambda turn: turn.generate_ms,
    "judging": lambda turn: turn.judge_ms,
    "storing": lambda turn: turn.store_ms,
    "updating and the rest": lambda turn: turn.rest_ms,
    "tokens drawn a step": lambda turn: turn.tokens,
}


def lines_of(kl_coefficient: float, found: dict[str, list[Turn]]) -> list[str]:
    """The rows of one KL coefficient, and the ratios of steps taken in turn."""
    rows = []
    for name, turns in found.items():
        cells = [median_and_range([column(turn) for turn in turns]) for column in COLUMNS.values()]
        rows.append(f"| {kl_coefficient:g} | {name} | " + " | ".join(cells) + " | |")
    pairs = list(zip(found["TRL"], found["ours"], strict=True))
    ratios = median_and_range([theirs.cpu_ms / own.cpu_ms for theirs, own in pairs], digits=2)
    return [rows[0], rows[1].removesuffix(" |") + f" {ratios} |"]


def page(found: dict[float, dict[str, list[Turn]]], turns: int, steps: int) -> str:
    """The result as Markdown."""
    commit = this_commit()
    return "\n".join(
        [
            "# An RL step: ours and TRL's",
            "",
            f"Made by `python benchmarks/rl_step.py` at commit `{commit}`, seed 0: {turns} turns of {steps} steps, "
            f"each after {WARM_UP} that warm up; trl {version('trl')}, transformers {version('transformers')}, "
            f"torch {version('torch')}, one thread. The script says what is measured.",
            "",
            f"| KL coefficient | | {' | '.join(COLUMNS)} | CPU time: TRL's step / ours |",
            "| ---: | --- |" + " ---: |" * (len(COLUMNS) + 1),
            *(line for coefficient, sides in found.items() for line in lines_of(coefficient, sides)),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="steps of a turn, after those that warm up")
    parser.add_argument("--kl-coefficients", type=float, nargs="+", default=[0.0, 0.01])
    parser.add_argument("--out", type=Path, help="the page to write; without it, it is printed")
    arguments = parser.parse_args()
    without_progress_bars()
    torch.set_num_threads(1)
    measure = partial(take_turns, arguments.turns, arguments.steps)
    text = page({each: measure(each) for each in arguments.kl_coefficients}, arguments.turns, arguments.steps)
    deliver(text, arguments.out)


if __name__ == "__main__":
    main()
