"""A few steps of TRL's GRPO on the embedded model, on the CPU: python trl_run.py OUT MODEL [--config JSON].

``--eval N`` adds an evaluation on N prompts of its own, whose rollouts TRL logs into the same files; ``--resume
FOLDER`` goes on from a checkpoint. The losses of the log are left in OUT/losses.json.
"""

import argparse
import json
from pathlib import Path

from chat_model import problems
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer


def accuracy(prompts, completions, **_):
    """1 where the answer names the target, which is enough to have both rewards in a group."""
    return [
        float(prompt[-1]["content"].split()[1] in said[0]["content"])
        for prompt, said in zip(prompts, completions, strict=True)
    ]


def brevity(completions, **_):
    return [-0.04 * (len(said[0]["content"]) > 40) for said in completions]


def as_rows(texts):
    return Dataset.from_list([{"prompt": [{"role": "user", "content": text}]} for text in texts])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("model")
    parser.add_argument("--eval", type=int, default=0)
    parser.add_argument("--resume")
    parser.add_argument("--two-rewards", action="store_true")
    parser.add_argument("--config", default="{}", help="further settings of GRPOConfig, as JSON")
    given = parser.parse_args()
    settings = {
        "output_dir": given.out,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "log_completions": True,
        "num_completions_to_print": 0,
        "logging_steps": 1,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 24,
        "learning_rate": 1e-4,
        "max_steps": 4,
        "save_steps": 2,
        "seed": 7,
        **({"eval_strategy": "steps", "eval_steps": 2} if given.eval else {}),
        **json.loads(given.config),
    }
    trainer = GRPOTrainer(
        model=given.model,
        reward_funcs=[accuracy, brevity] if given.two_rewards else [accuracy],
        args=GRPOConfig(**settings),
        train_dataset=as_rows(problems(0, 64)),
        eval_dataset=as_rows(problems(1000, given.eval)) if given.eval else None,
    )
    trainer.train(resume_from_checkpoint=given.resume)
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    Path(given.out, "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main()
