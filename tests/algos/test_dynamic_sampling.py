"""Dynamic sampling: by hand, and that no informative group is ever lost."""

import importlib.util
import random
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.algos.dynamic_sampling import DynamicSampling, SampledGroups, SamplingState, deal

Flags = list[bool]
rules = st.builds(
    DynamicSampling,
    target_groups=st.integers(1, 20),
    max_resample_times=st.integers(0, 4),
    rule=st.sampled_from(["keep", "ms_swift"]),
)
shares = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0])


def run(rule: DynamicSampling, answer: Callable[[int], Flags]) -> tuple[SamplingState, SampledGroups]:
    """Drive a rule to its end; ``answer`` gives the flags of as many groups."""
    state = SamplingState()
    while (wanted := rule.request(state)) > 0:
        state = rule.absorb(state, answer(wanted))
    return state, rule.final(state)


def scripted(*rounds: Flags) -> Callable[[int], Flags]:
    """Flags given beforehand, each round cut to what was asked for."""
    script = iter(rounds)
    return lambda wanted: next(script)[:wanted]


def random_answers(share: float, seed: int) -> Callable[[int], Flags]:
    rng = random.Random(seed)
    return lambda wanted: [rng.random() < share for _ in range(wanted)]


# --- by hand -----------------------------------------------------------------------------------------------------


def test_a_full_batch_is_not_resampled() -> None:
    state, final = run(DynamicSampling(target_groups=3), scripted([True] * 3))
    assert state.num_resamples == 0
    assert final.kept == (0, 1, 2)
    assert final.num_missing == final.num_informative_lost == 0


def test_request_by_hand() -> None:
    # 16 wanted, 14 of 16 informative: 2 are missing, their share is estimated at 15/18, so ceil(2 · 18 / 15) = 3.
    rule = DynamicSampling(target_groups=16)
    assert rule.request(SamplingState()) == 16
    state = rule.absorb(SamplingState(), [True] * 14 + [False] * 2)
    assert rule.request(state) == 3
    # None informative: ceil(16 · 18 / 1) = 288, but a round is never more than a full batch.
    assert rule.request(rule.absorb(SamplingState(), [False] * 16)) == 16


def test_too_few_at_the_cap_make_a_smaller_batch_by_hand() -> None:
    # 4 wanted, one informative in each of the first and the last of three rounds.
    flags = [False, True, False, False]
    rule = DynamicSampling(target_groups=4, max_resample_times=2)
    _, final = run(rule, scripted(flags, [False] * 4, [True, False, False, False]))
    assert final == SampledGroups(
        kept=(1, 8), num_groups=12, num_informative=2, num_informative_kept=2, num_resamples=2, target_groups=4
    )
    assert final.num_missing == 2
    assert final.num_informative_lost == 0


def test_none_informative_keeps_nothing() -> None:
    _, final = run(DynamicSampling(target_groups=2, max_resample_times=1), scripted([False] * 2, [False] * 2))
    assert final.kept == ()
    assert final.num_missing == 2


def test_more_than_the_target_makes_a_larger_batch_by_hand() -> None:
    # 2 wanted, one found at once; ceil(1 · 4 / 2) = 2 more are asked for, and both are informative.
    _, final = run(DynamicSampling(target_groups=2), scripted([True, False], [True, True]))
    assert final.kept == (0, 2, 3)
    assert final.num_missing == 0


def test_the_ms_swift_rule_as_it_was_observed() -> None:
    # Three rounds are looked at and hold 2 + 1 + 0 < 4 informative groups; the fourth holds four and is not looked at.
    # The first comes back as it was: 16 groups generated, 7 informative ones found, 2 trained on.
    rule = DynamicSampling(target_groups=4, max_resample_times=3, rule="ms_swift")
    one = [True, False, False, False]
    state, final = run(rule, scripted([True, True, False, False], one, [False] * 4, [True] * 4))
    assert state.num_groups == 16
    assert final.kept == (0, 1, 2, 3)  # the first round as it was, uninformative groups and all
    assert (final.num_informative, final.num_informative_kept, final.num_informative_lost) == (7, 2, 5)


def test_the_ms_swift_rule_drops_what_is_over() -> None:
    rule = DynamicSampling(target_groups=2, max_resample_times=3, rule="ms_swift")
    state, final = run(rule, scripted([True, False], [True, True]))
    assert state.num_groups == 4
    assert final.kept == (0, 2)
    assert final.num_informative_lost == 1


