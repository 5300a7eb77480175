"""Paths in the plane (Avg@n, Pass@n), over problems and seeds: of every arm, and of one against each rival."""

from collections.abc import Mapping, Sequence

import numpy as np

from unsqueeze.labs.gather import Gathered, Results, counts_of, shared_keys
from unsqueeze.labs.grid import Cell
from unsqueeze.labs.views.cells import estimate_column, interval, name_column
from unsqueeze.metrics.plane import Path, Plane
from unsqueeze.metrics.tally import Key
from unsqueeze.tables import Column, Table


def plane(found: Results) -> Table:
    """End, hypervolume and gap at equal Avg of every arm against the control's path.

    Intervals are over problems and seeds. Only seeds that all arms of a variant have are taken; paths begin with the
    base model.
    """
    most = found.most_samples
    rows = []
    for variant in found.variants:
        cells, seeds = shared_seeds(found.of_variant(variant))
        if not seeds:
            continue
        paths = paths_of(cells)
        drawn = Plane(paths, most)
        for cell in cells:
            summary = drawn.summary(cell.arm)
            compared = drawn.compare(cell.arm, found.control) if found.control in paths else None
            is_control = cell.arm == found.control or compared is None
            rows.append(
                [
                    cell.label,
                    interval(summary.points[-1].avg),
                    interval(summary.points[-1].pass_at_k),
                    interval(summary.hypervolume),
                    None if is_control or compared is None else interval(compared.hypervolume),
                    None if is_control or compared is None else interval(compared.last.gap),
                    None if is_control or compared is None else compared.last.where,
                    len(seeds),
                ]
            )
    return Table(
        columns=[
            name_column(),
            estimate_column(f"Avg@{most}"),
            estimate_column(f"Pass@{most}"),
            estimate_column("hypervolume"),
            estimate_column(f"hypervolume − {found.control}", signed=True),
            estimate_column("gap at equal Avg", signed=True),
            Column(f"Avg within {found.control}'s"),
            Column("seeds"),
        ],
        rows=rows,
        title=f"The plane (Avg@{most}, Pass@{most})",
        caption=f"Mean over seeds with 95 % intervals over problems and seeds, in %. Hypervolume: of the whole path, "
        f"base included, over (0, 0). Gap: Pass@{most} at the end, less that of the upper hull of {found.control}'s "
        "path at the same Avg; none outside of its range.",
    )


def duels(found: Results) -> Table:
    """One arm, the suite's ``subject``, against every other: hypervolumes, and its end on the hull of their paths."""
    most, subject = found.most_samples, found.subject
    rows = []
    for variant in found.variants:
        cells, seeds = shared_seeds(found.of_variant(variant))
        paths = paths_of(cells) if seeds else {}
        if subject not in paths:
            continue
        drawn = Plane(paths, most)
        for cell in cells:
            if cell.arm != subject:
                compared = drawn.compare(subject, cell.arm)
                last = compared.last
                rows.append(
                    [
                        cell.label,
                        interval(compared.hypervolume),
                        interval(last.gap),
                        last.where,
                        None if last.to_end is None else interval(last.to_end),
                        len(seeds),
                    ]
                )
    return Table(
        columns=[
            name_column("against"),
            estimate_column("hypervolume", signed=True),
            estimate_column("gap at equal Avg", signed=True),
            Column("Avg within its range"),
            estimate_column("else, to its end", signed=True),
            Column("seeds"),
        ],
        rows=rows,
        title=f"{subject} against each rival",
        caption=f"{subject} less the rival, mean over seeds with 95 % intervals over problems and seeds, in points. "
        f"Gap: Pass@{most} at the end of {subject}, less that of the upper hull of the rival's path at the same Avg; "
        "where that Avg is outside of the rival's range, less that of the rival's end on that side.",
    )


def shared_seeds(cells: Mapping[Cell, Sequence[Gathered]]) -> tuple[dict[Cell, list[Gathered]], list[int]]:
    """Return the runs at the seeds that all cells have, and those seeds."""
    if not cells:
        return {}, []
    seeds = set.intersection(*({run.run.seed for run in runs} for runs in cells.values()))
    return {cell: [run for run in runs if run.run.seed in seeds] for cell, runs in cells.items()}, sorted(seeds)


def paths_of(cells: Mapping[Cell, Sequence[Gathered]]) -> dict[str, Path]:
    """Return the path of every arm of one variant, on the problems that all evaluations have."""
    keys = shared_keys([tally for runs in cells.values() for run in runs for tally in run.tallies.values()])
    return {cell.arm: path_of(runs, keys) for cell, runs in cells.items()}


def path_of(runs: Sequence[Gathered], keys: Sequence[Key]) -> Path:
    """Return the path of runs of one arm on these problems: the steps that all of them were evaluated at, in order."""
    shared = sorted(set.intersection(*(set(run.tallies) for run in runs)))
    counts = [[counts_of(run.tallies[step], keys) for step in shared] for run in runs]
    return Path(
        np.array([[correct_P for _, correct_P in of_run] for of_run in counts]),
        np.array([[samples_P for samples_P, _ in of_run] for of_run in counts]),
    )
