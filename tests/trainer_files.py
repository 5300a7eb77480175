"""Rollout files with the structure that trainers' own code gives them, for tests; the sources stand in the readers.

Each function takes rollouts in one form and writes them as its trainer does, special cases and all.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedTokenizerFast

from tiny_models import BYTE_VOCABULARY, byte_tokenizer, tiny_llama

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
"""A chat template that writes the token of the beginning itself, as those of Llama 3 and Gemma do."""


def chat_tokenizer() -> PreTrainedTokenizerFast:
    """A token a byte; whatever is encoded with special tokens gets ``<bos>`` in front, as with Llama's."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = byte_tokenizer(TEMPLATE)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    return tokenizer


def chat_checkpoint(folder: Path) -> Path:
    """A random model with that tokenizer, as a checkpoint."""
    tiny_llama(BYTE_VOCABULARY, context=256).save_pretrained(folder)
    chat_tokenizer().save_pretrained(folder)
    return folder


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def write_trl(folder: Path, step: int, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A log call of TRL's GRPOTrainer: a data frame of prompt, completion, rewards and advantage under the log step."""
    rewards = [name for name in rows[0] if name not in ("prompt", "completion", "advantage")]
    table = {
        "step": [step] * len(rows),
        "prompt": [row["prompt"] for row in rows],
        "completion": [[{"role": "assistant", "content": row["completion"]}] for row in rows],
        **{name: [row[name] for row in rows] for name in rewards},
        "advantage": [row.get("advantage", 0.0) for row in rows],
    }
    path = folder / "completions" / f"completions_{step:05d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(table).to_parquet(path)
    return path


def write_swift(folder: Path, step: int, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A log call of ms-swift's GRPOTrainer: one line of equally long lists, appended; the step as text."""
    table = {"step": [str(step)] * len(rows)} | {name: [row[name] for row in rows] for name in rows[0]}
    path = folder / "completions.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(table, ensure_ascii=False) + "\n")
    return path


def write_trainer_state(folder: Path, steps: int) -> None:
    """The state that transformers' Trainer keeps in a checkpoint."""
    checkpoint = folder / f"checkpoint-{steps}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": steps, "logging_steps": 1}))


def write_verl(folder: Path, step: int, rows: Sequence[Mapping[str, Any]]) -> Path:
    """verl's dump of a step: decoded texts, the sum of the token scores, and what the rewards returned beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {"input": row["input"], "output": row["output"], "gts": row["gts"], "score": row["score"], "step": step}
        | row.get("extra", {})
        for row in rows
    ]
    path = folder / f"{step}.jsonl"
    path.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n")
    return path


def write_nemo(folder: Path, step: int, rows: Sequence[Mapping[str, Any]], unfiltered: Sequence[float] = ()) -> Path:
    """NeMo-RL's log of a step: tensors padded to the longest, each line one slice of every column and its number."""
    longest = max(len(row["prompt_ids"]) + len(row["ids"]) for row in rows)

    def padded(front: Sequence[Any], behind: Sequence[Any], pad: Any) -> list[Any]:
        return [*front, *behind] + [pad] * (longest - len(front) - len(behind))

    data: dict[str, list[Any]] = {
        "content": [[row["prompt"], row["completion"]] for row in rows],
        "rewards": list(unfiltered) or [row["reward"] for row in rows],
        **({"filtered_rewards": [row["reward"] for row in rows]} if unfiltered else {}),
        "input_lengths": [len(row["prompt_ids"]) + len(row["ids"]) for row in rows],
        "token_ids": [padded(row["prompt_ids"], row["ids"], 0) for row in rows],
        "token_loss_mask": [padded([0] * len(row["prompt_ids"]), [1] * len(row["ids"]), 0) for row in rows],
        "sample_loss_mask": [row.get("trained", 1.0) for row in rows],
        "advantages": [[0.0] * longest for _ in rows],
        "generation_logprobs": [padded([0.0] * len(row["prompt_ids"]), row["logprobs"], 0.0) for row in rows],
        "prev_logprobs": [[0.0] * longest for _ in rows],
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"train_data_step{step}.jsonl"
    with path.open("w") as stream:
        for place in range(len(rows)):
            line = {name: values[place : place + 1] for name, values in data.items()}
            stream.write(json.dumps({**line, "idx": place}) + "\n")
    return path


def write_slime(
    folder: Path, rollout_id: int, samples: Sequence[Mapping[str, Any]], *, evaluation: bool = False
) -> Path:
    """slime's debug data of a rollout step: the fields of ``Sample.to_dict`` in a torch file."""
    fields: dict[str, Any] = {
        "group_index": None, "index": None, "rollout_id": None, "prompt": "", "tokens": [], "multimodal_inputs": None,
        "multimodal_train_inputs": None, "response": "", "response_length": 0, "label": None, "reward": None,
        "loss_mask": None, "weight_versions": [], "rollout_log_probs": None, "remove_sample": False,
        "status": "completed", "metadata": {}, "train_metadata": None, "session_id": None,
        "spec_info": {"spec_accept_token_num": 0}, "prefix_cache_info": {"cached_tokens": 0},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rollout_{'eval_' if evaluation else ''}{rollout_id}.pt"
    torch.save({"rollout_id": rollout_id, "samples": [fields | dict(sample) for sample in samples]}, path)
    return path


def prime_episode(group: str, row: Mapping[str, Any], *, step: int = 3, work: str = "train") -> dict[str, Any]:
    """An episode of verifiers as prime-rl stores it: a graph of two messages, null fields left out.

    The node of the response begins with what the template puts before it (``scaffold``), not sampled.
    """
    task = {
        "type": "Math",
        "data": {"idx": 0, "prompt": row["prompt"], "answer": row.get("gold", "4")},
        "key": row["key"],
    }
    scaffold = row.get("scaffold", [])
    nodes = [
        {
            "parent": None if place == 0 else place - 1,
            "message": message,
            "sampled": False,
            "token_ids": row["prompt_ids"] if place == 0 else [],
            "mask": [False] * (len(row["prompt_ids"]) if place == 0 else 0),
        }
        for place, message in enumerate(row["prompt"])
    ]
    nodes.append(
        {
            "parent": len(nodes) - 1,
            "message": {"role": "assistant", **row["message"]},
            "sampled": True,
            "token_ids": [*scaffold, *row["ids"]],
            "mask": [False] * len(scaffold) + [True] * len(row["ids"]),
            "logprobs": row["logprobs"],
        }
    )
    trace = {
        "version": 1,
        "task": task,
        "agent": {"config": {}, "name": "agent", "trainable": True},
        "nodes": nodes,
        "calls": [{"node": len(nodes) - 1, "finish_reason": row.get("finish", "stop")}],
        "rewards": row["rewards"],
        "ok": True,
        "errors": [],
    }
    run = {"type": "train", "id": "r", "work": {"type": work, "step": step, "policy": {"start": step - 1, "end": step}}}
    return {
        "id": "e",
        "env": {"id": "e"},
        "task": task,
        "group": {"id": group},
        "run": run,
        "ok": True,
        "traces": [trace],
    }


def write_prime(
    out: Path, step: int, episodes: Sequence[Mapping[str, Any]], kind: str = "train", subset: str = "all"
) -> Path:
    path = out / "rollouts" / f"step_{step}" / kind / subset / "traces.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        stream.writelines(json.dumps(episode) + "\n" for episode in episodes)
    return path
