"""Turn one record of a data set, whatever its format, into a question and its gold answer."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.tasks.problem import Problem
from unsqueeze.utf8 import is_utf8

Record = Mapping[str, object]
LETTERS = "ABCDEFGHIJ"
ORDER_SEED = 0
"""Seed of the order in which shuffled options are shown. It does not depend on the seed of the samples."""


@dataclass(frozen=True, slots=True)
class Question:
    """``order``: where options were shuffled, which stands at A, B, …, counted from 0 for the right one."""

    prompt: str
    answer: str
    order: tuple[int, ...] | None = None


Reader = Callable[[Record, str, str], Question]
"""Function of a record, where it stands (for messages), and the problem's id."""


class BadRecordError(UserError):
    """One record holds no problem: its question or its answer is missing, null, empty, or nothing that can be read."""


DEFAULT_FIELDS = ("problem", "answer")
VERL_FIELDS = ("prompt", "reward_model.ground_truth")
_NAMED_BY = "; data.problem_field and data.answer_field (--problem-field, --answer-field) name others"


def plain(problem_field: str = "problem", answer_field: str = "answer") -> Reader:
    """A question in one field and its gold answer in another; the question may be a list of messages.

    A dot in a name that no field has leads into an object, or a list: ``reward_model.ground_truth``,
    ``prompt.0.content``. By the default names, rows of verl are read too.
    """

    def read(record: Record, where: str, problem_id: str) -> Question:
        fields = (problem_field, answer_field)
        if fields == DEFAULT_FIELDS and is_verl(record):
            fields = VERL_FIELDS
        value = value_of(record, fields[0], where, _NAMED_BY)
        asked = user_message(value, fields[0], where) if _are_messages(value) else value
        answer = value_of(record, fields[1], where, _NAMED_BY)
        return Question(as_text(asked, fields[0], where), as_text(answer, fields[1], where))

    return read


def is_verl(record: Record) -> bool:
    """Tell a row of verl's data format: ``prompt`` is a list of messages, ``reward_model`` holds ``ground_truth``."""
    judged_by = record.get("reward_model")
    return (
        not set(DEFAULT_FIELDS) & set(record)
        and _are_messages(record.get("prompt"))
        and isinstance(judged_by, Mapping)
        and "ground_truth" in judged_by
    )


def _are_messages(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(m, Mapping) and "role" in m for m in value)


def user_message(messages: Any, field: str, where: str) -> object:
    """Return what the user says in a chat of one turn. UserError for other turns, and for a system message, which is
    for ``prompt.system`` to say: it would be dropped in silence otherwise."""
    roles = [message["role"] for message in messages]
    others = [role for role in roles if role not in ("system", "user")]
    if others or roles.count("user") != 1:
        raise UserError(
            f"{where}: the field {field!r} has messages of {', '.join(map(repr, roles))}; a problem is asked in one "
            f"message of the user. Name that one alone, such as {field}.{max(len(roles) - 1, 0)}.content, or leave "
            f"such records out."
        )
    place = roles.index("user")
    if len(roles) > 1:
        system = _content(messages[roles.index("system")])
        raise UserError(
            f"{where}: the field {field!r} has a system message, {str(system)[:200]!r}, and problems have none: say "
            f"with prompt.system (--system) what the model is told, and take the user's message alone by "
            f"data.problem_field={field}.{place}.content (--problem-field)."
        )
    return _content(messages[place])


def _content(message: Mapping[str, object]) -> object:
    """Return the text of a message, of parts of text too; whatever else it holds as it is."""
    content = message.get("content")
    if isinstance(content, list) and all(
        isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)
        for part in content
    ):
        return "".join(str(part["text"]) for part in content)
    return content


def or_plain(reader: Reader) -> Reader:
    """A record of ``problem`` and ``answer`` as it is; any other by ``reader``."""
    standard = plain()

    def read(record: Record, where: str, problem_id: str) -> Question:
        return (standard if {"problem", "answer"} <= set(record) else reader)(record, where, problem_id)

    return read


def problems_of(
    records: Iterable[tuple[int, Record]],
    source: str,
    name: str,
    unit: str,
    *,
    reader: Reader,
    id_field: str | None = None,
    skipped: list[str] | None = None,
) -> Iterator[Problem]:
    """Numbered records as ``math`` problems.

    Ids are the field ``id`` or ``id_field``, else NAME:NUMBER; messages name a record as "``source``, ``unit``
    NUMBER". UserError for an id that comes twice. BadRecordError for a record that holds no problem, or, with
    ``skipped``, its message there.
    """
    seen: dict[str, int] = {}
    for number, record in records:
        where = f"{source}, {unit} {number}"
        problem_id = _id_of(record, id_field, where, name, number)
        try:
            question = reader(record, where, problem_id)
        except BadRecordError as error:
            if skipped is None:
                raise
            skipped.append(str(error))
            continue
        if problem_id in seen:
            raise UserError(
                f"{where}: the id {problem_id!r} was used before, on {unit} {seen[problem_id]}; "
                "every problem needs an id of its own."
            )
        seen[problem_id] = number
        yield Problem(
            id=problem_id, prompt=question.prompt, answer=question.answer, task="math", option_order=question.order
        )


