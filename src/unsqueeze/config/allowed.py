"""What may stand for a setting, in words and without classes: "a whole number of 1 or more, or null"."""

from collections.abc import Iterable, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_PLURALS = {"text": "texts", "a number": "numbers", "a whole number": "whole numbers"}
_NUMBERS = {2: "two", 3: "three"}
_BOUNDS = {
    "ge": "of {} or more",
    "gt": "above {}",
    "le": "at most {}",
    "lt": "below {}",
    "min_length": "of {} character or more",
    "max_length": "of at most {} characters",
}
_EXAMPLES = {"text": "[one, two]", "a number": "[0.9, 0.99]", "a whole number": "[1, 2]"}


def allowed(name: str, field: FieldInfo) -> str:
    """Describe the values that the setting ``name`` takes."""
    section = section_of(field.annotation)
    if section is None:
        return _words(field.annotation, field.metadata)
    inner = next(iter(section.model_fields))
    ways = f"a section, with its settings as {name}.{inner}=… or as a mapping"
    if NoneType not in get_args(field.annotation):
        return ways
    required = any(each.is_required() for each in section.model_fields.values())
    return f"{ways}; null for none" if required else f"{ways}; {{}} for their defaults, null for none"


def is_text(field: FieldInfo) -> bool:
    """Tell whether a text may stand there, which YAML takes for something else where it looks like it."""
    return get_origin(field.annotation) is not dict and str in (field.annotation, *get_args(field.annotation))


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The settings of a section that an annotation allows; None where it allows none."""
    options = [annotation, *get_args(annotation)]
    return next((each for each in options if isinstance(each, type) and issubclass(each, BaseModel)), None)


def _words(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _words(arguments[0], [*metadata, *_flat(arguments[1:])])
    if origin in (Union, UnionType):
        kinds = [_words(each, metadata) for each in arguments if each is not NoneType]
        return ", or ".join(kinds) + (", or null" if NoneType in arguments else "")
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else str(arguments[0])
    if origin is tuple:
        return _list(arguments)
    if origin is dict:
        count = "one name or more to" if "min_length" in _given(metadata) else "names to"
        return f"a mapping of {count} values, such as {{name: value}}"
    kind = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[annotation]
    return " ".join(filter(None, (kind, _bounds(metadata))))


def _list(arguments: Sequence[Any]) -> str:
    inner = _words(arguments[0])
    kind = next((each for each in _PLURALS if inner.startswith(each)), None)
    if kind is None:
        return f"a list, in brackets, each {inner}"
    count = "" if Ellipsis in arguments else f"{_NUMBERS[len(arguments)]} "
    return f"a list of {count}{_PLURALS[kind]}{inner.removeprefix(kind)}, such as {_EXAMPLES[kind]}"


def _flat(metadata: Iterable[Any]) -> Iterable[Any]:
    for each in metadata:
        yield from each.metadata if isinstance(each, FieldInfo) else [each]


def _given(metadata: Iterable[Any]) -> dict[str, Any]:
    return {name: getattr(each, name) for each in metadata for name in _BOUNDS if getattr(each, name, None) is not None}


def _bounds(metadata: Iterable[Any]) -> str:
    """The bounds of a number, or of the length of a text."""
    given = _given(metadata)
    if "ge" in given and "le" in given:
        return f"from {given['ge']} to {given['le']}"
    return " and ".join(words.format(given[name]) for name, words in _BOUNDS.items() if name in given)
