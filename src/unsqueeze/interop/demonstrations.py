"""Demonstrations in files, as ``select`` and other programs write them, and the tokens they are to a model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.interop.rollout_files import COMPLETION_FIELDS, WORD_COLUMNS, Messages, prompt_ids, token_ids, words
from unsqueeze.interop.sample_files import Record, read_samples
from unsqueeze.tasks.prompts import plain_ids
from unsqueeze.tasks.turns import Ends
from unsqueeze.tasks.unknown import holds_unknown
from unsqueeze.utf8 import is_utf8

_CUT_OFF = ("length", "stop")
_LONGEST_OPENING = 100
"""Letters at the end of a prompt in which the opening of its response is looked for."""

_MOST_LINES, _MOST_REASONS = 5, 3
"""Lines, and kinds of fault, that a message names."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenDemonstration:
    """A prompt and a response in the tokens of one model; the response ends with the end token, if it did end."""

    prompt_tokens: NDArray[np.int32]
    tokens: NDArray[np.int32]


@dataclass(slots=True)
class Demonstrations:
    """The demonstrations of a file, how many came with their token ids, and the lines that cannot be learned from."""

    read: list[TokenDemonstration] = field(default_factory=list)
    num_by_ids: int = 0
    bad: dict[str, list[str]] = field(default_factory=dict)
    """Places ("line 5") by what is wrong with them."""

    @property
    def num_bad(self) -> int:
        return sum(map(len, self.bad.values()))

    def describe_bad(self) -> str:
        """Say in one sentence how many are bad, which, and why."""
        kinds = sorted(self.bad.items(), key=lambda kind: -len(kind[1]))
        told = "; ".join(f"{_listed(places)}: {reason.rstrip('.')}" for reason, places in kinds[:_MOST_REASONS])
        more = f"; and {len(kinds) - _MOST_REASONS} more kinds of fault" if len(kinds) > _MOST_REASONS else ""
        whole = self.num_bad + len(self.read)
        return f"{self.num_bad:,} of {whole:,} demonstrations cannot be learned from ({told}{more})"


class Encoding:
    """Turns a prompt with its response into the tokens that one model is trained on, and that its log-probs are of."""

    def __init__(self, tokenizer: Any, *, context: int | None, vocabulary: int, from_text: bool = False) -> None:
        self._tokenizer = tokenizer
        self._context = context
        self._vocabulary = vocabulary
        self._from_text = from_text
        self._ends = Ends.of(tokenizer, vocabulary)

    def of(self, record: Record) -> tuple[TokenDemonstration, bool]:
        """Return the demonstration of a line, and whether its ids were given. UserError where there can be none."""
        ids = None if self._from_text else token_ids(record)
        if ids is None:
            one = _encoded(record, self._tokenizer, self._vocabulary, self._ends)
        else:
            one = _given(record, *ids, self._tokenizer, self._vocabulary)
        _check_length(record, one, self._context)
        return one, ids is not None


def _listed(places: Sequence[str]) -> str:
    more = len(places) - _MOST_LINES
    return ", ".join(places[:_MOST_LINES]) + (f" and {more:,} more" if more > 0 else "")


def read_demonstrations(
    source: str,
    tokenizer: Any,
    *,
    context: int | None,
    vocabulary: int,
    from_text: bool = False,
    skip_bad: bool = False,
) -> Demonstrations:
    """The demonstrations of a JSONL or Parquet file. UserError counting all that cannot be learned from.

    Where a line has token ids, they are the demonstration; its words, if there, must be what they read. Otherwise, and
    with ``from_text``, the words are encoded: ``messages`` by the tokenizer's chat template; ``prompt`` and
    ``completion`` as they are, with the special tokens the tokenizer puts around a text; what the template opens a
    response with (``<think>``) is not said twice. An encoded response ends with the token that ends a turn in the chat
    template, where a turn of it was asked for, else with the tokenizer's end token, unless its ``stop_reason`` says
    that it was cut off (``length``) or met a stop string (``stop``). ``skip_bad`` leaves bad lines out, as long as any
    are good.
    """
    found = Demonstrations()
    encoding = Encoding(tokenizer, context=context, vocabulary=vocabulary, from_text=from_text)
    for record in read_samples(source, WORD_COLUMNS):
        try:
            one, by_ids = encoding.of(record)
        except UserError as error:
            reason = str(error).removeprefix(f"{record.where}: ")
            found.bad.setdefault(reason, []).append(record.where.removeprefix(f"{source}, "))
            continue
        found.read.append(one)
        found.num_by_ids += by_ids
    if not found.read and not found.bad:
        raise UserError(f"{source}: no demonstrations; it needs one JSON object a line, with prompt and completion.")
    if found.bad and not (skip_bad and found.read):
        raise UserError(f"{source}: {found.describe_bad()}. {_way_out(found)}")
    return found


