"""Measure how alike the answers to one problem are, and count the different right ones."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError


def ngrams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """The n-grams of a text with their counts; a text shorter than ``order`` is one whole. An empty text has none."""
    width = min(order, len(words))
    if width == 0:
        return Counter()
    return Counter(tuple(words[start : start + width]) for start in range(len(words) - width + 1))


def overlap(first: Counter[tuple[str, ...]], second: Counter[tuple[str, ...]]) -> float:
    """Dice overlap of two bags of n-grams, 2·|A ∩ B| / (|A| + |B|), counted with repetition: in [0, 1].

    1 for two empty bags, which say the same; 0 for an empty one against another.
    """
    total = first.total() + second.total()
    return 1.0 if total == 0 else 2.0 * (first & second).total() / total


def trajectory_similarity(texts: Sequence[str], order: int = 3) -> float:
    """Mean ``overlap`` over all pairs of the answers to one problem, words parted at white space.

    S = 2 / (n(n−1)) · Σ_{i<j} 2·|A_i ∩ A_j| / (|A_i| + |A_j|), A_i the bag of ``order``-grams of answer i. 1 where all
    answers are the same, 0 where no two share one. Ours, for Table 4 of arXiv 2604.16995, which embeds sentences: the
    numbers are not on its scale, the direction is the same (lower is more diverse). NaN for fewer than two answers.
    Raises UserError for an order below 1.
    """
    if order < 1:
        raise UserError(f"trajectory similarity: the order of the n-grams is {order}; it must be at least 1.")
    if len(texts) < 2:
        return math.nan
    # Equal answers are frequent: each different text is cut and compared once, and weighed by its pairs.
    counts = Counter(texts)
    bags = {text: ngrams(text.split(), order) for text in counts}
    same = sum(count * (count - 1) / 2 for count in counts.values())
    different = sum(counts[a] * counts[b] * overlap(bags[a], bags[b]) for a, b in combinations(counts, 2))
    return (same + different) / (len(texts) * (len(texts) - 1) / 2)


def mean_pairwise_cosine(vectors_ND: NDArray[np.float64]) -> float:
    """Mean cosine over all pairs of rows: S = 2 / (n(n−1)) · Σ_{i<j} cos(e_i, e_j), in [−1, 1].

    Table 4 of arXiv 2604.16995, with e_i the sentence embedding of answer i; lower is more diverse. A row of zeros has
    cosine 0 with every other. NaN for fewer than two rows. From Σ_{i<j} e_i·e_j = (|Σ e_i|² − Σ |e_i|²) / 2 over the
    rows at length 1: linear in their number.
    """
    count = len(vectors_ND)
    if count < 2:
        return math.nan
    lengths_N = np.linalg.norm(vectors_ND, axis=1)
    units_ND = vectors_ND / np.where(lengths_N > 0, lengths_N, 1.0)[:, None]
    total_D = units_ND.sum(axis=0)
    return float((total_D @ total_D - (units_ND * units_ND).sum()) / (count * (count - 1)))


def num_distinct(solutions: Sequence[Hashable]) -> int:
    """Count the different ones; write equal solutions equally (``normalised``, or a canonical form)."""
    return len(set(solutions))


def normalised(text: str) -> str:
    """A text without what does not make it a different solution: case, and the amount of white space."""
    return " ".join(text.casefold().split())
