"""How often a 95 % interval over thirty problems holds the truth: ours, and the plain percentile bootstrap.

    python benchmarks/coverage.py

Benchmarks of thirty problems are drawn again and again from profiles of pass rates whose mean is known; of each an
interval is computed, and the share of intervals that hold the mean is counted. The same for paired differences between
two models. No model, no time: the same everywhere.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pages import made_by
from unsqueeze.metrics.intervals import Estimate, bootstrap_mean
from unsqueeze.metrics.paired import paired_difference

Profile = Callable[[np.random.Generator, int], NDArray[np.float64]]
SAMPLES = 128


def sampled(a: float, b: float, share: float = 1.0) -> Profile:
    """Rates from Beta(a, b), estimated from 128 samples; 0 for all but ``share`` of the problems."""

    def draw(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        return (rng.random(count) < share) * rng.binomial(SAMPLES, rng.beta(a, b, count)) / SAMPLES

    return draw


def solved(rate: float) -> Profile:
    """Solved or not, as Pass@n is."""
    return lambda rng, count: rng.binomial(1, rate, count).astype(np.float64)


PROFILES: dict[str, tuple[Profile, float]] = {
    "Beta(0.5, 0.5)": (sampled(0.5, 0.5), 0.5),
    "Beta(2, 2)": (sampled(2, 2), 0.5),
    "Beta(1, 5)": (sampled(1, 5), 1 / 6),
    "Beta(0.3, 1.2)": (sampled(0.3, 1.2), 0.2),
    "Beta(0.1, 0.9)": (sampled(0.1, 0.9), 0.1),
    "0 for 70 %, else Beta(1, 2)": (sampled(1, 2, 0.3), 0.1),
    "0 for 90 %, else Beta(1, 2)": (sampled(1, 2, 0.1), 1 / 30),
    "solved: 10 %": (solved(0.1), 0.1),
    "solved: 20 %": (solved(0.2), 0.2),
    "solved: 50 %": (solved(0.5), 0.5),
    "solved: 63 %": (solved(0.63), 0.63),
}


def moved(share: float, *eighths: int) -> Profile:
    """Differences of 0 but for ``share`` of the problems, which moved by one of so many eighths."""
    return lambda rng, count: (rng.random(count) < share) * rng.choice(eighths, count) / 8


def sampled_differences(gain: float, samples: int = 16) -> Profile:
    """Avg@16 of rates a, uniform, against rates a + 4 · gain · a (1 − a): the mean difference is 2/3 of ``gain``."""

    def draw(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        before = rng.random(count)
        after = before + 4 * gain * before * (1 - before)
        return (rng.binomial(samples, after) - rng.binomial(samples, before)) / samples

    return draw


DIFFERENCES: dict[str, tuple[Profile, float]] = {
    "normal, mean 0.1, deviation 0.2": (lambda rng, count: rng.normal(0.1, 0.2, count), 0.1),
    "Avg@16 twice of the same rates": (sampled_differences(0.0), 0.0),
    "Avg@16, rates up by 0.05": (sampled_differences(0.075), 0.05),
    "15 % up by 1/8 to 4/8, others the same": (moved(0.15, 1, 2, 3, 4), 0.15 * 2.5 / 8),
    "30 % moved by -1/8, 1/8 or 2/8": (moved(0.3, -1, 1, 2), 0.3 * (2 / 3) / 8),
    "exponential, mean 0.1": (lambda rng, count: rng.exponential(0.1, count), 0.1),
}


def percentile(values_P: NDArray[np.float64], rng: np.random.Generator, num_resamples: int) -> tuple[float, float]:
    picks = rng.integers(values_P.size, size=(num_resamples, values_P.size))
    low, high = np.quantile(values_P[picks].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def of_rates(values_P: NDArray[np.float64], num_resamples: int, seed: int) -> Estimate:
    return bootstrap_mean(values_P, bounds=(0.0, 1.0), num_resamples=num_resamples, seed=seed)


def of_differences(values_P: NDArray[np.float64], num_resamples: int, seed: int) -> Estimate:
    return paired_difference(np.zeros(values_P.size), values_P, num_resamples=num_resamples, seed=seed).difference


def coverage(
    profile: Profile,
    mean: float,
    ours: Callable[[NDArray[np.float64], int, int], Estimate],
    *,
    problems: int,
    repeats: int,
    num_resamples: int,
    seed: int,
) -> list[float]:
    """Coverage and mean width of ours, coverage and mean width of the percentile bootstrap."""
    rng = np.random.default_rng(seed)
    found = np.zeros(4)
    for repeat in range(repeats):
        values_P = profile(rng, problems)
        own = ours(values_P, num_resamples, repeat)
        low, high = percentile(values_P, rng, num_resamples)
        found += [own.low <= mean <= own.high, own.high - own.low, low - 1e-12 <= mean <= high + 1e-12, high - low]
    return [float(total) / repeats for total in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to write the table; it is printed anyway")
    arguments = parser.parse_args()
    lines = [
        "# Coverage of nominal 95 % intervals",
        "",
        f"{made_by('numpy')} {arguments.problems} problems, {arguments.repeats:,} benchmarks a profile, "
        f"{arguments.resamples:,} resamples, seed {arguments.seed}.",
        "",
        f"One standard error of a coverage is {(0.95 * 0.05 / arguments.repeats) ** 0.5:.3f}.",
    ]
    for heading, profiles, ours in (
        ("pass rates", PROFILES, of_rates),
        ("paired differences", DIFFERENCES, of_differences),
    ):
        lines += [
            "",
            f"| {heading} | ours | width | percentile bootstrap | width |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        for name, (profile, mean) in profiles.items():
            numbers = coverage(
                profile,
                mean,
                ours,
                problems=arguments.problems,
                repeats=arguments.repeats,
                num_resamples=arguments.resamples,
                seed=arguments.seed,
            )
            lines.append(f"| {name} | " + " | ".join(f"{number:.3f}" for number in numbers) + " |")
            print(lines[-1], flush=True)
    text = "\n".join([*lines, ""])
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
