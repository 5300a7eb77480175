"""TRL's side of ``rl_step.py``: ``python benchmarks/rl_step_trl.py '{"prompts": 16, ...}'``."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from coin import coin
from countdown_trl import countdown_parts
from models import prompts_of
from rl_step_work import Meter, Work, recipe_of
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.tasks.countdown import countdown_problems


class TimedTrainer(GRPOTrainer):
    """Hands to a meter what TRL spends on generating and judging, and how many tokens it draws."""

    meter: Meter

    def _generate(self, *arguments: Any, **keywords: Any) -> Any:
        generated = self._timed("generate_ms", super()._generate, *arguments, **keywords)
        self.meter.add(tokens=sum(len(ids) for ids in generated[1]))
        return generated

    def _calculate_rewards(self, *arguments: Any, **keywords: Any) -> Any:
        return self._timed("judge_ms", super()._calculate_rewards, *arguments, **keywords)

    def _timed(self, kind: str, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        begun = time.perf_counter()
        result = function(*arguments, **keywords)
        self.meter.add(**{kind: 1e3 * (time.perf_counter() - begun)})
        return result


class CountsSteps(TrainerCallback):
    """Hands every step to the meter."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._meter.step()


def trl(work: Work, meter: Meter) -> None:
    """TRL with the settings of ours."""
    with tempfile.TemporaryDirectory(prefix="rl-step-trl-") as folder:
        trainer = TimedTrainer(
            **parts_of_trl(work),
            callbacks=[CountsSteps(meter)],
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
                max_steps=work.warm_up + work.turns * work.steps,
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
        trainer.meter = meter
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def parts_of_trl(work: Work) -> dict[str, Any]:
    """The model, the prompts and the reward: the prompts of ours, letter by letter."""
    if work.model is None:
        problems, _ = countdown_problems(work.num_problems, 1, 0)
        return countdown_parts(problems)
    tokenizer = AutoTokenizer.from_pretrained(work.model)
    texts = [tokenizer.decode(prompt) for prompt in prompts_of(recipe_of(work), tokenizer, work.num_problems)]

    def tossed(completions: Sequence[str], **_: Any) -> list[float]:
        return [float(coin(None, completion)) for completion in completions]

    return {
        "model": AutoModelForCausalLM.from_pretrained(work.model, dtype=torch.float32),
        "processing_class": tokenizer,
        "reward_funcs": tossed,
        "train_dataset": Dataset.from_list([{"prompt": text} for text in texts]),
    }


if __name__ == "__main__":
    work = Work(**json.loads(sys.argv[1]))
    without_progress_bars()
    torch.set_num_threads(work.threads)
    trl(work, Meter(work))
