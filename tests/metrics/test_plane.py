"""The plane of Avg and Pass@k: areas and hulls by hand and by brute force, and intervals over problems and seeds."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.errors import UserError
from unsqueeze.metrics.intervals import student_quantile
from unsqueeze.metrics.plane import Path, Plane, hypervolume, upper_hull_at

Points = list[tuple[int, int]]
POINTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=7)


def rows(points: Points) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.array(points, dtype=np.float64).T / 20
    return x[None], y[None]


def test_areas_by_hand() -> None:
    # Two steps: [0, 0.6] × [0, 0.5] and [0, 0.2] × [0, 0.9].
    assert hypervolume(*rows([(4, 18), (12, 10)])) == pytest.approx([0.6 * 0.5 + 0.2 * 0.4])
    assert hypervolume(*rows([(4, 18), (12, 10), (3, 3)])) == pytest.approx([0.6 * 0.5 + 0.2 * 0.4])  # dominated
    assert hypervolume(*rows([(4, 18), (12, 10)]), (0.1, 0.6)) == pytest.approx([0.1 * 0.3])  # the second is below
    assert hypervolume(*rows([(0, 20)])) == pytest.approx([0.0])


@given(POINTS, st.tuples(st.integers(0, 19), st.integers(0, 19)))
def test_the_area_is_that_of_the_cells_covered(points: Points, reference: tuple[int, int]) -> None:
    cells = {
        (i, j) for x, y in points for i in range(reference[0], x) for j in range(reference[1], y)
    }  # of 1/20 by 1/20 each
    found = hypervolume(*rows(points), (reference[0] / 20, reference[1] / 20))
    assert found == pytest.approx([len(cells) / 400], abs=1e-12)


def test_hull_by_hand() -> None:
    path = rows([(0, 20), (10, 16), (20, 0), (10, 4)])
    for at, value in ((0.0, 1.0), (0.25, 0.9), (0.5, 0.8), (0.75, 0.4), (1.0, 0.0)):
        assert upper_hull_at(np.array([at]), *path) == pytest.approx([value])
    # A point below the chord of its neighbours does not pull the hull down.
    assert upper_hull_at(np.array([0.5]), *rows([(0, 20), (10, 5), (20, 0)])) == pytest.approx([0.5])


@given(POINTS, st.integers(0, 40))
def test_the_hull_is_the_least_concave_function_above_the_points(points: Points, place: int) -> None:
    """By its dual: the least of all lines above the points, over the slopes of pairs of them and steep ones."""
    at = place / 40
    x, y = rows(points)
    value = upper_hull_at(np.array([at]), x, y)[0]
    if not x.min() <= at <= x.max():
        assert isnan(value)
        return
    slopes = [
        (b - d) / (a - c) for a, b in zip(x[0], y[0], strict=True) for c, d in zip(x[0], y[0], strict=True) if a != c
    ]
    lines = [slope * at + (y[0] - slope * x[0]).max() for slope in [*slopes, 1e6, -1e6, 0.0]]
    assert value == pytest.approx(min(lines), abs=1e-9)


def path(avgs: list[int], seeds: int = 1, problems: int = 20) -> Path:
    """Points at which so many of 20 problems are always solved, the others never: Pass@k is Avg@n."""
    solved = np.array([[place < avg for place in range(problems)] for avg in avgs])
    return Path(np.repeat((solved * 8)[None], seeds, axis=0), np.array(8))


def test_gaps_by_hand() -> None:
    """Pass@2 of problems solved half of the time is 1 − C(4, 2)/C(8, 2) = 11/14; at the same Avg the rival, whose
    problems are solved always or never, has 1/2.
    """
    half = Path(np.full((1, 1, 20), 4), np.array(8))
    plane = Plane({"half": half, "rival": path([5, 15])}, 2)
    (gap,) = plane.compare("half", "rival").gaps
    assert gap.where == "inside"
    assert (gap.avg, gap.pass_at_k, gap.rival) == pytest.approx((0.5, 11 / 14, 0.5))
    assert gap.gap.mean == pytest.approx(11 / 14 - 0.5)
    assert gap.gap.low <= gap.gap.mean <= gap.gap.high
    assert gap.to_end is None
    assert plane.compare("half", "rival").hypervolume.mean == pytest.approx(0.5 * 11 / 14 - 0.75**2)


@pytest.mark.parametrize(("avgs", "where", "end"), [([2, 6], "above", 0.3), ([14, 18], "below", 0.7)])
def test_beyond_the_rivals_range_there_is_no_gap(avgs: list[int], where: str, end: float) -> None:
    half = Path(np.full((1, 1, 20), 4), np.array(8))
    gap = Plane({"half": half, "rival": path(avgs)}, 2).compare("half", "rival").last
    assert (gap.where, gap.end_avg) == (where, pytest.approx(end))
    assert isnan(gap.gap.mean)
    assert isnan(gap.rival)
    assert gap.to_end is not None
    assert gap.to_end.mean == pytest.approx(11 / 14 - end)
    written = gap.to_json_object()
    assert written["gap"] == {"mean": None, "low": None, "high": None}
    assert written["rival"] is None


def test_a_path_against_itself_has_no_gap_but_below_its_hull() -> None:
    rng = np.random.default_rng(0)
    one = Path(rng.binomial(16, rng.random((3, 4, 30))), np.array(16))
    compared = Plane({"a": one, "b": one}, 8).compare("a", "b")
    assert compared.hypervolume.mean == compared.hypervolume.low == compared.hypervolume.high == 0
    assert all(gap.gap.mean <= 1e-12 for gap in compared.gaps)
    ends = [np.argmin, np.argmax]
    assert {gap.share_inside for gap in compared.gaps} == {1.0}
    for end in ends:
        assert compared.gaps[int(end([gap.avg for gap in compared.gaps]))].gap.mean == pytest.approx(0, abs=1e-12)


def test_problems_that_all_arms_find_hard_do_not_widen_a_paired_difference() -> None:
    rng = np.random.default_rng(1)
    rates_P = rng.beta(0.5, 0.5, 60)
    one = Path(np.round(40 * rates_P).astype(int)[None, None], np.array(40))
    better = Path(np.minimum(40, one.num_correct_SFP + 2), np.array(40))
    plane = Plane({"one": one, "better": better}, 1)
    paired = plane.compare("better", "one").hypervolume
    alone = plane.summary("one").hypervolume
    assert paired.high - paired.low < 0.2 * (alone.high - alone.low)


def test_seeds_vary_as_students_interval_says() -> None:
    """Problems all alike, so that seeds alone vary: mean ± t · s / √S of the five, to the error of 20,000 resamples."""
    avgs = [10, 12, 9, 15, 14]
    counts = np.repeat(np.array(avgs)[:, None, None], 30, axis=2)
    plane = Plane({"arm": Path(counts, np.array(40))}, 1, num_resamples=20_000)
    (point,) = plane.summary("arm").points
    rates = np.array(avgs) / 40
    reach = student_quantile(0.975, 4) * rates.std(ddof=1) / np.sqrt(5)
    assert (point.avg.low, point.avg.high) == pytest.approx((rates.mean() - reach, rates.mean() + reach), rel=0.02)


@pytest.mark.parametrize("num_seeds", [2, 5])
def test_covers_what_other_problems_and_other_seeds_would_show(num_seeds: int) -> None:
    """A difference of two arms that varies with problem, seed and both; crossed resampling covers 95 % or more."""
    rng = np.random.default_rng(num_seeds)
    hits = 0
    for seed in range(200):
        shape = (num_seeds, 1, 40)
        hard = rng.normal(0, 1, (1, 1, 40))

        def arm(shift: float) -> Path:
            effect = 0.2 * rng.normal(size=(num_seeds, 1, 1)) + 0.3 * rng.normal(size=shape)  # noqa: B023
            logits = hard + shift + effect + 0.3 * rng.normal(size=(1, 1, 40))  # noqa: B023
            return Path(rng.binomial(64, 1 / (1 + np.exp(-logits))), np.array(64))

        plane = Plane({"a": arm(0.0), "b": arm(0.0)}, 1, num_resamples=300, seed=seed)
        difference = plane.compare("b", "a").hypervolume
        hits += difference.low <= 0 <= difference.high
    assert hits >= 184  # 95 % of 200 is 190; two standard errors are 6


def test_is_seeded_and_pairs_the_arms() -> None:
    rng = np.random.default_rng(2)
    arms = {name: Path(rng.binomial(16, 0.4, (3, 5, 24)), np.array(16)) for name in ("a", "b")}
    assert Plane(arms, 4, seed=1).compare("a", "b") == Plane(arms, 4, seed=1).compare("a", "b")
    assert Plane(arms, 4, seed=1).summary("a") != Plane(arms, 4, seed=2).summary("a")
    # What is drawn does not depend on which other arms there are.
    assert Plane({"a": arms["a"]}, 4).summary("a") == Plane(arms, 4).summary("a")


def test_a_base_of_one_seed_stands_beside_several() -> None:
    base, arm = path([5]), path([5, 10], seeds=3)
    plane = Plane({"base": base, "arm": arm}, 2)
    assert plane.summary("base").num_seeds == 1
    assert plane.compare("base", "arm").last.gap.mean == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("arms", "settings", "words"),
    [
        ({"a": path([5]), "b": path([5], problems=19)}, {}, "the same problems, and have a 20, b 19"),
        (
            {"a": path([5], seeds=2), "b": path([5], seeds=3)},
            {},
            "as many seeds each, or a single one, and have a 2, b 3",
        ),
        ({"a": path([5])}, {"reference": (0.0, 1.0)}, "reference point"),
        ({"a": path([5])}, {"k": 9}, "Pass@9 takes 9"),
    ],
)
def test_says_what_is_wrong(arms: dict[str, Path], settings: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Plane(arms, **({"k": 2} | settings))  # type: ignore[arg-type]


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="seeds × points × problems"):
        Path(np.zeros((2, 3), dtype=int), np.array(4))
    with pytest.raises(UserError, match="between 0 and the samples"):
        Path(np.full((1, 1, 2), 5), np.array(4))
