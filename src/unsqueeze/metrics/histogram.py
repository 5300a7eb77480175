"""Count problems that are never, sometimes, always solved (Fig. 2 and 5 of arXiv 2604.16995).

Axes: P problems.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.metrics.arrays import Numbers


@dataclass(frozen=True, slots=True)
class Bin:
    """Number of problems whose share of correct answers is exactly 0, exactly 1, or in low < share <= high, below 1."""

    label: str
    num_problems: int


def accuracy_histogram(num_samples_P: Numbers, num_correct_P: Numbers, num_inner: int = 4) -> list[Bin]:
    """Problems by their share of correct answers: 0, ``num_inner`` equal bins of what lies between, and 1.

    Squeezing moves problems from between to the two ends. A problem without samples is in no bin. The rest is as for
    ``place_in_histogram``.
    """
    labels, place_P = place_in_histogram(num_samples_P, num_correct_P, num_inner)
    return [Bin(label, int((place_P == place).sum())) for place, label in enumerate(labels)]


def place_in_histogram(
    num_samples_P: Numbers, num_correct_P: Numbers, num_inner: int = 4
) -> tuple[list[str], NDArray[np.int64]]:
    """The labels of the bins, and the bin of every problem, shape (P,): −1 for one without samples.

    The bins are 0, (0, 1/m], (1/m, 2/m], …, ((m−1)/m, 1), 1, compared as whole numbers, without rounding. Raises
    UserError for counts that cannot be, or fewer than one inner bin.
    """
    samples_P = np.asarray(num_samples_P, dtype=np.int64).reshape(-1)
    correct_P = np.asarray(num_correct_P, dtype=np.int64).reshape(-1)
    if samples_P.shape != correct_P.shape or (correct_P < 0).any() or (correct_P > samples_P).any():
        raise UserError("accuracy histogram: give as many correct counts as sample counts, from 0 to the samples.")
    if num_inner < 1:
        raise UserError(f"accuracy histogram: {num_inner} inner bins; give at least 1.")
    # ceil(m · c / n), the number of the inner bin from 1 on; 0 for none correct.
    place_P = -(-num_inner * correct_P // np.maximum(samples_P, 1))
    place_P = np.where(correct_P == samples_P, num_inner + 1, place_P)
    place_P = np.where(samples_P > 0, place_P, -1)
    inner = [f"{100 * (i - 1) / num_inner:g}–{100 * i / num_inner:g} %" for i in range(1, num_inner + 1)]
    return ["0 %", *inner, "100 %"], place_P
