"""One turn of ``rl_step.py``: some RL steps of one side in a process of its own, told as a line of JSON.

    python benchmarks/rl_step_sides.py trl '{"prompts": 16, ...}'

What is measured of either is said in ``rl_step.py``. Peak memory is that of the process, with libraries and the model.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from coin import coin
from countdown_trl import countdown_parts
from models import control_of, prompts_of
from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import Interrupted
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.progress import Silent, StopRequest
from unsqueeze.tasks.countdown import countdown_problems
from unsqueeze.training.loop import train
from unsqueeze.training.setup import load_parts, open_directory, put_together

PROBLEMS = 800


@dataclass(frozen=True, kw_only=True)
class Work:
    """What both sides do: ``steps`` that count after ``warm_up`` that do not.

    ``model`` and ``problems`` are a checkpoint and a JSONL file; without them it is Countdown with the embedded model.
    ``rows_at_once`` are responses in a micro-batch of TRL's, of which ours cuts its own.
    """

    steps: int
    warm_up: int
    prompts: int
    group_size: int
    max_tokens: int
    learning_rate: float
    rows_at_once: int
    threads: int = 1
    kl_coefficient: float = 0.0
    model: str | None = None
    problems: str | None = None

    @property
    def rows(self) -> int:
        return self.prompts * self.group_size


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Means over the steps of a turn: milliseconds a step, and how many tokens were drawn in it; the peak of memory."""

    cpu_ms: float
    step_ms: float
    generate_ms: float
    judge_ms: float
    store_ms: float
    tokens: float
    peak_mb: float

    @property
    def rest_ms(self) -> float:
        """The update with what belongs to it: scoring by the reference, batches, metrics."""
        return self.step_ms - self.generate_ms - self.judge_ms - self.store_ms


def recipe_of(work: Work) -> Recipe:
    """Ours: the quickstart's control, or the recipe for SmolLM2 without IRL phases, rewarded by a coin."""
    settings = [
        f"rl.prompts_per_step={work.prompts}",
        f"rl.group_size={work.group_size}",
        f"rl.learning_rate={work.learning_rate}",
        f"rl.kl_coefficient={work.kl_coefficient}",
        f"rollout.max_tokens={work.max_tokens}",
        f"data.num_train={PROBLEMS}",
        *("evaluation.n=1", "data.num_test=4", "checkpoint.every_steps=null"),
    ]
    if work.model is not None:
        settings += ["verify.verifier=coin:coin", "evaluation.every_steps=null"]
    return control_of(work.model, work.problems, settings)


class Clock(Silent):
    """Takes down when each step of ours ended and its line of metrics, and asks to stop after ``steps`` of them."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.stop = StopRequest()
        self.ends = [time.perf_counter()]
        self.cpu_ends = [time.process_time()]
        self.records: list[Mapping[str, Any]] = []

    def step(self, record: Mapping[str, Any]) -> None:
        if record["kind"] != "rl":
            return
        self.ends.append(time.perf_counter())
        self.cpu_ends.append(time.process_time())
        self.records.append(record)
        if len(self.records) == self.steps:
            self.stop.ask()


def ours(work: Work) -> Turn:
    """A run of our own, every rollout stored, stopped inside its first phase."""
    recipe = recipe_of(work)
    parts = load_parts(recipe)
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="rl-step-") as folder,
        closing(open_directory(recipe, parts, Path(folder, "run"))) as directory,
    ):
        clock = Clock(work.warm_up + work.steps)
        run = put_together(recipe, parts, directory, progress=clock, stop=clock.stop)
        with suppress(Interrupted):
            train(run, reference=parts.reference)

    def mean(key: str) -> float:
        return statistics.mean(record[key] for record in clock.records[work.warm_up :])

    return Turn(
        cpu_ms=1e3 * (clock.cpu_ends[-1] - clock.cpu_ends[work.warm_up]) / work.steps,
        step_ms=1e3 * (clock.ends[-1] - clock.ends[work.warm_up]) / work.steps,
        generate_ms=1e3 * mean("generate_s"),
        judge_ms=1e3 * mean("verify_s"),
        store_ms=1e3 * mean("store_s"),
        tokens=mean("sampled_tokens"),
        peak_mb=peak_mb(),
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

    def __init__(self, spent: dict[str, float], warm_up: int) -> None:
        self.spent = spent
        self.warm_up = warm_up
        self.begun = self.cpu_begun = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._begin()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.warm_up:
            self._begin()
        self.spent["step"] = time.perf_counter() - self.begun
        self.spent["cpu"] = time.process_time() - self.cpu_begun

    def _begin(self) -> None:
        self.spent.update(dict.fromkeys(self.spent, 0.0))
        self.begun, self.cpu_begun = time.perf_counter(), time.process_time()


def trl(work: Work) -> Turn:
    """TRL with the settings of ours."""
    spent = dict.fromkeys(("cpu", "step", "generate", "judge", "tokens"), 0.0)
    with tempfile.TemporaryDirectory(prefix="rl-step-trl-") as folder:
        trainer = TimedTrainer(
            **parts_of_trl(work),
            callbacks=[FromWarmUpOn(spent, work.warm_up)],
            args=GRPOConfig(
                output_dir=folder,
                per_device_train_batch_size=work.rows_at_once,
                gradient_accumulation_steps=work.rows // work.rows_at_once,
                num_generations=work.group_size,
                max_completion_length=work.max_tokens,
                temperature=1.0,
                beta=work.kl_coefficient,
                loss_type="grpo",
                learning_rate=work.learning_rate,
                lr_scheduler_type="constant",
                max_steps=work.steps + work.warm_up,
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
        cpu_ms=1e3 * spent["cpu"] / work.steps,
        step_ms=1e3 * spent["step"] / work.steps,
        generate_ms=1e3 * spent["generate"] / work.steps,
        judge_ms=1e3 * spent["judge"] / work.steps,
        store_ms=0.0,
        tokens=spent["tokens"] / work.steps,
        peak_mb=peak_mb(),
    )


def parts_of_trl(work: Work) -> dict[str, Any]:
    """The model, the prompts and the reward: the prompts of ours, letter by letter."""
    if work.model is None:
        problems, _ = countdown_problems(PROBLEMS, 1, 0)
        return countdown_parts(problems)
    tokenizer = AutoTokenizer.from_pretrained(work.model)
    texts = [tokenizer.decode(prompt) for prompt in prompts_of(recipe_of(work), tokenizer, PROBLEMS)]

    def tossed(completions: Sequence[str], **_: Any) -> list[float]:
        return [float(coin(None, completion)) for completion in completions]

    return {
        "model": AutoModelForCausalLM.from_pretrained(work.model, dtype=torch.float32),
        "processing_class": tokenizer,
        "reward_funcs": tossed,
        "train_dataset": Dataset.from_list([{"prompt": text} for text in texts]),
    }


def peak_mb() -> float:
    """The largest resident memory of this process so far, in 10^6 bytes; Linux counts it in KiB."""
    return getrusage(RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    side, settings = sys.argv[1:]
    work = Work(**json.loads(settings))
    without_progress_bars()
    torch.set_num_threads(work.threads)
    print(json.dumps(vars({"trl": trl, "ours": ours}[side](work))))


if __name__ == "__main__":
    main()
