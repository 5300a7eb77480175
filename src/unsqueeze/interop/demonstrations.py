"""Demonstrations in files, as ``select`` and other programs write them, and the tokens they are to a model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.interop.rollout_files import WORD_COLUMNS, Messages, words
from unsqueeze.interop.sample_files import Record, read_samples
from unsqueeze.utf8 import is_utf8

_CUT_OFF = ("length", "stop")


@dataclass(frozen=True, slots=True, eq=False)
class TokenDemonstration:
    """A prompt and a response in the tokens of one model; the response ends with the end token, if it did end."""

    prompt_tokens: NDArray[np.int32]
    tokens: NDArray[np.int32]


def read_demonstrations(source: str, tokenizer: Any, *, context: int | None) -> list[TokenDemonstration]:
    """The demonstrations of a JSONL or Parquet file. UserError naming the line of one that cannot be learned from.

    ``messages`` go through the tokenizer's chat template; ``prompt`` and ``completion`` are taken as they are, with the
    special tokens the tokenizer puts around a text. A response ends with the tokenizer's end token, unless its
    ``stop_reason`` says that it was cut off (``length``) or met a stop string (``stop``).
    """
    read = [_demonstration(record, tokenizer, context) for record in read_samples(source, WORD_COLUMNS)]
    if not read:
        raise UserError(f"{source}: no demonstrations; it needs one JSON object a line, with prompt and completion.")
    return read


def read_prompts(source: str, tokenizer: Any) -> Iterator[NDArray[np.int32]]:
    """The prompts of a file, ``prompt`` or ``messages`` a line; a response is passed over."""
    for record in read_samples(source, WORD_COLUMNS):
        prompt = record.fields.get("prompt")
        if isinstance(prompt, str):
            yield _known(record, tokenizer, _plain(tokenizer, prompt))
        else:
            fields = {"completion": "", **record.fields}
            messages = words(Record(record.where, fields))
            assert isinstance(messages, list)
            yield _known(record, tokenizer, _chat(record, tokenizer, messages[:-1]))


def distinct(prompts: Sequence[NDArray[np.int32]], most: int) -> list[NDArray[np.int32]]:
    """At most ``most`` different prompts, spread evenly over those there are."""
    different = list({prompt.tobytes(): prompt for prompt in prompts}.values())
    if len(different) <= most:
        return different
    return [different[place * len(different) // most] for place in range(most)]


def _demonstration(record: Record, tokenizer: Any, context: int | None) -> TokenDemonstration:
    said = words(record)
    if not all(map(is_utf8, said if isinstance(said, tuple) else [message["content"] for message in said])):
        raise UserError(f"{record.where}: it holds half of a surrogate pair, which no text can; leave it out.")
    if isinstance(said, tuple):
        prompt_ids, completion = _plain(tokenizer, said[0]), said[1]
    else:
        prompt_ids, completion = _chat(record, tokenizer, said[:-1]), said[-1]["content"]
    ids = list(tokenizer(completion, add_special_tokens=False)["input_ids"])
    if record.fields.get("stop_reason") not in _CUT_OFF and tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
    if not ids:
        raise UserError(f"{record.where}: the response is empty; leave it out, there is nothing to learn from it.")
    prompt = _known(record, tokenizer, prompt_ids)
    response = _known(record, tokenizer, ids)
    if context is not None and len(prompt) + len(response) > context:
        raise UserError(
            f"{record.where}: prompt and response have {len(prompt) + len(response)} tokens and the model's context is "
            f"{context}; leave it out."
        )
    return TokenDemonstration(prompt, response)


def _plain(tokenizer: Any, prompt: str) -> list[int]:
    return list(tokenizer(prompt, add_special_tokens=True)["input_ids"])


def _chat(record: Record, tokenizer: Any, messages: Messages) -> list[int]:
    if not tokenizer.chat_template:
        raise UserError(
            f"{record.where}: it holds messages, and the model's tokenizer has no chat template; give prompt and "
            "completion instead, or a model tuned for chat."
        )
    try:
        encoded = tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True)
    except Exception as error:  # a chat template is a program of the model's author, and may raise anything
        raise UserError(f"{record.where}: the tokenizer's chat template failed: {error}") from error
    return list(encoded["input_ids"] if hasattr(encoded, "keys") else encoded)


def _known(record: Record, tokenizer: Any, ids: list[int]) -> NDArray[np.int32]:
    """The ids as an array. UserError where there are none, or one stands for text the model has no token for."""
    if not ids:
        raise UserError(f"{record.where}: the prompt is empty.")
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
        raise UserError(f"{record.where}: it holds text that the model's tokenizer has no token for.")
    return np.asarray(ids, dtype=np.int32)
