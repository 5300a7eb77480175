"""Pass@k curves of samples that exist, without a run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unsqueeze.api.judging import score
from unsqueeze.errors import UserError
from unsqueeze.evaluation.sides import sides_of
from unsqueeze.metrics.summary import Summary
from unsqueeze.progress import Progress
from unsqueeze.report.charts import pass_at_k_of
from unsqueeze.report.draw import FORMATS, save_figure
from unsqueeze.report.figures import Figure


def plot(
    sources: Sequence[str | Path] | Mapping[str, Any],
    *,
    out: str | Path | None = None,
    ks: Sequence[int] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **judging: Any,
) -> Figure:
    """Draw Pass@k against k of one model or of several, with 95 % intervals over problems; what has one name is several
    seeds, of which the mean and the range are drawn.

    ``sources`` are named, or what ``compare`` takes. ``out`` is a file, ``.svg`` or ``.pdf`` by its name. ``judging``
    are the settings of ``score``. The figure is returned as a value.
    """
    target = None if out is None else Path(out)
    form = "" if target is None else target.suffix.removeprefix(".").lower()
    if target is not None and form not in FORMATS:
        raise UserError(f"out is {out}; give a file that ends with {' or '.join(f'.{each}' for each in FORMATS)}.")
    named = sources if isinstance(sources, Mapping) else sides_of([str(each) for each in sources])
    curves: dict[str, tuple[int, list[Summary]]] = {}
    for number, (name, side) in enumerate(named.items()):
        several = side if isinstance(side, list) else [side]
        curves[name] = (number, [score(each, ks=ks, seed=seed, progress=progress, **judging) for each in several])
    shared = set.intersection(*(set(each.pass_at) for _, summaries in curves.values() for each in summaries))
    known = sorted(k for k in shared if not any(_is_undefined(each, k) for _, some in curves.values() for each in some))
    if not known:
        raise UserError("plot: the sources have no k in common that all of their problems have samples for; give --k.")
    figure = pass_at_k_of(curves, known)
    if target is not None:
        save_figure(replace(figure, name=target.stem), target.parent, formats=[form])
    return figure


def _is_undefined(summary: Summary, k: int) -> bool:
    return summary.pass_at[k].mean != summary.pass_at[k].mean
