"""Similarity of answers, distinct solutions and the accuracy histogram, by hand and by what must hold."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.errors import UserError
from unsqueeze.metrics.diversity import (
    mean_pairwise_cosine,
    ngrams,
    normalised,
    num_distinct,
    overlap,
    trajectory_similarity,
)
from unsqueeze.metrics.histogram import accuracy_histogram

texts = st.lists(st.sampled_from(["a b c d", "a b c", "x", "", "b c d a", "a a a a"]), min_size=2, max_size=6)


def test_ngrams_and_overlap_by_hand():
    # 'a b a b' has the bigrams ab, ba, ab; 'a b c' has ab, bc: shared ab once, 2 · 1 / (3 + 2).
    first, second = ngrams(["a", "b", "a", "b"], 2), ngrams(["a", "b", "c"], 2)
    assert first == {("a", "b"): 2, ("b", "a"): 1}
    assert overlap(first, second) == pytest.approx(2 / 5)
    assert ngrams(["a"], 3) == {("a",): 1}
    assert overlap(ngrams([], 2), ngrams([], 2)) == 1.0
    assert overlap(ngrams([], 2), first) == 0.0


def test_similarity_by_hand():
    # Pairs: (a b, a b) = 1, and twice (a b, a c) = 2 · 1 / (2 + 2) = 1/2 by single words: (1 + 1/2 + 1/2) / 3.
    assert trajectory_similarity(["a b", "a b", "a c"], 1) == pytest.approx(2 / 3)
    assert math.isnan(trajectory_similarity(["a"], 1))
    with pytest.raises(UserError, match="order"):
        trajectory_similarity(["a", "b"], 0)


@given(texts=texts, order=st.integers(1, 4))
def test_similarity_is_the_mean_over_pairs(texts: list[str], order: int):
    bags = [ngrams(text.split(), order) for text in texts]
    pairs = [overlap(bags[i], bags[j]) for i in range(len(bags)) for j in range(i)]
    assert trajectory_similarity(texts, order) == pytest.approx(sum(pairs) / len(pairs))
    assert trajectory_similarity(texts[::-1], order) == pytest.approx(trajectory_similarity(texts, order))


@given(text=st.sampled_from(["", "a", "a b c d"]), count=st.integers(2, 5), order=st.integers(1, 4))
def test_equal_answers_are_alike_and_strangers_are_not(text: str, count: int, order: int):
    assert trajectory_similarity([text] * count, order) == pytest.approx(1.0)
    assert trajectory_similarity(["a b c", "d e f"], order) == 0.0


def test_cosine_by_hand():
    # Of three pairs one points the same way, at right angles are two; a row of zeros is alike to none.
    assert mean_pairwise_cosine(np.array([[3.0, 0.0], [0.0, 2.0], [1.0, 0.0]])) == pytest.approx(1 / 3)
    assert mean_pairwise_cosine(np.array([[3.0, 0.0], [0.0, 0.0]])) == 0.0
    assert mean_pairwise_cosine(np.array([[1.0, 1.0], [-2.0, -2.0]])) == pytest.approx(-1.0)
    assert math.isnan(mean_pairwise_cosine(np.array([[1.0, 0.0]])))


def test_distinct_solutions():
    assert normalised("  So X\n= 3 ") == "so x = 3"
    assert num_distinct([normalised("x = 3"), normalised("X  = 3"), "y"]) == 2
    assert num_distinct([]) == 0


def test_histogram_by_hand():
    # Of 8: 0 never; 1, 2 in (0, 1/4]; 3 in (1/4, 1/2]; 7 in (3/4, 1); 8 always; one problem has no samples.
    bins = accuracy_histogram([8, 8, 8, 8, 8, 8, 0], [0, 1, 2, 3, 7, 8, 0])
    assert [(each.label, each.num_problems) for each in bins] == [
        ("0 %", 1), ("0–25 %", 2), ("25–50 %", 1), ("50–75 %", 0), ("75–100 %", 1), ("100 %", 1),
    ]  # fmt: skip


@given(counts=st.lists(st.integers(1, 20).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=20))
def test_every_judged_problem_is_in_one_bin(counts: list[tuple[int, int]]):
    bins = accuracy_histogram([n for n, _ in counts], [c for _, c in counts], num_inner=3)
    assert sum(each.num_problems for each in bins) == len(counts)


@pytest.mark.parametrize(
    ("samples", "correct", "inner"), [([1], [2], 4), ([1], [-1], 4), ([1, 2], [1], 4), ([1], [1], 0)]
)
def test_counts_that_cannot_be(samples: list[int], correct: list[int], inner: int):
    with pytest.raises(UserError, match="accuracy histogram"):
        accuracy_histogram(samples, correct, inner)
