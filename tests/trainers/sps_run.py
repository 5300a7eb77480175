"""A few steps of TRL's GRPO, plain or with SPS, on the embedded model: python sps_run.py OUT plain|sps [--config JSON].

``--eval N`` evaluates on N prompts of its own; ``--resume FOLDER`` goes on from a checkpoint; ``--lora`` trains an
adapter. The lines of the log are left in OUT/log.json, the weights in OUT/final.
"""

import argparse
import json
from pathlib import Path

from chat_model import EMBEDDED, problems
from datasets import Dataset
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

from unsqueeze.integrations.trl import SPSConfig, SPSTrainer


def accuracy(prompts, completions, **_):
    return [float(prompt.split()[1] in said) for prompt, said in zip(prompts, completions, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("trainer", choices=("plain", "sps"))
    parser.add_argument("--eval", type=int, default=0)
    parser.add_argument("--resume")
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--config", default="{}")
    given = parser.parse_args()
    settings = {
        "output_dir": given.out,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 24,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "max_steps": 4,
        "save_strategy": "no",
        "seed": 7,
        **({"eval_strategy": "steps", "eval_steps": 1} if given.eval else {}),
        **json.loads(given.config),
    }
    Trainer, Config = (SPSTrainer, SPSConfig) if given.trainer == "sps" else (GRPOTrainer, GRPOConfig)
    lora = LoraConfig(r=2, lora_dropout=0.5, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = Trainer(
        model=str(EMBEDDED),
        reward_funcs=[accuracy],
        args=Config(**settings),
        train_dataset=Dataset.from_list([{"prompt": text, "answer": text.split()[1]} for text in problems(0, 64)]),
        eval_dataset=Dataset.from_list([{"prompt": text} for text in problems(1000, given.eval)])
        if given.eval
        else None,
        peft_config=lora if given.lora else None,
    )
    trainer.train(resume_from_checkpoint=given.resume)
    trainer.save_model(str(Path(given.out, "final")))
    if trainer.is_world_process_zero():
        Path(given.out, "log.json").write_text(json.dumps(trainer.state.log_history))


if __name__ == "__main__":
    main()
