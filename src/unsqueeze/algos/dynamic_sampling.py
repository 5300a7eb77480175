"""Dynamic sampling (DAPO, arXiv 2503.14476 §3.2; the "s.t." line of Eq. 26): when to sample more, what to train on.

A group whose answers are all right or all wrong has advantage 0 everywhere: it costs its completions and gives no
gradient. So further prompts are sampled until enough *informative* groups are there, or ``max_resample_times`` rounds
of further prompts were spent. Informative is judged by the verdicts, before any shaping of the reward for length, as
in Eq. 26.

The rule is pure: a generation is the tuple of its rounds so far, each the flags of its groups. What to sample next
depends on nothing else, so a generation that is read back from a store is replayed, not remembered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

Rule = Literal["keep", "ms_swift"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SamplingState:
    """History of one generation: for each round, whether each of its groups is informative."""

    rounds: tuple[tuple[bool, ...], ...] = ()

    @property
    def num_groups(self) -> int:
        return sum(len(flags) for flags in self.rounds)

    @property
    def num_informative(self) -> int:
        return sum(sum(flags) for flags in self.rounds)

    @property
    def num_resamples(self) -> int:
        """Rounds after the first."""
        return max(0, len(self.rounds) - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledGroups:
    """The outcome: ``kept`` are places, in the order of sampling, of the groups to train on."""

    kept: tuple[int, ...]
    num_groups: int
    num_informative: int
    num_informative_kept: int
    num_resamples: int
    target_groups: int

    @property
    def num_informative_lost(self) -> int:
        """Informative groups that were found and are not trained on."""
        return self.num_informative - self.num_informative_kept

    @property
    def num_missing(self) -> int:
        """Number of informative groups that the batch is short of its target."""
        return max(0, self.target_groups - self.num_informative_kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicSampling:
    """Rule of how many prompts to sample next, and which groups to train on.

    ``keep``  Asks for as many prompts as should, at the share of informative groups seen so far, fill the batch; never
              more than a full batch a round. Trains on every informative group that was found, and on no other.

              *Too few at the cap*: a smaller batch. Denominators count what is trained on, so its gradient is the mean
              over these groups. Without any, there is nothing to step on.
              *More than the target*: a larger batch. The surplus could wait for the next step instead, but it would
              then be learned from under newer weights (an IRL phase may lie between), and would be state to save and
              to restore; in a larger batch it is on-policy, and a generation stands for itself.

    ``ms_swift``  What ms-swift 4.6.0 does (its ``_dynamic_sampling``), for comparison: every round is a full batch;
              the last one is sampled and never looked at; with enough informative groups the first ``target_groups``
              are trained on and the others dropped; with too few, all that were found are dropped and the first round
              is trained on as it is, its uninformative groups in the denominators.

    Raises ValueError if ``target_groups`` < 1 or ``max_resample_times`` < 0.
    """

    target_groups: int
    max_resample_times: int = 3
    rule: Rule = "keep"

    def __post_init__(self) -> None:
        if self.target_groups < 1:
            raise ValueError(f"target_groups is {self.target_groups}; it must be at least 1.")
        if self.max_resample_times < 0:
            raise ValueError(f"max_resample_times is {self.max_resample_times}; it must be 0 or more.")

    def request(self, state: SamplingState) -> int:
        """Return how many prompts to sample next; 0 when the generation is over."""
        if not state.rounds:
            return self.target_groups
        missing = self.target_groups - len(self._examined(state))
        if missing <= 0 or state.num_resamples >= self.max_resample_times:
            return 0
        if self.rule == "ms_swift":
            return self.target_groups
        # Laplace's estimate of the share of informative groups, (informative + 1) / (groups + 2): never 0.
        expected = -(-missing * (state.num_groups + 2) // (state.num_informative + 1))
        return min(self.target_groups, expected)

    def absorb(self, state: SamplingState, informative: Sequence[bool]) -> SamplingState:
        """The state after a round of the groups that were asked for. Raises ValueError if their number is another."""
        if len(informative) != self.request(state):
            raise ValueError(f"{self.request(state)} groups were asked for; {len(informative)} came.")
        return SamplingState((*state.rounds, tuple(bool(flag) for flag in informative)))

    def replay(self, informative: Sequence[bool]) -> SamplingState:
        """The state of a generation whose groups are all there, in the order they were sampled.

        Raises ValueError if they end inside a round or go on after the last one.
        """
        state, place = SamplingState(), 0
        while place < len(informative):
            size = self.request(state)
            if size == 0 or place + size > len(informative):
                raise ValueError(
                    f"{len(informative)} groups are not whole rounds of this rule, which stand at {place}."
                )
            state = self.absorb(state, informative[place : place + size])
            place += size
        return state

    def final(self, state: SamplingState) -> SampledGroups:
        """Return the groups to train on, once ``request`` says 0."""
        flags = [flag for flags in state.rounds for flag in flags]
        if self.rule == "keep":
            kept = self._examined(state)
        elif len(self._examined(state)) >= self.target_groups:
            kept = self._examined(state)[: self.target_groups]
        else:
            kept = list(range(len(state.rounds[0])))
        return SampledGroups(
            kept=tuple(kept),
            num_groups=state.num_groups,
            num_informative=state.num_informative,
            num_informative_kept=sum(flags[place] for place in kept),
            num_resamples=state.num_resamples,
            target_groups=self.target_groups,
        )

    def _examined(self, state: SamplingState) -> list[int]:
        """Places of the informative groups in the rounds that the rule looks at."""
        looked_at = state.rounds if self.rule == "keep" else state.rounds[: self.max_resample_times]
        flags = [flag for flags in looked_at for flag in flags]
        return [place for place, flag in enumerate(flags) if flag]


def deal(items: Sequence[T], num_steps: int) -> list[list[T]]:
    """Items dealt in order to the steps of one generation, as evenly as can be, the first steps taking one more."""
    size, more = divmod(len(items), num_steps)
    edges = [step * size + min(step, more) for step in range(num_steps + 1)]
    return [list(items[edges[step] : edges[step + 1]]) for step in range(num_steps)]
