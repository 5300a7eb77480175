"""A row an arm: how reliable its answers are, beside what it can reach."""

from collections.abc import Sequence
from typing import Any

from unsqueeze.labs.gather import Gathered, Results
from unsqueeze.labs.views.cells import name_column, spread, spread_column
from unsqueeze.metrics.summary import summarise_tally
from unsqueeze.tables import Column, Table

TAUS = (0.25, 0.5, 0.75)
SHOWN_K = 8
SHOWN_TAU = 0.5


def reliability(found: Results) -> Table:
    """Cover@τ, pass^k and G-Pass@k at the end of training, and of the base model: mean over seeds."""
    rows = []
    for variant in found.variants:
        for i, (cell, runs) in enumerate(found.of_variant(variant).items()):
            if i == 0:
                rows.append([f"base, {variant}" if variant else "base", *_cells(runs, base=True)])
            rows.append([cell.label, *_cells(runs, base=False)])
    return Table(
        columns=[
            name_column(),
            *(spread_column(f"Cover@{tau:g}") for tau in TAUS),
            spread_column(f"pass^{SHOWN_K}"),
            spread_column(f"G-Pass@{SHOWN_K}, τ = {SHOWN_TAU:g}"),
            Column("seeds"),
        ],
        rows=rows,
        title="Reliability",
        caption=f"In %, mean over seeds [smallest, largest]. Cover@τ: problems solved at a rate of τ or more. "
        f"pass^{SHOWN_K}: all of {SHOWN_K} answers are right; G-Pass: that share τ of them or more.",
    )


def _cells(runs: Sequence[Gathered], *, base: bool) -> list[Any]:
    tallies = [run.tallies[0 if base else run.last] for run in runs]
    # Of the counts, not of stored summaries: those of earlier versions do not have them.
    found = [
        summarise_tally(tally, [min(SHOWN_K, tally.max_samples)], taus=TAUS, seed=0).reliability for tally in tallies
    ]
    half = [each.g_pass_at.get(SHOWN_TAU, {}) for each in found]
    return [
        *(spread([each.cover[tau].mean if tau in each.cover else None for each in found]) for tau in TAUS),
        spread([each.pass_hat[SHOWN_K].mean if SHOWN_K in each.pass_hat else None for each in found]),
        spread([by_k[SHOWN_K].mean if SHOWN_K in by_k else None for by_k in half]),
        len(runs),
    ]
