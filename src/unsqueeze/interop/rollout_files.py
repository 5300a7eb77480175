"""Rollouts in anybody's files, as L2TE needs them: whose group, how likely, how good, and the words themselves.

A rollout says

    its group       ``problem_id``, or else its ``prompt``; ``step`` and ``group`` part groups further, where given, and
                    so do several prompts of one ``problem_id``
    its reward      ``reward`` (a number), or ``correct`` (true or false), or ``verdict``; null: not judged
    its likelihood  ``mean_logp`` (nats per token), or ``logprobs`` (or ``logp_raw``, ``logp_behaviour``), one a token
    its words       ``messages`` that end with the assistant's, or ``prompt`` with ``completion`` (or ``response``, or
                    ``text``)
    its tokens      where known, two lists of ids: ``prompt_tokens`` and ``tokens`` (or ``prompt_ids`` and
                    ``completion_ids``, or ``prompt_token_ids`` and ``token_ids``)

Files are JSON Lines or Parquet. Whatever is wrong with a line is one UserError that names file, line and field.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from unsqueeze.algos.selection import Likelihood, likelihood
from unsqueeze.errors import UserError
from unsqueeze.interop.sample_files import STANDARD, Record
from unsqueeze.store.arms import refuse_arms
from unsqueeze.verify.verdict import Verdict

REWARD_FIELDS = ("reward", "correct", "verdict")
LOGP_LISTS = ("logprobs", "logp_raw", "logp_behaviour")
COMPLETION_FIELDS = ("completion", "response", "text")
PARTS = ("step", "group")
KEY_COLUMNS = ("problem_id", *PARTS, "prompt", "messages")
SCALAR_COLUMNS = (*KEY_COLUMNS, *REWARD_FIELDS, "mean_logp", "num_tokens", *LOGP_LISTS)
TOKEN_FIELDS = (("prompt_tokens", "tokens"), ("prompt_ids", "completion_ids"), ("prompt_token_ids", "token_ids"))
"""Names of the ids of a prompt and of its response: ours, and those that other programs give them."""
WORD_COLUMNS = (
    *KEY_COLUMNS,
    *COMPLETION_FIELDS,
    "stop_reason",
    "rendered",
    *(name for pair in TOKEN_FIELDS for name in pair),
)

# Sums of rounded logits can end a little above 0; whoever gives probabilities for log-probs is far above it.
_HIGHEST_LOGP = 1e-3

_LARGEST_ID = 2**31 - 1

_LARGEST = 1e300
"""Integers in JSON may have any length; beyond this they are no floating-point number."""

Key = tuple[str, ...]
Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One rollout, without its words. ``likelihood`` is what L2TE ranks by; NaN where it is not known.

    ``mean_logp`` is nats per token. ``reward`` is NaN where nothing was judged. ``num_tokens`` is None where it is not
    known.
    """

    key: Key
    problem_id: str
    mean_logp: float
    likelihood: float
    reward: float
    num_tokens: int | None = None
    asked: str | None = None
    """A digest of what was asked; None where nothing is known of it but a name."""


def rollout_files(source: str) -> list[str]:
    """The files a path means: itself; those of a run's ``rollouts/``; the Parquet or JSONL files of any other folder.

    UserError where there is nothing, or standard input, which cannot be read twice.
    """
    if source == STANDARD:
        raise UserError(
            "select reads its rollouts twice (to choose, then to copy), so it cannot take them from a pipe."
        )
    path = Path(source)
    if not path.is_dir():
        return [source]
    folder = path / "rollouts" if (path / "rollouts").is_dir() else path
    for suffix in (".parquet", ".jsonl"):
        files = sorted(str(file) for file in folder.iterdir() if file.suffix == suffix and file.name[0] != ".")
        if files:
            return files
    refuse_arms(path)
    raise UserError(
        f"{source} holds no rollouts: neither a folder rollouts/ nor .parquet or .jsonl files; give the directory of a "
        "run, a folder of such files, or one file."
    )


