"""Phases: they tile the run, and passes over the data drop no problem."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.algos.schedule import Cycle, Phase, cycles, rl_phase_ends, schedule_phases

totals = st.integers(1, 200)
batches = st.integers(1, 40)


def test_by_steps_by_hand() -> None:
    # 10 steps in phases of 4: they are complete after 4 and 8.
    assert rl_phase_ends(10, every_steps=4, num_problems=100, prompts_per_step=16) == [4, 8]


def test_by_passes_by_hand() -> None:
    # 100 problems, 16 a step: a pass is 6.25 steps, so passes are completed within steps 7, 13, 19 (18.75) and 25.
    ends = rl_phase_ends(30, every_passes=1.0, num_problems=100, prompts_per_step=16)
    assert ends == [7, 13, 19, 25]


def test_the_papers_schedule() -> None:
    # 3,000 problems, 16 a step, 700 steps: a pass is 187.5 steps.
    assert rl_phase_ends(700, every_passes=1.0, num_problems=3000, prompts_per_step=16) == [188, 375, 563]


def test_binary_floats_do_not_end_a_phase_late() -> None:
    # 3 · 0.1 is 0.30000000000000004 in binary; 0.1 pass over 1,000 problems, 10 a step, is 10 steps all the same.
    ends = rl_phase_ends(50, every_passes=0.1, num_problems=1000, prompts_per_step=10)
    assert ends == [10, 20, 30, 40, 50]


def test_a_phase_is_at_least_one_step_and_may_never_be_complete() -> None:
    # A step of 8 problems completes two passes over 4 of them.
    assert rl_phase_ends(3, every_passes=1.0, num_problems=4, prompts_per_step=8) == [1, 2, 3]
    assert rl_phase_ends(5, num_problems=4, prompts_per_step=2) == []
    assert rl_phase_ends(5, every_steps=9, num_problems=4, prompts_per_step=2) == []


def test_phases_by_hand() -> None:
    assert schedule_phases(5, [3, 5], irl=True) == [
        Phase(0, "rl", 1, 3),
        Phase(1, "irl", 1, 3),
        Phase(2, "rl", 4, 5),
        Phase(3, "irl", 4, 5),
    ]
    # The phase that begins with step 4 is not complete: nothing follows it.
    assert schedule_phases(5, [3], irl=True) == [
        Phase(0, "rl", 1, 3),
        Phase(1, "irl", 1, 3),
        Phase(2, "rl", 4, 5, complete=False),
    ]
    assert schedule_phases(5, [], irl=False) == [Phase(0, "rl", 1, 5, complete=False)]


@pytest.mark.parametrize(
    ("total", "lengths", "message"),
    [
        (0, {}, "total_steps is 0"),
        (5, {"every_steps": 1, "every_passes": 1.0}, "not both"),
        (5, {"every_steps": 0}, "an RL phase is 0; it must be positive"),
        (5, {"every_passes": -1.0}, "an RL phase is -1.0; it must be positive"),
    ],
)
def test_wrong_lengths_are_named(total: int, lengths: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rl_phase_ends(total, num_problems=4, prompts_per_step=2, **lengths)


@given(total=totals, every_steps=st.integers(1, 50), prompts=batches)
def test_by_steps_every_complete_phase_is_that_long(total: int, every_steps: int, prompts: int) -> None:
    ends = rl_phase_ends(total, every_steps=every_steps, num_problems=7, prompts_per_step=prompts)
    lengths = [b - a for a, b in zip([0, *ends], ends, strict=False)]
    assert all(length == every_steps for length in lengths)
    assert 0 <= total - sum(lengths) < every_steps


@given(total=totals, tenths=st.integers(1, 30), num_problems=st.integers(1, 300), prompts=batches)
def test_by_passes_a_phase_ends_in_the_step_that_completes_them(
    total: int, tenths: int, num_problems: int, prompts: int
) -> None:
    ends = rl_phase_ends(total, every_passes=tenths / 10, num_problems=num_problems, prompts_per_step=prompts)
    per_phase = Fraction(tenths * num_problems, 10)
    # Exactly: the i-th boundary is the first step by which i · per_phase problems were seen.
    boundaries = {math.ceil(i * per_phase / prompts) for i in range(1, int(total * prompts / per_phase) + 2)}
    assert ends == sorted(step for step in boundaries if step <= total)


@given(total=st.integers(1, 300), ends=st.sets(st.integers(1, 300)), irl=st.booleans())
def test_phases_tile_the_steps(total: int, ends: set[int], irl: bool) -> None:
    complete = sorted(end for end in ends if end <= total)
    phases = schedule_phases(total, complete, irl=irl)
    steps = [step for phase in phases if phase.kind == "rl" for step in range(phase.first_step, phase.last_step + 1)]
    assert steps == list(range(1, total + 1))
    assert [phase.number for phase in phases] == list(range(len(phases)))
    after_irl = [(before, phase) for before, phase in pairwise(phases) if phase.kind == "irl"]
    assert [phase.last_step for _, phase in after_irl] == (complete if irl else [])
    assert all((rl.kind, rl.first_step, rl.last_step) == ("rl", p.first_step, p.last_step) for rl, p in after_irl)


@given(
    total=st.integers(1, 300),
    ends=st.sets(st.integers(1, 300), max_size=20),
    irl=st.booleans(),
    done=st.integers(0, 45),
)
def test_cycles_are_the_phases_that_are_not_done(total: int, ends: set[int], irl: bool, done: int) -> None:
    phases = schedule_phases(total, sorted(end for end in ends if end <= total), irl=irl)
    found = cycles(phases, done=done)
    assert [phase for cycle in found for phase in (cycle.rl, cycle.irl) if phase is not None] == phases[done:]
    # An RL phase and the IRL phase on its rollouts are one cycle; only the first cycle may lack an RL phase that is
    # done.
    assert all(cycle.rl is not None for cycle in found[1:])
    both = [(cycle.rl, cycle.irl) for cycle in found if cycle.rl is not None and cycle.irl is not None]
    assert all((rl.first_step, rl.last_step) == (irl.first_step, irl.last_step) for rl, irl in both)


def test_cycles_by_hand() -> None:
    first, irl, second = schedule_phases(5, [2], irl=True)
    assert cycles([first, irl, second]) == [Cycle(first, irl), Cycle(second, None)]
    assert cycles([first, irl, second], done=1) == [Cycle(None, irl), Cycle(second, None)]
    assert cycles([first, irl, second], done=2) == [Cycle(second, None)]
    assert cycles([first, irl, second], done=3) == []
