"""Tables of what samples add up to, for ``unsqueeze score`` and ``unsqueeze eval``."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unsqueeze.cli.showing import estimate_of, interval_of, intervals, percentages, short_estimates
from unsqueeze.tables import Column, Table
from unsqueeze.wording import counted

if TYPE_CHECKING:
    from unsqueeze.metrics.intervals import Estimate
    from unsqueeze.metrics.summary import Summary


@dataclass(frozen=True, slots=True)
class Line:
    """One metric: its name, its estimate, and what it would be were all right that was not judged."""

    name: str
    estimate: "Estimate"
    at_best: float | None

    @property
    def row(self) -> list[object]:
        """The metric as a row: name, percent, interval, percent at best."""
        best = None if self.at_best is None else 100 * self.at_best
        return [self.name, 100 * self.estimate.mean, interval_of(self.estimate), best]


def first_lines(summary: "Summary", max_samples: int) -> Iterator[Line]:
    """Avg@n, Pass@k, coverage, maj@n and Cover@τ."""
    best = summary.at_best
    yield Line(f"Avg@{max_samples}", summary.avg, best.avg if best else None)
    for k, estimate in summary.pass_at.items():
        yield Line(f"Pass@{k}", estimate, best.pass_at[k] if best else None)
    yield Line("coverage", summary.coverage, best.coverage if best else None)
    if summary.majority is not None:
        yield Line(f"maj@{max_samples}", summary.majority, best.majority if best else None)
    for tau, estimate in summary.reliability.cover.items():
        yield Line(f"Cover@{tau:g}", estimate, best.reliability.cover.get(tau) if best else None)


def further_lines(summary: "Summary") -> Iterator[Line]:
    """pass^k, mG-Pass@k and G-Pass@k_τ."""
    found = summary.reliability
    best = summary.at_best.reliability if summary.at_best else None
    for k, estimate in found.pass_hat.items():
        yield Line(f"pass^{k}", estimate, best.pass_hat.get(k) if best else None)
    for k, estimate in found.mean_g_pass_at.items():
        yield Line(f"mG-Pass@{k}", estimate, best.mean_g_pass_at.get(k) if best else None)
    for tau, by_k in found.g_pass_at.items():
        for k, estimate in by_k.items():
            at_best = best.g_pass_at.get(tau, {}).get(k) if best else None
            yield Line(f"G-Pass@{k} (τ = {tau:g})", estimate, at_best)


def first_table(title: str, summary: "Summary", max_samples: int) -> Table:
    """Return a line a metric, with its interval."""
    columns = [Column("metric", left=True), percentages(), intervals()]
    if summary.at_best is not None:
        columns.append(percentages("unjudged right, %"))
    rows = [line.row[: len(columns)] for line in first_lines(summary, max_samples)]
    caption = f"{counted(summary.n_problems, 'problem')}, up to {counted(max_samples, 'sample')} each"
    return Table(columns, rows, title=title, caption=caption)


def reliability_table(summary: "Summary") -> Table:
    """Return a line a k: pass^k and mG-Pass@k with their intervals, and G-Pass@k at every τ."""
    found = summary.reliability
    columns = [Column("k"), short_estimates("pass^k, %"), short_estimates("mG-Pass@k, %")]
    columns += [percentages(f"τ {tau:g}") for tau in found.g_pass_at]
    rows = []
    for k, estimate in found.pass_hat.items():
        both = [estimate_of(each) for each in (estimate, found.mean_g_pass_at[k])]
        rows.append([k, *both, *(100 * by_k[k].mean for by_k in found.g_pass_at.values())])
    caption = "pass^k: all k are right; τ: G-Pass@k, a share of τ of them is"
    return Table(columns, rows, caption=caption)


def long_table(summaries: Mapping[str, "Summary"]) -> Table:
    """Return every metric of every summary, its benchmarks before it, a line each.

    The arms' names and the benchmarks' have columns where there are any.
    """
    parts = [
        (arm, name or "all", part, summary.max_samples)
        for arm, summary in summaries.items()
        for name, part in [*summary.benchmarks.items(), ("", summary)]
    ]
    arms, benchmarks = any(summaries), any(summary.benchmarks for summary in summaries.values())
    names = [Column(name, left=True) for name, there in (("arm", arms), ("benchmark", benchmarks)) if there]
    columns = [*names, Column("problems"), Column("metric", left=True), percentages(), intervals()]
    best = any(part.at_best for _, _, part, _ in parts)
    if best:
        columns.append(percentages("unjudged right, %"))
    rows = []
    for arm, name, part, most in parts:
        told = [value for value, there in ((arm, arms), (name, benchmarks)) if there]
        for line in [*first_lines(part, most), *further_lines(part)]:
            rows.append([*told, part.n_problems, *(line.row if best else line.row[:3])])
    return Table(columns, rows)