def candidate(record: Record, kind: Likelihood) -> Candidate:
    """Read what selection asks of a rollout. UserError naming the field that is missing or wrong."""
    fields = record.fields
    problem_id = _problem_id(record)
    key = (problem_id, *(f"{name} {_part(record, name)}" for name in PARTS if fields.get(name) is not None))
    mean_logp, ranked_by, num_tokens = _likelihoods(record, kind)
    asked = _digest_of_question(record) if fields.get("problem_id") is not None else None
    return Candidate(key, problem_id, mean_logp, ranked_by, _reward(record), num_tokens, asked)


def words(record: Record) -> tuple[str, str] | Messages:
    """Prompt and completion, or the whole conversation where it is given as messages."""
    fields = record.fields
    if fields.get("messages") is not None:
        messages = _messages(record, "messages")
        return messages if messages[-1]["role"] == "assistant" else [*messages, _assistant(_completion(record))]
    prompt = fields.get("prompt")
    if isinstance(prompt, list):
        return [*_messages(record, "prompt"), _assistant(_completion(record))]
    if not isinstance(prompt, str):
        raise _wrong(record, "prompt", "Give the prompt as text or as messages, or the whole conversation as messages.")
    return prompt, _completion(record)


def token_ids(record: Record) -> tuple[list[int], list[int]] | None:
    """The ids of the prompt and of the response, with its end token; None where they are not given, both as lists.

    Under such names others keep numbers of tokens. UserError where a list holds something else than ids.
    """
    for pair in TOKEN_FIELDS:
        prompt, response = (record.fields.get(name) for name in pair)
        if isinstance(prompt, list) and isinstance(response, list):
            for name, ids in zip(pair, (prompt, response), strict=True):
                if not all(type(each) is int and 0 <= each <= _LARGEST_ID for each in ids):
                    raise _wrong(record, name, "It must be a list of token ids, whole numbers from 0 on.")
            return prompt, response
    return None


def prompt_ids(record: Record) -> list[int] | None:
    """The ids of the prompt alone; None where they are not given."""
    fields = dict(record.fields)
    for _, response in TOKEN_FIELDS:
        fields[response] = []
    known = token_ids(Record(record.where, fields))
    return None if known is None else known[0]


def prompt_of(record: Record, columns: Sequence[str]) -> str | Messages:
    """Return what a data set's line asks: the first of ``columns`` it has, without an answer that ends its messages."""
    name = next((name for name in columns if record.fields.get(name) is not None), None)
    if name is None:
        raise UserError(f"{record.where}: no prompt (fields there: {record.names()}); give {' or '.join(columns)}.")
    if isinstance(record.fields[name], str):
        return str(record.fields[name])
    messages = _messages(record, name)
    return messages[:-1] if messages[-1]["role"] == "assistant" else messages


def _problem_id(record: Record) -> str:
    value = record.fields.get("problem_id")
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    if value is not None:
        raise _wrong(record, "problem_id", "Name the problem by text or a whole number.")
    asked = _question(record)
    if asked is None:
        advice = "Name the problem, or give its prompt or messages: they say which group it is."
        raise _wrong(record, "problem_id", advice)
    return asked


def _digest_of_question(record: Record) -> str | None:
    """A few letters for what was asked, of a chat what stands before the first words of the assistant: what follows may
    be the rollout's own. None where neither a prompt nor messages are given.
    """
    given = next((record.fields[name] for name in ("prompt", "messages") if record.fields.get(name) is not None), None)
    if isinstance(given, list):
        begun = takewhile(lambda entry: not (isinstance(entry, dict) and entry.get("role") == "assistant"), given)
        given = json.dumps(list(begun), sort_keys=True, default=str)
    if not isinstance(given, str):
        return None
    return hashlib.blake2b(given.encode(errors="replace"), digest_size=8).hexdigest()


def _question(record: Record) -> str | None:
    """What was asked, as text; None where neither a prompt nor messages are given."""
    prompt = record.fields.get("prompt")
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list):
        return json.dumps(prompt, sort_keys=True, default=str)
    if record.fields.get("messages") is not None:
        asked = _messages(record, "messages")
        return json.dumps(asked[:-1] if asked[-1]["role"] == "assistant" else asked, sort_keys=True)
    return None


