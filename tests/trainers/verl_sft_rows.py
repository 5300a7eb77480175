"""What verl's SFT data set makes of a file of demonstrations, as JSON: python verl_sft_rows.py MODEL DEMOS.

Runs in the environment of verl. The template is that of the chat model with <bos> left to the tokenizer: verl renders
each message alone, and compares.
"""

import json
import sys

from transformers import AutoTokenizer
from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset

model, demos = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
tokenizer.chat_template = tokenizer.chat_template.replace("{{ bos_token }}", "")
rows = MultiTurnSFTDataset([demos], tokenizer, {"max_length": 64, "pad_mode": "no_padding"})
found = []
for place in range(len(rows)):
    row = rows[place]
    ids, mask = row["input_ids"].tolist(), row["loss_mask"].tolist()
    learned = [token for token, marked in zip(ids, mask, strict=True) if marked]
    found.append({"text": tokenizer.decode(ids), "learned": tokenizer.decode(learned)})
print(json.dumps(found))
