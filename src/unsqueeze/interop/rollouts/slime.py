"""slime's ``--save-debug-rollout-data p_{rollout_id}.pt``, one torch file a rollout step.

Written by ``save_debug_rollout_data`` (slime 624b824) as ``{"rollout_id", "samples"}``, each sample
``Sample.to_dict()``. Evaluations go to files of the same name with ``eval_`` in it. Files are read without running what
a pickle may hold.
"""

import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.interop.rollouts.format import (
    Asked,
    Format,
    list_of,
    number_of,
    reward_column,
    text_of,
    value_of,
    whole_number_of,
    wrong,
)
from unsqueeze.interop.sample_files import Record, check_readable

FINISHED = {"completed": None, "truncated": "length"}
"""Why a response ended, by its status; others were never finished, and are not judged."""


def find(path: Path) -> list[str]:
    """Return the ``.pt`` files of a folder by the number in their names, those of evaluations left aside."""
    if not path.is_dir():
        return [str(path)] if path.suffix == ".pt" else []
    found = [(int(number[1]), file) for file in path.glob("*.pt") if (number := _number(file)) is not None]
    return [str(file) for _, file in sorted(found)]


def _number(file: Path) -> re.Match[str] | None:
    return None if re.search(r"eval_\d+$", file.stem) else re.search(r"(\d+)$", file.stem)


def read(files: Sequence[str], columns: Sequence[str], asked: Asked) -> Iterator[Record]:
    """Yield every sample with its tokens and, where they were asked of the engine, its log-probs."""
    for file in files:
        step, samples = _load(file)
        for number, sample in enumerate(samples, start=1):
            where = f"{file}, sample {number}"
            if not isinstance(sample, Mapping):
                raise UserError(
                    f"{where}: a {type(sample).__name__}, where slime writes an object; leave this file out."
                )
            yield Record(where, _fields(Record(where, sample), step, asked))


def _load(path: str) -> tuple[int, list[Any]]:
    check_readable(path)
    import torch

    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: not a torch file of plain values ({reason}); give what --save-debug-rollout-data wrote."
        ) from None
    step = held.get("rollout_id") if isinstance(held, dict) else None
    samples = held.get("samples") if isinstance(held, dict) else None
    if not isinstance(step, int) or not isinstance(samples, list):
        raise UserError(f"{path}: it must hold rollout_id and samples, as slime's --save-debug-rollout-data writes it.")
    return step, samples


def _fields(record: Record, step: int, asked: Asked) -> dict[str, Any]:
    tokens = list_of(record, "tokens", int)
    length = whole_number_of(record, "response_length")
    if not 0 <= length <= len(tokens):
        raise wrong(record, "response_length", length, f"It must be 0 to the {len(tokens)} tokens there are.")
    mask = record.fields.get("loss_mask")
    if mask is not None and not all(list_of(record, "loss_mask", (int, float))):
        raise UserError(
            f"{record.where}: loss_mask leaves out parts of the response, which are others' words; only a prompt with "
            f"one response is a demonstration."
        )
    status = text_of(record, "status")
    logp = record.fields.get("rollout_log_probs")
    start, stopped = len(tokens) - length, FINISHED.get(status)
    known = {} if logp is None else {"logprobs": list_of(record, "rollout_log_probs", float, length=length)}
    reward = _reward(record, asked) if status in FINISHED and not record.fields.get("remove_sample") else None
    gold = record.fields.get("label")
    prompt = value_of(record, "prompt", "It must be text or messages.")
    return {
        "step": step,
        **_group(record),
        "prompt": prompt,
        "completion": text_of(record, "response"),
        "reward": reward,
        "rendered": isinstance(prompt, str),
        "prompt_tokens": tokens[:start],
        "tokens": tokens[start:],
        "mean_logp": None,
        **known,
        **({} if stopped is None else {"stop_reason": stopped}),
        **({} if gold is None else {"gold": gold}),
    }


def _group(record: Record) -> dict[str, Any]:
    group = record.fields.get("group_index")
    return {} if group is None else {"group": whole_number_of(record, "group_index")}


def _reward(record: Record, asked: Asked) -> float | None:
    if asked.judged_again:
        return None
    value = value_of(record, "reward", "It must be a number, or a number by name.")
    if not isinstance(value, Mapping):
        if asked.reward not in (None, "reward"):
            raise UserError(f"{record.where}: the reward is one number; leave out --reward {asked.reward}.")
        return number_of(record, "reward")
    numbers = [name for name, each in value.items() if isinstance(each, int | float)]
    named = reward_column(record.where, numbers, asked, list(value))
    return number_of(Record(record.where, value), named)


FORMAT = Format(
    name="slime",
    trainer="slime",
    wanted="the folder of --save-debug-rollout-data, with .pt files",
    find=find,
    read=read,
    origins={
        "group": "group_index, and rollout_id",
        "reward": "reward, or the entry of it that --reward names; null unless status is completed or truncated",
        "likelihood": "rollout_log_probs",
        "tokens": "tokens, parted by response_length",
        "text": "prompt, response",
        "cut off": "status truncated",
    },
    has_tokens=True,
    has_likelihood=True,
    says_ends=True,
)