def _part(record: Record, name: str) -> str | int:
    value = record.fields[name]
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    raise _wrong(record, name, "It must be a whole number or text.")


def _reward(record: Record) -> float:
    fields = record.fields
    name = next((name for name in REWARD_FIELDS if name in fields), None)
    if name is None:
        raise _wrong(record, "reward", "Give reward (a number), or correct (true or false), or verdict.")
    value = fields[name]
    if value is None:
        return math.nan
    if name == "verdict":
        if value in list(Verdict):
            return Verdict(value).judged_reward
        raise _wrong(record, name, f"It must be one of {', '.join(Verdict)}.")
    if isinstance(value, int | float) and abs(value) < _LARGEST:
        return float(value)
    raise _wrong(record, name, "It must be a number, true or false, or null (not judged).")


def _likelihoods(record: Record, kind: Likelihood) -> tuple[float, float, int | None]:
    """The mean log-prob, what is ranked by (it, or the sum), and the number of tokens where it is needed or known."""
    fields = record.fields
    name = next((name for name in LOGP_LISTS if fields.get(name) is not None), None)
    if name is not None:
        logp_T = _logprobs(record, name)
        return likelihood(logp_T, "mean"), likelihood(logp_T, kind), len(logp_T)
    if "mean_logp" not in fields:
        raise _wrong(record, "mean_logp", "Give mean_logp (nats per token), or logprobs (a list, one a token).")
    value = fields["mean_logp"]
    if value is None:
        return math.nan, math.nan, None
    if not _is_logp(value):
        raise _wrong(record, "mean_logp", "It must be a natural logarithm per token, a number of at most 0.")
    num_tokens = fields.get("num_tokens")
    if kind == "mean":
        return float(value), float(value), num_tokens if isinstance(num_tokens, int) else None
    if not isinstance(num_tokens, int) or isinstance(num_tokens, bool) or not 1 <= num_tokens < _LARGEST:
        raise _wrong(record, "num_tokens", "For likelihood sum, give logprobs, or mean_logp with num_tokens.")
    return float(value), float(value) * num_tokens, num_tokens


def _logprobs(record: Record, name: str) -> np.ndarray:
    values = record.fields[name]
    advice = "It must be a list with one natural logarithm a token, numbers of at most 0."
    if not isinstance(values, list) or not all(map(_is_logp, values)):
        raise _wrong(record, name, advice)
    return np.array(values, dtype=np.float64)


def _is_logp(value: Any) -> bool:
    """NaN and minus infinity are: they say that it is not known."""
    if isinstance(value, int):  # Python compares integers of any length, and turns none of more than 308 digits around
        return not isinstance(value, bool) and -_LARGEST < value <= _HIGHEST_LOGP
    return isinstance(value, float) and not value > _HIGHEST_LOGP


def _completion(record: Record) -> str:
    name = next((name for name in COMPLETION_FIELDS if record.fields.get(name) is not None), "completion")
    value = record.fields.get(name)
    if isinstance(value, str):
        return value
    if isinstance(value, list) and len(value) == 1:
        return _messages(record, name)[0]["content"]
    raise _wrong(record, name, "Give the response as text.")


def _messages(record: Record, name: str) -> Messages:
    value = record.fields[name]
    if not isinstance(value, list) or not value or not all(_is_message(entry) for entry in value):
        raise _wrong(record, name, 'It must be a list of {"role": …, "content": …}, both text.')
    return [{"role": entry["role"], "content": entry["content"]} for entry in value]


def _is_message(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("role"), str) and isinstance(entry.get("content"), str)


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _wrong(record: Record, name: str, advice: str) -> UserError:
    if name not in record.fields:
        return UserError(f"{record.where}: no field {name!r} (fields there: {record.names()}). {advice}")
    shown = json.dumps(record.fields[name], default=str)[:80]
    return UserError(f"{record.where}: field {name!r} is {shown}. {advice}")