def none_left(source: str, needed: str, skipped: Sequence[str] | None) -> UserError:
    """Return the error of a source without a problem, with what was wrong with its first record."""
    told = f"all {len(skipped):,} are left out, the first: {skipped[0]}" if skipped else f"it needs {needed}."
    return UserError(f"{source}: the file holds no problem; {told}")


def uniform_subset(problems: Iterable[Problem], size: int, seed: int, source: str) -> list[Problem]:
    """``size`` problems, in their order; every subset is equally likely (Vitter 1985, algorithm R). UserError if there
    are fewer."""
    rng = random.Random(seed)
    reservoir: list[tuple[int, Problem]] = []
    for index, problem in enumerate(problems):
        if index < size:
            reservoir.append((index, problem))
        elif (place := rng.randint(0, index)) < size:
            reservoir[place] = (index, problem)
    if len(reservoir) < size:
        raise UserError(
            f"{source}: a subset of {size} problems was asked for and the file holds {len(reservoir)}; ask for at most "
            "so many, or for all (in a recipe, data.num_train and data.num_test; null takes all)."
        )
    return [problem for _, problem in sorted(reservoir, key=lambda entry: entry[0])]


def _id_of(record: Record, id_field: str | None, where: str, name: str, number: int) -> str:
    if "id" in record:
        return text_of(record, "id", where)
    if id_field is not None and id_field in record:
        value = record[id_field]
        return f"{name}:{value}" if isinstance(value, int) else text_of(record, id_field, where)
    return f"{name}:{number}"


def gsm8k(record: Record, where: str, problem_id: str) -> Question:
    """GSM8K's own format: the answer is what follows ``####``, without thousands commas."""
    answer = text_of(record, "answer", where)
    if "####" not in answer:
        raise BadRecordError(f"{where}: the field 'answer' has no '####' before the final answer, as GSM8K has.")
    return Question(text_of(record, "question", where), answer.rpartition("####")[2].strip().replace(",", ""))


def mmlu(record: Record, where: str, problem_id: str) -> Question:
    """MMLU's own format: a list of choices, and the number of the right one, counted from 0 (or its letter)."""
    choices = record.get("choices")
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
        raise BadRecordError(f"{where}: the field 'choices' must be a list of 2 to {len(LETTERS)} options.")
    answer = record.get("answer")
    letters = LETTERS[: len(choices)]
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        letter = letters[answer]
    elif isinstance(answer, str) and len(answer) == 1 and answer in letters:
        letter = answer
    else:
        raise BadRecordError(
            f"{where}: the field 'answer' is {answer!r}; it must be a letter {letters[0]} to {letters[-1]}, or the "
            f"number of a choice, 0 to {len(choices) - 1}."
        )
    return Question(with_options(text_of(record, "question", where), [str(choice) for choice in choices]), letter)


def gpqa(record: Record, where: str, problem_id: str) -> Question:
    """GPQA's own format: the right answer and three wrong ones, shown in an order of each problem's own."""
    names = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
    options = [text_of(record, name, where) for name in names]
    order = option_order(problem_id, len(options))
    shown = with_options(text_of(record, "Question", where), [options[place] for place in order])
    return Question(shown, LETTERS[order.index(0)], order)


def option_order(problem_id: str, num_options: int) -> tuple[int, ...]:
    """A uniform random order of options, seeded by the problem's id."""
    order = list(range(num_options))
    random.Random(f"option-order-{ORDER_SEED}-{problem_id}").shuffle(order)
    return tuple(order)


def with_options(question: str, options: list[str]) -> str:
    """A question with its options as lines ``A. …``."""
    lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]
    return question + "\n\n" + "\n".join(lines)


def text_of(record: Record, field: str, where: str) -> str:
    """A field as text: ``value_of`` and ``as_text``."""
    return as_text(value_of(record, field, where), field, where)


def value_of(record: Record, field: str, where: str, hint: str = "") -> object:
    """The value of a field, or of what its dots lead to. BadRecordError where there is none."""
    if field in record:
        return record[field]
    value: object = record
    for part in field.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            has = ", ".join(map(repr, record)) or "none"
            raise BadRecordError(f"{where}: the field {field!r} is missing; it has {has}{hint if record else ''}.")
    return value


def as_text(value: object, field: str, where: str) -> str:
    """Numbers are taken as they print; BadRecordError for anything else that is not text, and for NaN and infinity,
    which tables have where nothing is."""
    if isinstance(value, float) and not isfinite(value):
        raise BadRecordError(f"{where}: the field {field!r} is {value}; it must be text or a finite number.")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        is_what = "null" if value is None else f"a {type(value).__name__}"
        raise BadRecordError(f"{where}: the field {field!r} is {is_what}; it must be text or a number.")
    if not value.strip():
        raise BadRecordError(f"{where}: the field {field!r} is empty.")
    if not is_utf8(value):
        raise BadRecordError(
            f"{where}: the field {field!r} holds half of a surrogate pair, which no text can; remove it."
        )
    return value.strip()
