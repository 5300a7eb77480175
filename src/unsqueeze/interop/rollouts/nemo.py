"""NeMo-RL's ``train_data_step12.jsonl``, one file a step, one rollout a line, each value a list of one.

Written by ``log_batched_dict_as_jsonl`` (NeMo-RL 7ea279a). The step is in the name alone. ``token_ids`` are padded to
the longest of the batch; ``generation_logprobs`` are aligned with them and 0 on the prompt. With dynamic sampling
``rewards`` are those of all prompts that were drawn, and only ``filtered_rewards`` are the lines' own.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.interop.rollouts.format import (
    Asked,
    Format,
    list_of,
    names_of,
    number_of,
    numbered_files,
    reward_column,
    value_of,
    whole_number_of,
    wrong,
)
from unsqueeze.interop.sample_files import Record, read_samples


def _step(name: str) -> int | None:
    found = re.fullmatch(r"train_data_step(\d+)\.jsonl", name)
    return None if found is None else int(found[1])


def find(path: Path) -> list[str]:
    """Return the files of a log folder in the order of their steps, or the one file, by its name."""
    if path.is_dir():
        return numbered_files(path, "train_data_step*.jsonl", _step)
    return [str(path)] if _step(path.name) is not None else []


def read(files: Sequence[str], columns: Sequence[str], asked: Asked) -> Iterator[Record]:
    """Yield every line with its tokens and the log-probs of the policy that sampled."""
    for file in files:
        step = _step(Path(file).name)
        if step is None:
            raise UserError(f"{file}: the step is in the name alone, train_data_stepN.jsonl; name the file so.")
        for record in read_samples(file, ()):
            yield Record(record.where, _fields(_opened(record), step, asked))


def _opened(record: Record) -> Record:
    """Return the line with each value out of its list of one."""
    fields = {}
    for name, value in record.fields.items():
        if name == "idx":
            continue
        if not isinstance(value, list) or len(value) != 1:
            raise wrong(record, name, value, "NeMo-RL writes a list of one a line.")
        fields[name] = value[0]
    return Record(record.where, fields)


def _fields(record: Record, step: int, asked: Asked) -> dict[str, Any]:
    own = "filtered_rewards" if "filtered_rewards" in record.fields else "rewards"
    rewards = [name for name in (own,) if name in record.fields]
    reward = reward_column(record.where, rewards, asked, list(record.fields))
    texts = list_of(record, "content", str)
    if len(texts) < 2:
        raise wrong(record, "content", texts, "It must be the text of every message, the response last.")
    length = whole_number_of(record, "input_lengths")
    columns = {
        name: list_of(record, name, (int, float))[:length]
        for name in ("token_ids", "token_loss_mask", "generation_logprobs")
    }
    if any(len(values) != length for values in columns.values()):
        raise UserError(
            f"{record.where}: {names_of(columns)} must each hold the {length} values that input_lengths says."
        )
    start = response_start(record, columns["token_loss_mask"])
    trained = value_of(record, "sample_loss_mask", "It must be 1 or 0.")
    return {
        "step": step,
        "prompt": "".join(texts[:-1]),
        "completion": texts[-1],
        "reward": number_of(record, reward) if trained else None,
        "rendered": True,
        "prompt_tokens": columns["token_ids"][:start],
        "tokens": columns["token_ids"][start:],
        "logprobs": columns["generation_logprobs"][start:],
    }


def response_start(record: Record, mask: Sequence[float]) -> int:
    """Return where the one response begins. UserError for a mask of several, or of none."""
    start = next((place for place, value in enumerate(mask) if value), len(mask))
    if start == len(mask) or not all(mask[start:]):
        raise UserError(
            f"{record.where}: token_loss_mask marks {'no response' if start == len(mask) else 'several turns'}; only "
            f"a prompt with one response is a demonstration."
        )
    return start


FORMAT = Format(
    name="nemo",
    trainer="NeMo-RL",
    wanted="the folder of logs with files such as train_data_step12.jsonl",
    find=find,
    read=read,
    origins={
        "group": "content but its last part; the step of the file's name",
        "reward": "rewards, or filtered_rewards with dynamic sampling; null where sample_loss_mask is 0",
        "likelihood": "generation_logprobs where token_loss_mask is 1",
        "tokens": "token_ids up to input_lengths, parted by token_loss_mask",
        "text": "content (the prompt is rendered)",
    },
    prompts="rendered",
    has_tokens=True,
    has_likelihood=True,
    says_ends=True,
)
