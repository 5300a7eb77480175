"""Suites in Python: a grid of arms, seeds and learning rates, run side by side and gathered."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsqueeze.errors import Interrupted, UserError
from unsqueeze.labs.suite import Suite, check_suite, described_suites, load_suite
from unsqueeze.progress import StopRequest

if TYPE_CHECKING:
    from unsqueeze.labs.lab import LabPlan, LabResult, Watcher

AnySuite = str | Path | Suite | Mapping[str, Any]
"""The name of a shipped suite, a file, a ``Suite``, or one as plain data."""


def suites() -> dict[str, Suite]:
    """Return the shipped suites by their names."""
    return described_suites()


def lab(
    suite: AnySuite,
    *,
    out: str | Path = "labs",
    overrides: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    arms: Sequence[str] | None = None,
    jobs: int | None = None,
    watcher: "Watcher | None" = None,
    stop: StopRequest | None = None,
    on_planned: "Callable[[LabPlan], bool] | None" = None,
) -> "LabResult | None":
    """Run every arm of a suite at every seed, or go on where it stopped, and gather the results.

    Record and results go to ``out/NAME``, runs to ``out/runs``, where suites share those that they have in common:
    a run that is there is not made again. ``overrides`` are ``a.b=v``; ``seeds`` take the place of the suite's own;
    ``arms`` are those of its arms that are wanted, by default all; ``jobs`` runs work at a time (default: one a GPU,
    else one a core).

    ``on_planned`` is told what is to be done and how long it will take, and may say no (False): the result is then
    None. A run that fails is named in the result and the others are done. Raises Interrupted where ``stop`` is asked,
    or on Ctrl-C and SIGTERM; the same call again goes on.
    """
    from unsqueeze.labs.grid import grid_of
    from unsqueeze.labs.lab import Lab, Unwatched

    if jobs is not None and jobs < 1:
        raise UserError(f"jobs is {jobs}; give 1 or more.")
    grid = grid_of(_as_suite(suite, seeds), overrides, arms)
    request = stop or StopRequest()
    # Python hands signals to the main thread alone.
    hears = stop is None and threading.current_thread() is threading.main_thread()
    with request.listening() if hears else nullcontext():
        work = Lab(grid, Path(out), jobs, watcher or Unwatched(), request)
        try:
            plan = work.plan()
            if on_planned is not None and not on_planned(plan):
                return None
            return work.work(plan)
        except KeyboardInterrupt as error:
            raise Interrupted from error


def _as_suite(suite: AnySuite, seeds: Sequence[int] | None) -> Suite:
    if isinstance(suite, str | Path):
        return load_suite(str(suite), seeds)
    raw = suite.model_dump() if isinstance(suite, Suite) else dict(suite)
    return check_suite(raw | ({} if seeds is None else {"seeds": list(seeds)}), "given")