def _way_out(found: Demonstrations) -> str:
    if not found.read:
        return "None is left to learn from."
    return (
        "Leave them out with --skip-bad (skip_bad=True), or give the token ids of prompt and response as prompt_tokens "
        "and tokens, as unsqueeze select does where the rollouts have them."
    )


def read_prompts(source: str, tokenizer: Any, *, vocabulary: int) -> Iterator[NDArray[np.int32]]:
    """The prompts of a file, ``prompt_tokens``, ``prompt`` or ``messages`` a line; a response is passed over."""
    for record in read_samples(source, WORD_COLUMNS):
        known, prompt = prompt_ids(record), record.fields.get("prompt")
        if known is not None:
            yield _within(record, known, "prompt", vocabulary)
        elif isinstance(prompt, str) and record.fields.get("messages") is None:
            add = not record.fields.get("rendered")
            ids = _plain(tokenizer, prompt)[1] if add else tokenizer(prompt, add_special_tokens=False)["input_ids"]
            yield _known(record, tokenizer, prompt, list(ids), vocabulary)
        else:
            fields = {"completion": "", **record.fields}
            messages = words(Record(record.where, fields))
            assert isinstance(messages, list)
            yield _known(record, tokenizer, *_chat(record, tokenizer, messages[:-1]), vocabulary)


