"""Load a file (or a shipped recipe by name) with overrides as a checked recipe, or say in one sentence why not."""

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from unsqueeze.config.recipe import Recipe
from unsqueeze.config.refusal import refusal, shown
from unsqueeze.config.shipped import describe_shipped_recipes, shipped_recipes
from unsqueeze.credentials import without_credentials
from unsqueeze.errors import UserError, one_line

_PHASE_LENGTHS = ("every_passes", "every_steps")
_MOST_BITS = 4096
_MOST_NESTED = 30
"""Levels of YAML. A recipe has four."""

S = TypeVar("S", bound=BaseModel)


def described_recipes() -> dict[str, str]:
    """The shipped recipes in order, each with what it says of itself; those in folders after the others."""
    names = sorted(shipped_recipes(), key=lambda name: ("/" in name, name))
    return {name: load_recipe(name).description for name in names}


def load_recipe(source: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a file or from the shipped ones, apply ``a.b=v`` overrides, and check it.

    In a recipe with arms an override goes wherever its section stands: ``irl.k=2`` changes the arms that have an IRL
    phase, and gives none to a control without one. Raises UserError naming the file and the field.
    """
    return check_recipe(apply_overrides(read_settings(_find(source), f"recipe {source}"), overrides), source)


def apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply ``a.b=v`` overrides to a recipe given as plain data, in place, and return it.

    UserError for a wrong one, and for settings of IRL where a recipe has none and no override says when its phases come
    (``irl.every_passes`` or ``irl.every_steps``): a plain RL run would become another algorithm by a detail of it.
    """
    details: list[str] = []
    for override in overrides:
        was_off = not _has_irl(raw)
        _apply_override(raw, override)
        if was_off and _has_irl(raw) and override.partition("=")[0].strip().startswith("irl."):
            details.append(override)
    irl = raw.get("irl")
    if details and isinstance(irl, dict) and all(irl.get(name) is None for name in _PHASE_LENGTHS):
        raise UserError(
            f"setting {shown(details[0])}: IRL is off in this recipe, and one of its settings does not switch it on; "
            f"set when its phases come as well, irl.every_passes=1 for one after each pass over the data, or leave it "
            "out."
        )
    return raw


def _has_irl(raw: Mapping[str, Any]) -> bool:
    """Tell whether a recipe, or an arm of it, has a section of IRL."""
    arms = raw.get("arms")
    parts = [raw, *(arms.values() if isinstance(arms, dict) else [])]
    return any(isinstance(part, Mapping) and part.get("irl") is not None for part in parts)


def check_recipe(raw: dict[str, Any], source: str) -> Recipe:
    """Validate a recipe given as plain data; ``source`` is what the message calls it."""
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"recipe {source}: {refusal(error, Recipe, raw)}") from None


def checked(kind: type[S], raw: Mapping[str, Any], section: str) -> S:
    """Validate one section of settings given as plain data. UserError naming the setting, as ``section.name``."""
    try:
        return kind.model_validate(dict(raw))
    except ValidationError as error:
        raise UserError(refusal(error, kind, raw, section)) from None


def arms_of(recipe: Recipe, source: str) -> dict[str, Recipe]:
    """The runs a recipe asks for: one under each arm's name, or a single one under the recipe's own."""
    if not recipe.arms:
        return {recipe.name: recipe}
    shared = recipe.model_dump(exclude={"arms"})
    return {
        name: check_recipe(merged(shared, changes), f"{source}, arm {name!r}") for name, changes in recipe.arms.items()
    }


def _find(source: str) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    shipped = Path(str(resources.files("unsqueeze") / "recipes")) / f"{source}.yaml"
    if shipped.is_file():
        return shipped
    names = shipped_recipes()
    near = difflib.get_close_matches(source, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UserError(
        f"recipe {source!r} is neither a file nor a shipped recipe ({describe_shipped_recipes()}; "
        f"unsqueeze train --list-recipes).{hint}"
    )


def read_settings(path: Path, what: str) -> dict[str, Any]:
    """Read a YAML file that is a mapping of names to settings; ``what`` is how the message calls it. UserError."""
    try:
        raw = _from_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of a file that is not UTF-8, too
        raise UserError(f"{what}: this is not YAML: {error}") from None
    except OSError as error:
        raise UserError(f"{what} cannot be read: {error.strerror}.") from None
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise UserError(
            f"{what}: a {what.partition(' ')[0]} is a mapping of names to settings; this file holds something else."
        )
    return raw


def _from_yaml(text: str) -> Any:
    """The plain data that a YAML text says. ValueError, in one line, where it says none."""
    try:
        return yaml.load(text, Loader=_RecipeLoader)
    except yaml.YAMLError as error:
        raise ValueError(without_credentials(one_line(error, 1000))) from None
    except (ValueError, KeyError, TypeError, OverflowError, AttributeError) as error:
        # PyYAML's constructors let through what a value of the wrong form makes them raise: 2020-13-45, !!bool maybe.
        raise ValueError(f"one of its values cannot be read ({shown(str(error))}).") from None


class _RecipeLoader(yaml.SafeLoader):
    """Plain YAML would let the second of two equal keys win in silence, run out of stack where it is nested, and read
    numbers that cannot be written.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise yaml.YAMLError("it is nested too deeply for a recipe")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Read a number; Python refuses to write one of thousands of digits, which hexadecimal can say."""
        value: int = super().construct_yaml_int(node)
        if value.bit_length() > _MOST_BITS:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: a whole number of {value.bit_length():,} bits")
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node.value, str):
                raise yaml.YAMLError(f"line {line}: a key must be a name, not a list or a mapping")
            if key_node.value in seen:
                raise yaml.YAMLError(f"line {line}: the key {shown(key_node.value)} stands here a second time")
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_RecipeLoader.add_constructor("tag:yaml.org,2002:int", _RecipeLoader.construct_yaml_int)


def _apply_override(raw: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    keys = name.strip().split(".")
    if not separator or not all(keys):
        raise UserError(f"setting {shown(override)}: write it as section.key=value, for example rl.steps=100.")
    try:
        value = _from_yaml(text)
    except ValueError:
        raise UserError(f"setting {shown(override)}: the value is not YAML; quote it if it is a text.") from None
    arms = raw.get("arms")
    arms_with_section = [
        changes
        for changes in (arms.values() if isinstance(arms, dict) else [])
        if isinstance(changes, dict) and keys[0] in changes and (changes[keys[0]] is not None or len(keys) == 1)
    ]
    for part in arms_with_section:
        _put(part, keys, value, override)
    if raw.get(keys[0]) is not None or not arms_with_section:
        _put(raw, keys, value, override)


def _put(raw: dict[str, Any], keys: Sequence[str], value: Any, override: str) -> None:
    """Set the value at a path of keys, making the mappings on the way."""
    where = raw
    for key in keys[:-1]:
        inner = where.get(key)
        if inner is None:
            inner = where[key] = {}
        if not isinstance(inner, dict):
            raise UserError(f"setting {shown(override)}: {key!r} is a single value and has no keys below it.")
        where = inner
    where[keys[-1]] = value


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with changes to them, section by section; a value that is no section takes the other's place."""
    result = dict(base)
    for key, value in changes.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result
