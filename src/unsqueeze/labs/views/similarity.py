"""A row an arm: how alike the answers to one problem are (Table 4 of arXiv 2604.16995)."""

from pathlib import Path
from statistics import fmean

import pyarrow.compute as pc

from unsqueeze.labs.gather import Results
from unsqueeze.labs.views.cells import name_column, spread, spread_column
from unsqueeze.metrics.diversity import num_distinct, trajectory_similarity
from unsqueeze.store.samples import SAMPLE_SCHEMA
from unsqueeze.store.table import read_table
from unsqueeze.tables import Column, Table

ANSWERS = 32
"""Answers of a problem that are compared with each other."""


def similarity(found: Results) -> Table:
    """Similarity of the first answers to each problem, and how many different right ones: mean over problems."""
    rows = []
    for variant in found.variants:
        for i, (cell, runs) in enumerate(found.of_variant(variant).items()):
            if i == 0:
                base = [_measured(run.samples[0]) for run in runs]
                rows.append(
                    [f"base, {variant}" if variant else "base", *map(spread, zip(*base, strict=True)), len(runs)]
                )
            ends = [_measured(run.samples[run.last]) for run in runs]
            rows.append([cell.label, *map(spread, zip(*ends, strict=True)), len(runs)])
    return Table(
        columns=[
            name_column(),
            spread_column("similarity"),
            spread_column("different right answers", scale=1.0),
            Column("seeds"),
        ],
        rows=rows,
        title="Similarity of the answers to one problem",
        caption=f"Shared word 3-grams of up to {ANSWERS} answers to a problem, in % (lower is more diverse; not the "
        "scale of the paper, which embeds sentences), and how many different right ones are among them: mean over "
        "problems, then over seeds [smallest, largest].",
    )


def _measured(path: Path) -> tuple[float, float]:
    """Mean similarity and number of different right answers of one evaluation."""
    table = read_table(path, SAMPLE_SCHEMA)
    table = table.filter(pc.field("index") < ANSWERS).select(["benchmark", "problem_id", "text", "correct"])
    answers: dict[tuple[str, str], list[tuple[str, bool]]] = {}
    for row in table.to_pylist():
        answers.setdefault((row["benchmark"], row["problem_id"]), []).append((row["text"], bool(row["correct"])))
    alike = fmean(trajectory_similarity([text for text, _ in given]) for given in answers.values())
    right = fmean(num_distinct([text for text, correct in given if correct]) for given in answers.values())
    return alike, right