def distinct(prompts: Sequence[NDArray[np.int32]], most: int) -> list[NDArray[np.int32]]:
    """At most ``most`` different prompts, spread evenly over those there are."""
    different = list({prompt.tobytes(): prompt for prompt in prompts}.values())
    if len(different) <= most:
        return different
    return [different[place * len(different) // most] for place in range(most)]


def without_opening(prompt: str, response: str) -> str:
    """``response`` without what the end of ``prompt`` has said already, up to white space: ``<think>``, mostly.

    The templates of R1 and its kind open a response with ``<think>``, and other trainers write down responses that
    begin with it. Only what starts with a mark such as ``<`` or ``[`` is taken for one.
    """
    end = prompt.rstrip()[-_LONGEST_OPENING:]
    said = response.lstrip()
    for place, letter in enumerate(end):
        opening = end[place:]
        if not letter.isalnum() and not letter.isspace() and len(opening) > 2 and said.startswith(opening):
            behind = prompt[len(prompt.rstrip()) :]
            return said.removeprefix(opening).removeprefix(behind)
    return response


def _given(
    record: Record, prompt: list[int], response: list[int], tokenizer: Any, vocabulary: int
) -> TokenDemonstration:
    """The demonstration of these ids. UserError where they cannot be this model's."""
    one = TokenDemonstration(
        _within(record, prompt, "prompt", vocabulary), _within(record, response, "response", vocabulary)
    )
    has_words = any(record.fields.get(name) is not None for name in ("messages", *COMPLETION_FIELDS))
    if has_words and not _reads(record, response, tokenizer):
        raise UserError(
            f"{record.where}: to this model its token ids read something else than its text, so they are another "
            "model's, or the text was changed; --from-text (from_text=True) encodes the texts"
        )
    return one


def _reads(record: Record, response: list[int], tokenizer: Any) -> bool:
    """Tell whether the ids of a response read as its text, with or without a last token that ends it and is shown.

    What a stop string cut off is in the ids alone, and what opened a message of ours in its text alone.
    """
    said = words(record)
    cut = record.fields.get("stop_reason") == "stop"
    readings = [tokenizer.decode(ids, skip_special_tokens=True) for ids in (response, response[:-1])]
    if isinstance(said, tuple):
        return any(said[1] == each or (cut and each.startswith(said[1])) for each in readings)
    text = said[-1]["content"]
    return cut or text.endswith(readings[0]) or (bool(readings[1]) and text.endswith(readings[1]))


def _encoded(record: Record, tokenizer: Any, vocabulary: int, ends: Ends) -> TokenDemonstration:
    """The demonstration of the record's words."""
    said = words(record)
    if not all(map(is_utf8, said if isinstance(said, tuple) else [message["content"] for message in said])):
        raise UserError(f"{record.where}: it holds half of a surrogate pair, which no text can")
    if isinstance(said, tuple) and record.fields.get("rendered"):
        text, prompt = said[0], list(tokenizer(said[0], add_special_tokens=False)["input_ids"])
        completion = without_opening(text, said[1])
    elif isinstance(said, tuple):
        (text, prompt), completion = _plain(tokenizer, said[0]), said[1]
    else:
        text, prompt = _chat(record, tokenizer, said[:-1])
        completion = without_opening(text, said[-1]["content"])
    ids = list(tokenizer(completion, add_special_tokens=False)["input_ids"])
    if record.fields.get("stop_reason") not in _CUT_OFF:
        ids = ends.closed(ids, prompt, is_chat=not isinstance(said, tuple))
    if not ids:
        raise UserError(f"{record.where}: the response is empty, there is nothing to learn from it")
    return TokenDemonstration(
        _known(record, tokenizer, text, prompt, vocabulary), _known(record, tokenizer, completion, ids, vocabulary)
    )


def _check_length(record: Record, one: TokenDemonstration, context: int | None) -> None:
    if context is not None and len(one.prompt_tokens) + len(one.tokens) > context:
        raise UserError(f"{record.where}: prompt and response have more tokens than the model's context of {context}")


def _plain(tokenizer: Any, prompt: str) -> tuple[str, list[int]]:
    return prompt, plain_ids(tokenizer, prompt)


def _chat(record: Record, tokenizer: Any, messages: Messages) -> tuple[str, list[int]]:
    if not tokenizer.chat_template:
        raise UserError(
            f"{record.where}: it holds messages, and the model's tokenizer has no chat template; give prompt and "
            "completion instead, or a model tuned for chat."
        )
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a chat template is a program of the model's author, and may raise anything
        raise UserError(f"{record.where}: the tokenizer's chat template failed: {error}") from error
    return text, list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _within(record: Record, ids: list[int], what: str, vocabulary: int) -> NDArray[np.int32]:
    """The ids as an array. UserError where there are none, or the model has none of that number."""
    if not ids:
        raise UserError(f"{record.where}: the {what} is empty")
    if max(ids) >= vocabulary:
        raise UserError(
            f"{record.where}: its token ids are another model's, this one knows 0 to {vocabulary - 1}; --from-text "
            "(from_text=True) encodes the texts"
        )
    return np.asarray(ids, dtype=np.int32)


def _known(record: Record, tokenizer: Any, text: str, ids: list[int], vocabulary: int) -> NDArray[np.int32]:
    """The ids of ``text`` as an array. UserError where there are none, or one is or stands for what the model does not
    know.
    """
    if not ids:
        raise UserError(f"{record.where}: the prompt is empty.")
    if holds_unknown(tokenizer, text, ids):
        raise UserError(f"{record.where}: it holds text that the model's tokenizer has no token for.")
    if max(ids) >= vocabulary:
        raise UserError(
            f"{record.where}: the tokenizer's id {max(ids)} is in it, and the model knows 0 to {vocabulary - 1}; the "
            "two do not belong together."
        )
    return np.asarray(ids, dtype=np.int32)
