"""What TRL's SFTTrainer learns from demonstrations: python sft_labels.py DEMOS MODEL OUT writes its labels as JSON."""

import json
import sys
from pathlib import Path

from datasets import load_dataset
from trl import SFTConfig, SFTTrainer


def main(demos: str, model: str, out: str) -> None:
    kind = "parquet" if demos.endswith(".parquet") else "json"
    config = SFTConfig(output_dir=out, use_cpu=True, bf16=False, report_to="none", per_device_train_batch_size=1)
    data = load_dataset(kind, data_files=demos, split="train")
    trainer = SFTTrainer(model=model, args=config, train_dataset=data)
    batches = [trainer.data_collator([row]) for row in trainer.train_dataset]
    found = [{"tokens": batch["input_ids"][0].tolist(), "labels": batch["labels"][0].tolist()} for batch in batches]
    Path(out, "labels.json").write_text(json.dumps(found))


if __name__ == "__main__":
    Path(sys.argv[3]).mkdir(parents=True, exist_ok=True)
    main(*sys.argv[1:])
