"""Figures as files for papers: SVG and PDF, drawn by matplotlib, which needs no browser."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from unsqueeze.report.figures import MARKERS, Figure, Series, color_of
from unsqueeze.store.outputs import output_file

FORMATS = ("svg", "pdf")
SIZE_INCHES = (4.8, 3.3)

_STYLE: Any = {
    "font.size": 9,
    "axes.grid": True,
    "axes.grid.which": "major",
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.usetex": False,
    "text.parse_math": False,  # a name with two dollars in it is no formula
    "svg.fonttype": "none",  # letters stay letters, to be found and edited
    "svg.hashsalt": "unsqueeze",  # the same figure is the same file
    "pdf.fonttype": 42,
}


def save_figure(figure: Figure, folder: Path, *, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write a figure as ``folder/NAME.FORMAT``, one file a format; return the files. RunError where that fails."""
    paths = []
    with _drawn(figure) as canvas:
        for form in formats:
            path = folder / f"{figure.name}.{form}"
            with output_file(path) as aside:
                canvas.savefig(aside, format=form, metadata=_without_date(form))
            paths.append(path)
    return paths


def _without_date(form: str) -> dict[str, Any]:
    return {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})


@contextmanager
def _drawn(figure: Figure) -> Iterator[Canvas]:
    with rc_context(_STYLE):
        canvas = Canvas(figsize=SIZE_INCHES, layout="constrained")
        FigureCanvasAgg(canvas)
        axes = canvas.add_subplot()
        _draw_axes(figure, axes)
        yield canvas


def _draw_axes(figure: Figure, axes: Axes) -> None:
    if figure.x.log2:
        axes.set_xscale("log", base=2)
        axes.set_xticks(list(figure.x.ticks), [f"{tick:g}" for tick in figure.x.ticks])
    bars = [each for each in figure.series if each.kind == "bars"]
    for place, span in enumerate(figure.spans):
        if span.start == span.end:
            axes.axvline(span.start, color="0.3", linestyle="--", linewidth=0.8)
            at = (span.start, 0.02 + 0.07 * place)
            axes.annotate(
                span.label,
                at,
                xycoords=("data", "axes fraction"),
                fontsize=7,
                xytext=(3, 0),
                textcoords="offset points",
            )
        else:
            axes.axvspan(span.start, span.end, color=color_of(span.color), alpha=0.25, linewidth=0)
    for series in figure.series:
        if series.kind == "bars":
            _draw_bars(axes, series, bars.index(series), len(bars))
        else:
            _draw_line(axes, series)
    axes.set_xlabel(figure.x.title)
    axes.set_ylabel(figure.y.title)
    shown = list(dict.fromkeys(series.name for series in figure.series if series.in_legend))
    if len(shown) > 1:
        handles, labels = axes.get_legend_handles_labels()
        first = {label: handle for handle, label in reversed(list(zip(handles, labels, strict=True)))}
        axes.legend([first[name] for name in shown if name in first], [name for name in shown if name in first])


def _draw_line(axes: Axes, series: Series) -> None:
    color, label = color_of(series.color), series.name if series.in_legend else "_nolegend_"
    x, y, low, high = (_numbers(values) for values in (series.x, series.y, series.low, series.high))
    if series.kind == "band":
        axes.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0)
        return
    marker = "D" if series.color < 0 else MARKERS[series.color % len(MARKERS)]
    if series.kind == "line":
        axes.plot(x, y, color=color, linestyle=":" if series.dashed else "-", linewidth=1.6, label=label)
    else:
        axes.errorbar(
            x,
            y,
            yerr=_arms(y, low, high),
            xerr=_arms(x, _numbers(series.x_low), _numbers(series.x_high)),
            color=color,
            linestyle="none" if series.kind == "points" else "-",
            linewidth=1.4,
            elinewidth=0.7,
            capsize=2,
            marker=marker,
            markersize=4,
            label=label,
        )
        if len(x):
            axes.plot(x[-1:], y[-1:], color=color, marker=marker, markersize=7)
    if series.label and len(x) and np.isfinite(y[-1]):
        axes.annotate(
            series.label, (x[-1], y[-1]), color=color, weight="bold", xytext=(5, 3), textcoords="offset points"
        )


def _draw_bars(axes: Axes, series: Series, place: int, count: int) -> None:
    width = 0.8 / count
    at = np.arange(len(series.x)) - 0.4 + width * (place + 0.5)
    hatch = ("", "//", "\\\\", "xx", "--", "||", "++")[(series.color + 1) % 7]
    axes.bar(
        at, _numbers(series.y), width, color=color_of(series.color), hatch=hatch, edgecolor="white", linewidth=0.4,
        label=series.name,
    )  # fmt: skip
    axes.set_xticks(np.arange(len(series.x)), list(series.x))


def _arms(values: Any, low: Any, high: Any) -> Any:
    """Return the lengths of error bars below and above; None where there are no intervals."""
    if not len(low):
        return None
    return np.nan_to_num(np.clip(np.stack([values - low, high - values]), 0, None))


def _numbers(values: Sequence[Any]) -> Any:
    return np.array([np.nan if value is None else float(value) for value in values], dtype=np.float64)
