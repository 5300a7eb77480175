"""What happened, in plain sentences, for a reader who looks for ten seconds."""

from collections.abc import Sequence
from math import isfinite

from unsqueeze.metrics.comparison import Contrast
from unsqueeze.report.model import BASE, Contrasted, Report

MOST_NAMED = 6
"""Sides that one sentence names."""


def headline(report: Report) -> str:
    """Say which problems were lost, or what else is known; of a report without results, that there are none."""
    if report.against_base:
        return _lost(report.against_base)
    if report.against_first:
        return _lost(report.against_first)
    for side in report.sides:
        for run in side.measured:
            summary = run.last.summary if run.last else None
            if summary is not None and summary.pass_at:
                k = summary.max_k
                return (
                    f"{side.name}: {_share(summary.avg.mean)} of the answers are right, and {k} answers solve "
                    f"{_share(summary.pass_at[k].mean)} of {summary.n_problems} problems."
                )
    return "Nothing is measured so far."


def _lost(contrasts: Sequence[Contrasted]) -> str:
    """GRPO lost 21 of 192 problems that the base could solve; SPS lost 12."""
    parts: list[str] = []
    for each in contrasts[:MOST_NAMED]:
        lost, gained, solved = each.comparison.num_lost, each.comparison.num_gained, each.num_solved_first
        what = "problems" if each.comparison.num_seeds == 1 else f"problems (over {each.comparison.num_seeds} seeds)"
        could = f"the {each.first} could solve" if each.first == BASE else f"{each.first} could solve"
        if not parts:
            of = f" of the {solved} {what} that {could}" if solved is not None else f" {what} that {could}"
            said = f"{each.other} lost {lost}{of}" + (f" and gained {gained}" if gained else "")
        else:
            of = ""
            if solved is not None and solved != contrasts[0].num_solved_first:
                of = f" of {solved}"
            said = f"{each.other} lost {lost}{of}" + (f" and gained {gained}" if gained else "")
        parts.append(said)
    more = len(contrasts) - MOST_NAMED
    return "; ".join(parts) + (f"; {more} more sides are in the table" if more > 0 else "") + "."


def details(report: Report) -> list[str]:
    """Say what training changed in Avg@n and Pass@k, and whether that could be chance."""
    said = [f"{run.label} is {run.status}." for run in report.trainings if "finished after" not in run.status]
    for each in report.against_base[:MOST_NAMED]:
        comparison = each.comparison
        k = max(comparison.pass_at)
        said.append(
            f"{each.other}{_what_it_is(report, each.other)}: right answers {_moved(comparison.avg)}; problems solved "
            f"by one of {k} answers {_moved(comparison.pass_at[k])}."
        )
    for each in report.against_first[:MOST_NAMED]:
        k = max(each.comparison.pass_at)
        said.append(
            f"{each.other} against {each.first}, problems solved by one of {k} answers: "
            f"{_difference(each.comparison.pass_at[k])}."
        )
    return said + _luck(report.against_base)


def _luck(contrasts: Sequence[Contrasted]) -> list[str]:
    """Say how much of what is lost is the luck of the draw (``metrics.turnover``), where that is known."""
    known = [(each.other, each.comparison.turnover) for each in contrasts[:MOST_NAMED]]
    parts = [
        f"{other} {_share(found.lost.mean)} ({_share(found.by_chance.mean)})"
        for other, found in known
        if found is not None and isfinite(found.lost.mean)
    ]
    if not parts:
        return []
    k = next(found.k for _, found in known if found is not None)
    return [f"Problems lost with {k} answers each (of these by the luck of the draw alone): {', '.join(parts)}."]


def _what_it_is(report: Report, name: str) -> str:
    """Say in brackets what a side was trained by."""
    run = next((side.runs[0] for side in report.sides if side.name == name), None)
    if run is None or run.recipe is None:
        return ""
    irl = sum(phase.kind == "irl" for phase in run.phases)
    what = "RL alone" if run.recipe.irl is None else f"RL and {irl} IRL phase{'' if irl == 1 else 's'}"
    return f" ({what}, {run.recipe.rl.algorithm})"


def _moved(contrast: Contrast) -> str:
    return f"{_share(contrast.first)} → {_share(contrast.second)}"


def _difference(contrast: Contrast) -> str:
    difference, p = contrast.paired.difference, contrast.paired.p_value
    if difference.mean != difference.mean:
        return "not known"
    between = (
        "" if difference.low != difference.low else f" [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
    )
    chance = "" if p != p else ", p < 0.0001" if p < 1e-4 else f", p = {p:.2g}"
    verdict = "" if p != p else ": chance alone would hardly do this" if p < 0.05 else ": this may be chance"
    return f"{100 * difference.mean:+.1f} points{between}{chance}{verdict}"


def _share(share: float) -> str:
    return "–" if share != share else f"{100 * share:.1f} %"