def test_deal_by_hand() -> None:
    assert deal([1, 2, 3, 4, 5], 2) == [[1, 2, 3], [4, 5]]
    assert deal([1], 3) == [[1], [], []]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="target_groups is 0"):
        DynamicSampling(target_groups=0)
    with pytest.raises(ValueError, match="max_resample_times is -1"):
        DynamicSampling(target_groups=1, max_resample_times=-1)
    with pytest.raises(ValueError, match="2 groups were asked for; 1 came"):
        DynamicSampling(target_groups=2).absorb(SamplingState(), [True])
    with pytest.raises(ValueError, match="not whole rounds"):
        DynamicSampling(target_groups=2).replay([True])
    with pytest.raises(ValueError, match="not whole rounds"):
        DynamicSampling(target_groups=2).replay([True, True, False])


# --- properties --------------------------------------------------------------------------------------------------


@given(rule=rules, share=shares, seed=st.integers(0, 999))
def test_it_ends_within_the_cap_and_counts_right(rule: DynamicSampling, share: float, seed: int) -> None:
    state, final = run(rule, random_answers(share, seed))
    flags = [flag for flags in state.rounds for flag in flags]
    assert state.num_resamples <= rule.max_resample_times
    assert all(1 <= len(flags) <= rule.target_groups for flags in state.rounds)
    assert final.num_groups == len(flags)
    assert final.num_informative == sum(flags)
    assert list(final.kept) == sorted(set(final.kept))
    assert final.num_informative_kept == sum(flags[place] for place in final.kept)
    assert final.num_informative_lost >= 0


@given(rule=rules, share=shares, seed=st.integers(0, 999))
def test_keep_trains_on_every_informative_group_and_no_other(rule: DynamicSampling, share: float, seed: int) -> None:
    rule = DynamicSampling(target_groups=rule.target_groups, max_resample_times=rule.max_resample_times)
    state, final = run(rule, random_answers(share, seed))
    flags = [flag for flags in state.rounds for flag in flags]
    assert list(final.kept) == [place for place, flag in enumerate(flags) if flag]
    assert final.num_informative_lost == 0
    # It stops early only when the batch is full.
    assert final.num_missing == 0 or state.num_resamples == rule.max_resample_times


@given(rule=rules, share=shares, seed=st.integers(0, 999))
def test_a_generation_is_replayed_from_its_groups(rule: DynamicSampling, share: float, seed: int) -> None:
    state, final = run(rule, random_answers(share, seed))
    replayed = rule.replay([flag for flags in state.rounds for flag in flags])
    assert replayed == state
    assert rule.final(replayed) == final
    assert rule.request(replayed) == 0


@given(rule=rules, share=shares, seed=st.integers(0, 999))
def test_ms_swift_trains_on_full_batches_or_on_the_first_as_it_was(
    rule: DynamicSampling, share: float, seed: int
) -> None:
    rule = DynamicSampling(
        target_groups=rule.target_groups, max_resample_times=rule.max_resample_times, rule="ms_swift"
    )
    state, final = run(rule, random_answers(share, seed))
    assert len(final.kept) == rule.target_groups
    assert len(state.rounds) <= rule.max_resample_times + 1
    if final.num_informative_kept < rule.target_groups:
        assert final.kept == tuple(range(rule.target_groups))


@given(items=st.lists(st.integers()), num_steps=st.integers(1, 6))
def test_deal_gives_all_in_order_and_evenly(items: list[int], num_steps: int) -> None:
    dealt = deal(items, num_steps)
    assert [item for part in dealt for item in part] == items
    assert len(dealt) == num_steps
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


# --- the benchmark -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def benchmark_script() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "dynamic_sampling.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_dynamic_sampling", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("share", "at_least"), [(0.1, 3.5), (0.2, 3.2), (0.3, 1.8), (0.5, 1.1), (0.8, 1.4), (1.0, 1.0)]
)
def test_yield_against_the_ms_swift_rule(
    benchmark_script: ModuleType, share: float, at_least: float, seed: int
) -> None:
    tallies = {}
    for name in ("keep", "ms_swift"):
        rule = DynamicSampling(target_groups=16, max_resample_times=3, rule=name)
        outcomes = benchmark_script.run_rule(rule, benchmark_script.independent_flags(share, seed), 400)
        tallies[name] = benchmark_script.Tally(outcomes, group_size=8)
    assert tallies["keep"].lost == 0
    assert tallies["keep"].trained_per_1000 >= at_least * tallies["ms_swift"].trained_per_1000


def test_groups_of_a_profile_are_informative_as_often_as_they_should(benchmark_script: ModuleType) -> None:
    # Uniform pass rates, G = 8: 1 − 2/9 = 7/9 of the groups. Over 20,000 the standard error is 0.0029.
    flags = benchmark_script.group_flags(benchmark_script.PROFILES["uniform pass rates"], 8, seed=0)
    assert sum(islice(flags, 20_000)) / 20_000 == pytest.approx(7 / 9, abs=0.015)
