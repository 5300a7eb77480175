"""One sentence for settings that are wrong: which, what was given, what is allowed, and the way out."""

import difflib
import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from unsqueeze.config.allowed import allowed, is_text, section_of
from unsqueeze.credentials import without_credentials

MOST_SHOWN = 120
"""Characters of what was given that a message repeats."""

_MOST_NAMED = 5
"""Further settings that a message names, beside the first that is wrong."""

_MOST_MEANT = 4
"""Settings that a misspelt one may have meant."""

NOT_TRUE = "true and false are no values of this setting"
"""What a validator says where they stand for something else; replaced by what is allowed there."""


class _Shortener(reprlib.Repr):
    """Shows plain data in the words of YAML: true, null, a date as it is written; no passwords."""

    def repr_str(self, value: str, level: int) -> str:
        return super().repr_str(without_credentials(value), level)

    def repr_bool(self, value: bool, level: int) -> str:
        return json.dumps(value)

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: N802
        return "null"

    def repr_date(self, value: object, level: int) -> str:
        return repr(str(value))

    repr_datetime = repr_date


_SHORTENER = _Shortener()
_SHORTENER.maxstring = _SHORTENER.maxother = MOST_SHOWN


def shown(value: object) -> str:
    """Shorten what was given for a message: short, whatever it is."""
    text = _SHORTENER.repr(value)
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"


def short(name: str) -> str:
    """Shorten the name of a setting, whatever it is."""
    return _SHORTENER.repr(name)[1:-1]


def refusal(error: ValidationError, model: type[BaseModel], raw: Mapping[str, Any], prefix: str = "") -> str:
    """The sentence about settings that are wrong; ``prefix`` is the section that ``model`` is, if any."""
    places = [_locate(each["loc"], model, prefix) for each in error.errors()]
    first, place = error.errors()[0], places[0]
    further = list(dict.fromkeys(each.name or "the whole" for each in places if each.name != place.name))
    named = ", ".join(further[:_MOST_NAMED]) + ", …" * (len(further) > _MOST_NAMED)
    told = _told(first, place, model, raw, prefix)
    full = told if told.endswith((".", "?")) else f"{told}."
    return full + (f" (Also wrong: {named}.)" if further else "")


@dataclass(frozen=True, slots=True)
class _Place:
    """A setting: its name, the field that it is (None: unknown, or the whole), the keys that lead to it, and the names
    of its section.
    """

    name: str
    field: FieldInfo | None
    keys: tuple[str | int, ...]
    siblings: tuple[str, ...]


def _locate(location: Sequence[int | str], model: type[BaseModel], prefix: str) -> _Place:
    """Follow a location as far as it names settings; below that are items of a list, or the kinds that were tried."""
    field, inner = None, model
    for depth, part in enumerate(location):
        keys = tuple(location[: depth + 1])
        name = short(".".join(filter(None, (prefix, *map(str, keys)))))
        field = inner.model_fields.get(str(part))
        section = None if field is None else section_of(field.annotation)
        if field is None or section is None:
            return _Place(name, field, keys, tuple(inner.model_fields))
        if depth == len(location) - 1:
            return _Place(name, field, keys, tuple(inner.model_fields))
        inner = section
    return _Place(prefix, None, (), tuple(inner.model_fields))


def _told(first: Mapping[str, Any], place: _Place, model: type[BaseModel], raw: Mapping[str, Any], prefix: str) -> str:
    message = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
    if first["type"] == "extra_forbidden":
        return _unknown(place, model, prefix)
    ours = first["type"] == "value_error" and message != NOT_TRUE
    if ours and (place.field is None or section_of(place.field.annotation)):
        # It is of several settings, and names them.
        return message
    if first["type"] == "invalid_key":
        section = ".".join(filter(None, (prefix, *map(str, place.keys[:-1])))) or "the recipe"
        return f"{short(section)} has the key {shown(place.keys[-1])} in it: a key must be text; in quotes it is"
    if place.field is None:
        return f"{place.name or 'the whole'} is {shown(first['input'])}: it must be a mapping of settings"
    if first["type"] == "missing" and len(first["loc"]) == len(place.keys):
        return f"{place.name} is missing: it must be {allowed(place.name, place.field)}"
    if first["loc"][-1] == "[key]":
        why = message if ours else "a key must be text; in quotes it is"
        return f"{place.name} has the key {shown(first['input'])} in it: {why}"
    given = _given(raw, place.keys, first["input"])
    if ours:
        return f"{place.name} is {shown(given)}: {message}"
    if place.name == "arms" and len(first["loc"]) > 1:
        arm = f"arms.{short(str(first['loc'][1]))}"
        return f"{arm} is {shown(first['input'])}: it must be a mapping of what differs there, {{}} for nothing"
    quoted = ""
    if is_text(place.field) and not isinstance(given, str | list | tuple | dict | None):
        quoted = "; in quotes it is text"
    return f"{place.name} is {shown(given)}: it must be {allowed(place.name, place.field)}{quoted}"


def _given(raw: Mapping[str, Any], keys: Sequence[str | int], otherwise: object) -> object:
    """What stands at a place of the plain data."""
    found: Any = raw
    for key in keys:
        if not isinstance(found, Mapping) or key not in found:
            return otherwise
        found = found[key]
    return found


def _unknown(place: _Place, model: type[BaseModel], prefix: str) -> str:
    meant = meant_by(place.name, model, prefix)
    hint = f". Did you mean {' or '.join(meant)}?" if meant else "."
    return f"unknown key '{place.name}'; known here are {', '.join(place.siblings)}{hint}"


def meant_by(name: str, model: type[BaseModel], prefix: str = "") -> list[str]:
    """The settings that a name may have meant: of the same last part, else spelt alike, in the same section first."""
    names = list(names_of(model, prefix))
    section, _, last = name.rpartition(".")
    same = [each for each in names if each.rpartition(".")[2] == last]
    if same:
        return same[:_MOST_MEANT]
    beside = {each.rpartition(".")[2]: each for each in names if each.rpartition(".")[0] == section}
    near = [beside[each] for each in difflib.get_close_matches(last, beside, n=1)]
    everywhere = {each.rpartition(".")[2]: each for each in reversed(names)}
    return near or [everywhere[each] for each in difflib.get_close_matches(last, everywhere, n=1, cutoff=0.8)]


def names_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings, sections among them."""
    for key, field in model.model_fields.items():
        name = f"{prefix}.{key}" if prefix else key
        yield name
        section = section_of(field.annotation)
        if section is not None:
            yield from names_of(section, name)
