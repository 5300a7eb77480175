"""Suggest changes by which a run fits: the recipe's own knobs, tried on the cost model, the least harmful first."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from unsqueeze.config.model_settings import LoraSettings
from unsqueeze.config.recipe import Recipe
from unsqueeze.cost.memory import Layout, Memory

MOST_CHANGES = 3
"""Settings changed at once, at most."""
DEVICE_COUNTS = (2, 4, 8, 16, 32, 64)

Situation = tuple[Recipe, Layout]
"""A recipe, and the layout it has on the devices there are."""
Cost = Callable[[Recipe, Layout], Memory]


@dataclass(frozen=True, slots=True)
class Knob:
    """Something to change. ``turn`` gives the situation after it, or None where it makes no difference or cannot help;
    those ``by_degrees`` are turned only as far as is needed to fit.
    """

    name: str
    turn: Callable[[Situation, Cost, int], Situation | None]
    by_degrees: bool = False


def suggestions(recipe: Recipe, layout: Layout, cost: Cost, limit: int) -> list[list[str]]:
    """Sets of changes after each of which the peak is within ``limit`` bytes; none contains another one.

    Each change is written as a setting with its value before and after. More devices, with FSDP, are tried as long as
    they spare a change. Empty where nothing that was tried helps.
    """
    found: list[list[str]] = []
    fewest = MOST_CHANGES + 1
    for spread in ((recipe, layout), *_more_devices(recipe, layout)):
        sets = [
            (list(_differences((recipe, layout), after)), len(list(_turns(spread[0], after[0]))))
            for after in _sufficient(spread, cost, limit)
        ]
        sets = [each for each in sets if spread[1] == layout or each[1] < fewest]
        found += [changes for changes, _ in sets]
        fewest = min([fewest, *(turns for _, turns in sets)])
        if fewest == 0:
            break
    return found


def _sufficient(situation: Situation, cost: Cost, limit: int) -> Iterator[Situation]:
    """The situations that fit after turning few knobs, none of them needlessly."""
    enough: list[set[str]] = []
    for size in range(MOST_CHANGES + 1):
        for knobs in itertools.combinations(KNOBS, size):
            names = {knob.name for knob in knobs}
            if any(smaller <= names for smaller in enough):
                continue
            after = _turned(situation, knobs, cost, limit)
            if after is not None and cost(*after).peak <= limit:
                enough.append(names)
                yield after


def _more_devices(recipe: Recipe, layout: Layout) -> list[Situation]:
    """List the same devices sharded, and then more of them. One CPU is all there is."""
    if not layout.on_gpu:
        return []
    sharded = recipe.model_copy(update={"parallel": recipe.parallel.model_copy(update={"strategy": "fsdp"})})
    first = [layout.num_devices] if layout.num_devices > 1 and not layout.sharded else []
    more = [*first, *(number for number in DEVICE_COUNTS if number > layout.num_devices)]
    return [(sharded, replace(layout, num_devices=number, sharded=True)) for number in more]


def _turned(situation: Situation, knobs: Sequence[Knob], cost: Cost, limit: int) -> Situation | None:
    # What is turned only as far as needed comes last, when it is known how far that is.
    for knob in sorted(knobs, key=lambda knob: knob.by_degrees):
        turned = knob.turn(situation, cost, limit)
        if turned is None:
            return None
        situation = turned
    return situation


def _recompute(situation: Situation, cost: Cost, limit: int) -> Situation | None:
    recipe, layout = situation
    if recipe.model.gradient_checkpointing:
        return None
    return _with_model(recipe, gradient_checkpointing=True), layout


def _half(situation: Situation, cost: Cost, limit: int) -> Situation | None:
    recipe, layout = situation
    if recipe.model.compute_dtype == "bfloat16" or not layout.on_gpu:
        return None
    return _with_model(recipe, compute_dtype="bfloat16"), layout


def _adapters(situation: Situation, cost: Cost, limit: int) -> Situation | None:
    recipe, layout = situation
    if recipe.model.lora is not None:
        return None
    return _with_model(recipe, lora=LoraSettings(rank=16, alpha=32)), layout


def _rows(situation: Situation, cost: Cost, limit: int) -> Situation | None:
    """Fewer responses side by side: as many as fit while generating."""
    recipe, layout = situation
    if cost(recipe, layout).generating <= limit or recipe.rollout.engine != "hf":
        return None
    for rows in _smaller(recipe.rollout.max_rows):
        changed = recipe.model_copy(update={"rollout": recipe.rollout.model_copy(update={"max_rows": rows})})
        if cost(changed, layout).generating <= limit:
            return changed, layout
    return None


def _tokens(situation: Situation, cost: Cost, limit: int) -> Situation | None:
    """Shorter micro-batches: as many tokens as fit while weights move."""
    recipe, layout = situation
    if cost(recipe, layout).updating <= limit:
        return None
    for tokens in _smaller(recipe.rl.tokens_per_microbatch // 256):
        changed = recipe.model_copy(update={"rl": recipe.rl.model_copy(update={"tokens_per_microbatch": 256 * tokens})})
        if cost(changed, layout).updating <= limit:
            return changed, layout
    return None


KNOBS = (
    Knob("rollout.max_rows", _rows, by_degrees=True),
    Knob("rl.tokens_per_microbatch", _tokens, by_degrees=True),
    Knob("model.gradient_checkpointing", _recompute),
    Knob("model.compute_dtype", _half),
    Knob("model.lora", _adapters),
)
"""The order of the knobs, from what costs least to what changes most."""


def _smaller(number: int) -> Iterator[int]:
    """Numbers below ``number``, falling by about an eighth, down to 1; multiples of 8 where they are that large."""
    while number > 1:
        smaller = number * 7 // 8
        number = smaller - smaller % 8 if smaller >= 16 else smaller
        yield number


def _with_model(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=changes)})


def _differences(before: Situation, after: Situation) -> Iterator[str]:
    """The changes from one situation to another: settings with their values before and after, and devices."""
    (old, old_layout), (new, layout) = before, after
    yield from _turns(old, new)
    if new.parallel.strategy != old.parallel.strategy:
        yield f"parallel.strategy {old.parallel.strategy} -> {new.parallel.strategy}"
    if layout.num_devices != old_layout.num_devices:
        yield f"{layout.num_devices} GPUs"


def _turns(old: Recipe, new: Recipe) -> Iterator[str]:
    """The settings of the knobs that differ."""
    if new.rollout.max_rows != old.rollout.max_rows:
        yield f"rollout.max_rows {old.rollout.max_rows} -> {new.rollout.max_rows}"
    if new.rl.tokens_per_microbatch != old.rl.tokens_per_microbatch:
        yield f"rl.tokens_per_microbatch {old.rl.tokens_per_microbatch} -> {new.rl.tokens_per_microbatch}"
    if new.model.gradient_checkpointing != old.model.gradient_checkpointing:
        yield "model.gradient_checkpointing false -> true"
    if new.model.compute_dtype != old.model.compute_dtype:
        yield "model.compute_dtype float32 -> bfloat16"
    if new.model.lora is not None and old.model.lora is None:
        yield f"model.lora null -> {{rank: {new.model.lora.rank}, alpha: {new.model.lora.alpha}}}"
