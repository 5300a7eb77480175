"""Tables of trainings along their paths, for ``unsqueeze compare --paths``."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from unsqueeze.cli.showing import estimate_of, percentages, short_estimates
from unsqueeze.tables import Column, Table
from unsqueeze.wording import counted

if TYPE_CHECKING:
    from unsqueeze.api.paths import Paths


def points_table(paths: "Paths") -> Table:
    """Return a line a point: side, step, Avg@n and Pass@k; and of every side but the first its gap to the first's path.

    The gap is empty where the first's path has no point of such an Avg.
    """
    columns = [
        Column("side", left=True),
        Column("step"),
        short_estimates("Avg@n, %"),
        short_estimates(f"Pass@{paths.k}, %"),
        short_estimates("gap at equal Avg, points", signed=True),
    ]
    rows: list[list[Any]] = []
    for name, path in paths.paths.items():
        gaps = paths.against_first[name].gaps if name in paths.against_first else [None] * len(path.points)
        for step, point, gap in zip(paths.steps[name], path.points, gaps, strict=True):
            beyond = None if gap is None else estimate_of(gap.gap)
            rows.append([name, step, estimate_of(point.avg), estimate_of(point.pass_at_k), beyond])
    seeds = max(path.num_seeds for path in paths.paths.values())
    caption = (
        f"{counted(paths.num_problems, 'problem')}, {counted(seeds, 'seed')}; 95 % intervals over problems"
        f"{' and seeds' if seeds > 1 else ''}; gaps are to the path of {next(iter(paths.paths))}"
    )
    return Table(columns, rows, caption=caption)


def paths_table(paths: "Paths") -> Table:
    """Return a line a side: its hypervolume, the difference to the first side's, and the gap of the last point."""
    columns = [
        Column("side", left=True),
        short_estimates("hypervolume, %"),
        short_estimates("less the first's", signed=True),
        short_estimates("gap at its end", signed=True),
        percentages("resamples inside"),
    ]
    rows: list[list[Any]] = []
    for name, path in paths.paths.items():
        found = paths.against_first.get(name)
        row = [name, estimate_of(path.hypervolume)]
        if found is None:
            rows.append([*row, None, None, None])
        else:
            inside = 100 * found.last.share_inside
            rows.append([*row, estimate_of(found.hypervolume), estimate_of(found.last.gap), inside])
    return Table(columns, rows)


def describe_ends(paths: "Paths") -> Iterator[str]:
    """Say of each side that ends beyond the first's path that there is no gap, and what there is instead."""
    first = next(iter(paths.paths))
    for name, found in paths.against_first.items():
        last = found.last
        if last.to_end is not None:
            _, low, high = estimate_of(last.to_end)
            yield (
                f"{name} ends at an Avg of {100 * last.avg:.1f} %, {last.where} all of {first}'s, so that there is no "
                f"gap at equal Avg; to {first} at {100 * last.end_avg:.1f} % the difference in Pass@{paths.k} is "
                f"{100 * last.to_end.mean:+.1f} ({low:+.1f} … {high:+.1f})."
            )
