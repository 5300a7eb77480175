"""The embedded model with a chat template, as trainers other than ours take it: python chat_model.py FOLDER."""

import json
import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

EMBEDDED = Path(__file__).parents[2] / "src" / "unsqueeze" / "models" / "countdown-0.4m"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)
"""What the model was trained on: the problem after <bos>, then the answer, then <eos>."""


def save_chat_model(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    tokenizer.chat_template = TEMPLATE
    AutoModelForCausalLM.from_pretrained(EMBEDDED).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def problems(first: int, number: int) -> list[str]:
    """Problems of Countdown in the words that the model knows."""
    found = []
    for place in range(first, first + number):
        a, b, c = 2 + place % 7, 3 + place % 11, 1 + place // 77 + place % 5
        found.append(f"Make {a * b + c} from {a} {b} {c}.")
    return found


if __name__ == "__main__":
    out = Path(sys.argv[1])
    save_chat_model(out)
    lines = [{"messages": [{"role": "user", "content": text}], "solution": text.split()[1]} for text in problems(0, 64)]
    (out / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
