"""pass^k, G-Pass@k and Cover@τ of a set of problems, as one value.

Axes: P problems.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.metrics.cover import seen_cover
from unsqueeze.metrics.reliability import g_pass_at_k, mean_g_pass_at_k, pass_hat_k, per_problem

V = TypeVar("V")
W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class Reliability(Generic[V]):
    """How reliably problems are solved: ``pass_hat[k]`` (pass^k), ``g_pass_at[tau][k]``, ``mean_g_pass_at[k]``,
    ``cover[tau]``.

    Means over the problems that have at least k samples, as Pass@k. The interval of Cover@τ holds for the true success
    rates (``metrics.cover``), the others are as those of Pass@k.
    """

    pass_hat: dict[int, V] = field(default_factory=dict)
    g_pass_at: dict[float, dict[int, V]] = field(default_factory=dict)
    mean_g_pass_at: dict[int, V] = field(default_factory=dict)
    cover: dict[float, V] = field(default_factory=dict)

    def flat(self) -> list[V]:
        """Return all values in one list."""
        by_tau = [value for by_k in self.g_pass_at.values() for value in by_k.values()]
        return [*self.pass_hat.values(), *by_tau, *self.mean_g_pass_at.values(), *self.cover.values()]

    def refilled(self, values: Iterable[W]) -> "Reliability[W]":
        """Return the same with other values, which are in the order of ``flat``."""
        each = iter(values)
        return Reliability(
            pass_hat={k: next(each) for k in self.pass_hat},
            g_pass_at={tau: {k: next(each) for k in by_k} for tau, by_k in self.g_pass_at.items()},
            mean_g_pass_at={k: next(each) for k in self.mean_g_pass_at},
            cover={tau: next(each) for tau in self.cover},
        )

    def to_json_object(self, write: Callable[[V], object]) -> dict[str, object]:
        """Return the four by their names, every value as ``write`` puts it; the keys are texts."""

        def entries(values: Mapping[Any, V]) -> dict[str, object]:
            return {f"{key:g}": write(value) for key, value in values.items()}

        return {
            "pass_hat": entries(self.pass_hat),
            "g_pass_at": {f"{tau:g}": entries(values) for tau, values in self.g_pass_at.items()},
            "mean_g_pass_at": entries(self.mean_g_pass_at),
            "cover": entries(self.cover),
        }

    @classmethod
    def from_json_object(cls, fields: Mapping[str, Any], read: Callable[[Any], V]) -> "Reliability[V]":
        """Return what ``to_json_object`` wrote.

        KeyError, TypeError, ValueError or AttributeError for something else.
        """

        def by_k(entries: Mapping[str, Any]) -> dict[int, V]:
            return {int(k): read(entry) for k, entry in entries.items()}

        return cls(
            pass_hat=by_k(fields["pass_hat"]),
            g_pass_at={float(tau): by_k(entries) for tau, entries in fields["g_pass_at"].items()},
            mean_g_pass_at=by_k(fields["mean_g_pass_at"]),
            cover={float(tau): read(entry) for tau, entry in fields["cover"].items()},
        )


def check_taus(taus: Iterable[float]) -> list[float]:
    """Return the τ in order, each once. UserError for none at all, or one outside (0, 1]."""
    wanted = sorted(set(taus))
    if not wanted or not all(0 < tau <= 1 for tau in wanted):
        raise UserError(
            f"τ is {', '.join(f'{tau:g}' for tau in wanted) or 'empty'}; give shares above 0 and up to 1, such as 0.5."
        )
    return wanted


def reliability_of(
    num_samples_P: NDArray[np.int64], num_correct_P: NDArray[np.int64], ks: Sequence[int], taus: Sequence[float]
) -> Reliability[NDArray[np.float64]]:
    """The values of every problem at the ks and τ, each of shape (P,); NaN where a problem has too few samples.

    The value of Cover@τ is what was seen, 1[c ≥ ⌈τ n⌉].
    """

    def values(estimate: Callable[[int, int], float]) -> NDArray[np.float64]:
        return per_problem(num_samples_P, num_correct_P, estimate)

    def seen(tau: float) -> NDArray[np.float64]:
        sampled_P = num_samples_P > 0
        seen_P = np.full(num_samples_P.size, np.nan)
        seen_P[sampled_P] = seen_cover(num_samples_P[sampled_P], num_correct_P[sampled_P], tau)
        return seen_P

    return Reliability(
        pass_hat={k: values(partial(pass_hat_k, k=k)) for k in ks},
        g_pass_at={tau: {k: values(partial(g_pass_at_k, k=k, tau=tau)) for k in ks} for tau in taus},
        mean_g_pass_at={k: values(partial(mean_g_pass_at_k, k=k)) for k in ks},
        cover={tau: seen(tau) for tau in taus},
    )
