"""The schedule of phases (Algorithm 1): RL over the data, IRL on what it gave, RL again from the reshaped policy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

PhaseKind = Literal["rl", "irl"]


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase. ``first_step`` and ``last_step`` count RL optimizer steps from 1, both inclusive.

    An IRL phase learns from the rollouts of the RL phase before it, whose steps it carries. An RL phase that is not
    ``complete`` ends only because the run does: in a longer run it goes on.
    """

    number: int
    kind: PhaseKind
    first_step: int
    last_step: int
    complete: bool = True


def rl_phase_ends(
    total_steps: int,
    *,
    every_steps: int | None = None,
    every_passes: float | None = None,
    num_problems: int,
    prompts_per_step: int,
) -> list[int]:
    """The RL steps, up to ``total_steps``, with which an RL phase is complete.

    By optimizer steps: every ``every_steps``. By passes over the data: phase i ends with the step in which the
    (i · every_passes)-th pass is completed, so no problem is dropped where the batch does not divide the data; a step
    that completes several ends one phase. Neither: no phase is ever complete. Raises ValueError if both are given or
    one is not positive.
    """
    if every_steps is not None and every_passes is not None:
        raise ValueError("give the length of an RL phase in steps or in passes over the data, not both.")
    if total_steps < 1:
        raise ValueError(f"total_steps is {total_steps}; it must be at least 1.")
    if every_steps is not None:
        problems_per_phase = float(every_steps * prompts_per_step)
    elif every_passes is not None:
        problems_per_phase = every_passes * num_problems
    else:
        return []
    if problems_per_phase <= 0:
        length = every_passes if every_steps is None else every_steps
        raise ValueError(f"the length of an RL phase is {length}; it must be positive.")

    def completed(step: int) -> int:
        # The margin keeps 0.1 passes, which binary floats round up, from ending a step late.
        return math.floor(step * prompts_per_step / problems_per_phase + 1e-9)

    return [step for step in range(1, total_steps + 1) if completed(step) > completed(step - 1)]


def schedule_phases(total_steps: int, rl_ends: list[int], *, irl: bool) -> list[Phase]:
    """The phases of a run: an RL phase up to each of ``rl_ends``, each followed by an IRL phase where ``irl``.

    Steps after the last of them are an RL phase that stays incomplete: no IRL follows it, and the run ends with RL.
    """
    phases: list[Phase] = []
    first = 1
    for end in rl_ends:
        phases.append(Phase(len(phases), "rl", first, end))
        if irl:
            phases.append(Phase(len(phases), "irl", first, end))
        first = end + 1
    if first <= total_steps:
        phases.append(Phase(len(phases), "rl", first, total_steps, complete=False))
    return phases


@dataclass(frozen=True, slots=True)
class Cycle:
    """One turn of Algorithm 1: an RL phase, and the IRL phase on its rollouts; None is done, or not to be."""

    rl: Phase | None
    irl: Phase | None


def cycles(phases: Sequence[Phase], done: int = 0) -> list[Cycle]:
    """Return the phases as cycles, without the first ``done`` of them."""
    found: list[Cycle] = []
    left = phases[done:]
    while left:
        rl = left[0] if left[0].kind == "rl" else None
        rest = left[1:] if rl else left
        irl = rest[0] if rest and rest[0].kind == "irl" else None
        found.append(Cycle(rl, irl))
        left = rest[1:] if irl else rest
    return found
