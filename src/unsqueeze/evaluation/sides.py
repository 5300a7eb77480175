"""Sides of a comparison: how a command line names them, and how trainings that differ in their seed are paired."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unsqueeze.errors import RunError, UserError
from unsqueeze.evaluation.settings import recipe_of
from unsqueeze.store.arms import arms_in
from unsqueeze.store.run_directory import RunDirectory


def sides_of(arguments: Sequence[str]) -> dict[str, list[Any]]:
    """Return the sources of each side by its name, in the order in which the names first stand.

    ``FOLDER:ARM`` is an arm in the folder of a recipe, FOLDER alone is each of its arms, ``NAME=PATH`` any source under
    a name of one's own; what has the same name is one side, of several seeds. Another path is a side named like itself.
    UserError where a name or a path fits nothing, or the same is given twice.
    """
    sides: dict[str, list[Any]] = {}
    for argument in arguments:
        for name, source in _named(argument):
            if name == source and name in sides:
                name = f"{name} again"  # a file against itself: nothing differs, and it may be looked at
            if source in sides.setdefault(name, []):
                raise UserError(f"compare: {source} is given twice for {name}; give every run once.")
            sides[name].append(source)
    return sides


def _named(argument: str) -> list[tuple[str, str]]:
    """Return the names and sources that one argument stands for."""
    if Path(argument).exists():
        arms = arms_in(Path(argument))
        return [(arm, str(Path(argument) / arm)) for arm in arms] or [(argument, argument)]
    name, equals, source = argument.partition("=")
    if equals and name and "/" not in name:
        found = _named(source)
        if len(found) > 1:
            each = ", ".join(f"{name}={source}:{arm}" for arm, _ in found)
            raise UserError(f"{argument}: {source} holds arms, not a run; give one of {each}, or {source} alone.")
        return [(name, source) for _, source in found]
    folder, colon, arm = argument.rpartition(":")
    if colon and Path(folder).is_dir():
        arms = arms_in(Path(folder))
        if arm not in arms:
            known = f"it holds {', '.join(arms)}" if arms else "it holds no arms"
            raise UserError(f"{argument}: {folder} has no arm {arm!r}; {known}.")
        return [(arm, str(Path(folder) / arm))]
    return [(argument, argument)]  # what is wrong with it is said where its samples are read


def paired_by_seed(sides: Sequence[tuple[str, Sequence[Any]]]) -> list[list[Any]]:
    """Return as many sources of every side (name, sources), in the order of their seeds: the s-th belong together.

    Where the seeds are known (runs, and what lies in them) they must be the same on all sides; otherwise the order
    given counts. A side of one source stands beside every seed of the others. UserError where they cannot be paired.
    """
    several = [sources for _, sources in sides if len(sources) > 1]
    if not several:
        return [list(sources) for _, sources in sides]
    seeds = {place: [seed_of(source) for source in sources] for place, (_, sources) in enumerate(sides)}
    many = [seeds[place] for place, (_, sources) in enumerate(sides) if len(sources) > 1]
    told = "; ".join(f"{name} has {', '.join(map(_shown, seeds[place]))}" for place, (name, _) in enumerate(sides))
    if len({len(found) for found in many}) > 1:
        raise UserError(f"compare: sides of several seeds need as many each, to be paired by problem and seed: {told}.")
    known = all(seed is not None for found in many for seed in found)
    if known and any(len(set(found)) < len(found) for found in many):
        raise UserError(f"compare: the runs of one side must differ in their seed: {told}.")
    if known and len({frozenset(found) for found in many}) > 1:
        raise UserError(f"compare: runs are paired by problem and seed, so all sides need the same seeds: {told}.")
    count = len(several[0])
    ordered = []
    for place, (_, sources) in enumerate(sides):
        order = list(range(len(sources)))
        if known and len(sources) > 1:
            order.sort(key=[seed or 0 for seed in seeds[place]].__getitem__)
        ordered.append([sources[i] for i in order] * (count if len(sources) == 1 else 1))
    return ordered


def seed_of(source: Any) -> int | None:
    """Return the seed of the run that a source is, or lies in; None where it is of no run, or its seed is not told."""
    if not isinstance(source, str | Path):
        return None
    path = Path(source)
    for folder in (path, path.parent, path.parent.parent):
        if (folder / "run.json").is_file():
            try:
                recipe = recipe_of(RunDirectory.open(folder))
            except (UserError, RunError):
                return None  # of another version, or edited: it may still be compared
            return None if recipe is None else recipe.seed
    return None


def _shown(seed: int | None) -> str:
    return "one that is not known" if seed is None else f"seed {seed}"
