"""Parts of a run that a user writes: named in recipes of tests as ``own_parts:NAME``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unsqueeze.algos.groups import Advantages, Groups
from unsqueeze.algos.irl import nll_loss
from unsqueeze.algos.objectives import LossOutput, clipped_surrogate_loss
from unsqueeze.algos.surrogate import Surrogate
from unsqueeze.config.data_settings import DataSettings
from unsqueeze.config.rollout_settings import RolloutSettings, VerifySettings
from unsqueeze.interop.exporters import Answers
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.engines import hf_engine
from unsqueeze.rollout.types import Engine
from unsqueeze.tasks.countdown import countdown_problems
from unsqueeze.tasks.made import MadeTask, Split
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.task import Sizes, Task
from unsqueeze.verify.verdict import Verdict

CALLS: list[str] = []
"""Whatever of these was called, in order."""


class Numbers(MadeTask):
    """Countdown's questions under a name of their own; right is what holds the target, and no product."""

    title = "numbers"
    verifier = "own_parts:holds_target"
    asks = "nothing"
    default_sizes = Sizes(train=6, test=3)

    def draw(self, settings: DataSettings, split: Split, number: int) -> Iterator[Problem]:
        sides = {"train": 0, "test": 1, "validation": 1}
        seed = settings.seed + (split == "validation")
        for problem in countdown_problems(40, 40, seed)[sides[split]]:
            yield Problem(id=f"numbers-{problem.id}", prompt=problem.prompt, answer=problem.answer, task=self.name)

    def gold_response(self, problem: Problem, settings: DataSettings) -> str:
        return f"it is {problem.answer}"


class WithoutLoad(Task):
    pass


class Misnamed(Numbers):
    name = "nobody"


not_a_task = 7


def holds_target(problem: Problem, response: str) -> bool:
    CALLS.append("verify")
    return problem.answer in response and "*" not in response


def says(settings: VerifySettings) -> Any:
    """A maker of verifiers: right is what has an even number of characters."""
    CALLS.append(f"maker, {settings.credit}")

    def even(problem: Problem, response: str) -> Verdict:
        return Verdict.CORRECT if len(response) % 2 == 0 else Verdict.WRONG

    return even


def centred(groups: Groups, settings: Surrogate, *, scale: float = 1.0) -> Advantages:
    CALLS.append("advantages")
    mean_P1 = groups.rewards_PG.nanmean(dim=1, keepdim=True)
    return Advantages(scale * (groups.rewards_PG - mean_P1), groups.judged_PG)


def counted(groups: Groups, settings: Surrogate) -> Advantages:
    return Advantages(groups.right_PG.float(), groups.judged_PG)


def rl_loss(*tensors: Any, **further: Any) -> LossOutput:
    CALLS.append("rl loss")
    return clipped_surrogate_loss(*tensors, **further)


def irl_loss(*tensors: Any, **further: Any) -> LossOutput:
    CALLS.append("irl loss")
    return nll_loss(*tensors, **further)


def engine(settings: RolloutSettings, policy: Policy) -> Engine:
    CALLS.append("engine")
    return hf_engine(settings, policy)


def exporter(answers: Answers, out: Path) -> int:
    """A line a problem: what it is called, its gold answer, and whether its samples are right."""
    lines = [f"{key[1]} {key[2]} {[answer.correct for answer in of_one]}" for key, of_one in answers.items()]
    out.mkdir()
    (out / "answers.txt").write_text("\n".join(lines))
    return sum(map(len, answers.values()))


def no_loss(*tensors: Any, **further: Any) -> float:
    return 0.0


def loss_of_two(logp_NT: Any, mask_NT: Any) -> LossOutput:
    raise AssertionError("it is not called: it takes other arguments")
