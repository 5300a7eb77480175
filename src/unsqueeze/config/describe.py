"""Every setting of a recipe with its values, default and meaning, as ``config`` has them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from unsqueeze.config.allowed import section_of
from unsqueeze.config.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the list. A section (``rl``) has its settings (``rl.steps``) after it."""

    name: str
    values: str
    default: str
    meaning: str


def describe_settings(model: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[Setting]:
    """The settings of a recipe, in order; those of a section follow it."""
    for key, field in model.model_fields.items():
        name = prefix + key
        yield Setting(name, _values(field.annotation), _default(field), " ".join((field.description or "").split()))
        section = section_of(field.annotation)
        if section:
            yield from describe_settings(section, f"{name}.")


def _values(annotation: Any) -> str:
    """Describe the values that may stand there, in the words of YAML."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(arguments[0])
    if origin in (Union, UnionType):
        return ", ".join(_values(each) for each in arguments)
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin is tuple:
        return f"list of {_values(arguments[0])}"
    if section_of(annotation):
        return "section"
    words = {int: "whole number", float: "number", str: "text", bool: "true, false", NoneType: "null", dict: "mapping"}
    return words[origin or annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "to be given"
    if isinstance(field.default, BaseModel):
        return ""
    return json.dumps(field.get_default(call_default_factory=True), ensure_ascii=False)


def settings_table() -> str:
    """The settings as the Markdown table of docs/recipes.md, sections in bold."""
    lines = ["| setting | values | default | meaning |", "| --- | --- | --- | --- |"]
    for each in describe_settings():
        is_section = each.values.startswith("section")
        name = f"**`{each.name}`**" if is_section else f"`{each.name}`"
        default = f"`{each.default}`" if each.default.strip('"') else ""
        lines.append(f"| {name} | {each.values} | {default} | {each.meaning} |")
    return "\n".join(lines) + "\n"
