"""What a trainer generated, as judged groups of ours."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsqueeze.rollout.types import Completion, Group, Rollout, StopReason
from unsqueeze.seeds import derive_seed
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Judgement, Verdict


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Response:
    """A response as the trainer has it. ``reward`` above 0 is right, NaN is not judged; ``rewards`` are all by name."""

    prompt_tokens: NDArray[np.int32]
    tokens: NDArray[np.int32]
    text: str
    stop_reason: StopReason
    reward: float
    rewards: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, as text, with its gold answer (empty where the data have none) and its responses."""

    prompt: str
    gold: str
    responses: list[Response]


def side_by_side(pairs: Sequence[tuple[tuple[str, str], Response]], num_generations: int) -> list[Asked]:
    """Responses with their prompts and gold answers as groups, where those to one prompt follow each other."""
    return [
        Asked(*pairs[first][0], [response for _, response in pairs[first : first + num_generations]])
        for first in range(0, len(pairs), num_generations)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Log-probs of a response's tokens, nats, under the policy that sampled it: at temperature 1, and as sampled."""

    logp_raw: NDArray[np.float32]
    logp_behaviour: NDArray[np.float32]


def group_of(
    asked: Asked, scored: Iterator[Scored], *, number: int, step: int, phase: int, policy_version: int
) -> Group:
    """Return the judged group; of the log-probs that are left, its own are taken."""
    problem = Problem(id=f"{derive_seed(0, asked.prompt):016x}", prompt=asked.prompt, answer=asked.gold, task="trainer")
    rollouts = []
    for index, one in enumerate(asked.responses):
        logp = next(scored)
        completion = Completion(
            tokens=one.tokens,
            text=one.text,
            logp_raw=logp.logp_raw,
            logp_behaviour=logp.logp_behaviour,
            stop_reason=one.stop_reason,
        )
        rollouts.append(
            Rollout(
                problem_id=problem.id,
                group=number,
                index=index,
                prompt_tokens=one.prompt_tokens,
                completion=completion,
                policy_version=policy_version,
                phase=phase,
                step=step,
            )
        )
    return Group(problem=problem, rollouts=tuple(rollouts), judgements=tuple(map(_judgement, asked.responses)))


def _judgement(response: Response) -> Judgement:
    """The verdict by the sign of the reward; all rewards as numbers stand in its reason, as JSON."""
    if math.isnan(response.reward):
        verdict = Verdict.CRASHED
    else:
        verdict = Verdict.CORRECT if response.reward > 0 else Verdict.WRONG
    known = {name: None if math.isnan(value) else value for name, value in response.rewards.items()}
    return Judgement(verdict, None, json.dumps(known))
