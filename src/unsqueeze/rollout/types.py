"""Requests to an engine, and what it returns.

Log-probs are natural logs (nats), of each token of a response, under the weights that sampled it:

``logp_behaviour``  at the sampling temperature, over the whole vocabulary, before top-k and top-p cut it
``logp_raw``        at temperature 1, over the whole vocabulary; one array with the other where that is the temperature
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unsqueeze.errors import UserError
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Judgement


class StopReason(StrEnum):
    """Reason that a completion ended: the model's end token, a stop string, or the token limit (truncated)."""

    EOS = "eos"
    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Settings of sampling. ``temperature`` 0 is greedy. ``top_k`` 0 and ``top_p`` 1 mean no cut.

    A response ends at a text of ``stop`` or at a token of ``end_ids``, beside the end tokens that an engine knows:
    those of the model and of its chat template (``stops.end_token_ids``).
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    end_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UserError(f"sampling: max_tokens is {self.max_tokens}; it must be at least 1.")
        if self.temperature < 0:
            raise UserError(f"sampling: temperature is {self.temperature}; it must be 0 (greedy) or more.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"sampling: top_p is {self.top_p}; it must be in (0, 1], where 1 means no cut.")
        if self.top_k < 0:
            raise UserError(f"sampling: top_k is {self.top_k}; it must be 0 (no cut) or more.")
        if not all(self.stop):
            raise UserError("sampling: a stop text is empty; give the text at which a response is to end.")
        if not 0 <= self.min_tokens <= self.max_tokens:
            raise UserError(
                f"sampling: min_tokens is {self.min_tokens}; it must be in [0, max_tokens={self.max_tokens}]."
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Completion:
    """One sampled response. ``tokens`` includes the end token where the model gave one; ``text`` leaves it out."""

    tokens: NDArray[np.int32]
    text: str
    logp_raw: NDArray[np.float32]
    logp_behaviour: NDArray[np.float32]
    stop_reason: StopReason

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    @property
    def mean_logp(self) -> float:
        """Mean log-prob of the tokens, nats; NaN where there are none."""
        # What np.mean does, in less than half its time: short answers are many.
        total = float(self.logp_raw.sum(dtype=np.float64))
        return total / self.num_tokens if self.num_tokens else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response of which only the text is known for certain: that of a server. None is what it did not say.

    ``mean_logp`` is the mean of the log-probs as the server gives them; vLLM's are at temperature 1.
    """

    text: str
    stop_reason: StopReason
    num_tokens: int | None
    mean_logp: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rollout:
    """A completion with its place in the run: who was asked, which of its group, by which policy, in which phase.

    ``group`` numbers the groups of a run in the order of generation; ``index`` is the place inside the group;
    ``policy_version`` counts the optimizer steps (RL and IRL) that the sampling policy had behind it; ``step`` is the
    first RL step that the rollout was generated for. ``logp_proximal``, what the ratio of the surrogate is taken
    against, is the trainer's log-prob of each token under the policy that sampled it, at the sampling temperature; None
    where ``completion.logp_behaviour`` serves, or the log-probs of the step itself, the first of its generation.
    """

    problem_id: str
    group: int
    index: int
    prompt_tokens: NDArray[np.int32]
    completion: Completion
    policy_version: int
    phase: int
    step: int
    logp_proximal: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """The G rollouts of one prompt with their judgements, in the same order."""

    problem: Problem
    rollouts: tuple[Rollout, ...]
    judgements: tuple[Judgement, ...]


class Engine(Protocol):
    """Anything that samples from a policy.

    ``generate`` returns one list of ``n`` completions per prompt, in the order of the prompts. ``seeds`` holds one seed
    a prompt: what is drawn for a prompt depends on its tokens, its seed, the sampling and the weights alone.
    ``on_finished`` is told how many completions have ended since the last call, for progress. An engine may take
    ``on_ended`` besides, and hand it completions as they end, each with its place among all, those of the first prompt
    first: they can then be judged while others are drawn.

    Whoever samples from a policy under training calls ``sync`` first: it hands over the weights of ``policy``, and
    returns at once where the engine holds that version. ``policy_version`` is the version it holds; None where it
    samples from the training weights themselves, and there is nothing to hand over. ``rest`` says that training
    follows: memory that only sampling needs may be given back until the next ``sync``.
    """

    @property
    def policy_version(self) -> int | None: ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        *,
        seeds: Sequence[int],
        on_finished: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]: ...

    def sync(self, policy: Any) -> None: ...

    def rest(self) -> None: ...

    def close(self) -> None: ...


def takes_on_ended(engine: Engine) -> bool:
    """Tell whether an engine hands completions over as they end."""
    return "on_ended" in inspect.signature(engine.generate).parameters


class Sampler(Protocol):
    """The part of an engine that evaluation needs; a server has it too, with texts or chats for prompts."""

    def generate(
        self,
        prompts: Sequence[Any],
        n: int,
        sampling: Sampling,
        *,
        seeds: Sequence[int],
        on_finished: Callable[[int], None] | None = None,
    ) -> Sequence[Sequence[Completion | Answer]]: ...
