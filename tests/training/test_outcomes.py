"""Why nothing was learnt: what share of the responses was cut off, had no box, was unparsable."""

from pathlib import Path

import numpy as np
import pytest

import unsqueeze as uq
from small_runs import random_recipe
from unsqueeze.cli.progress import describe_step
from unsqueeze.progress import Silent
from unsqueeze.rollout.types import Completion, Group, Rollout, StopReason
from unsqueeze.tasks.problem import Problem
from unsqueeze.training.outcomes import answer_shares, describe_shares
from unsqueeze.verify.verdict import Judgement, Verdict

CUT, ENDED = StopReason.LENGTH, StopReason.EOS
RIGHT, WRONG, UNPARSABLE, LATE = Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSABLE, Verdict.TIMED_OUT


def group(*answers: tuple[str, StopReason, Verdict]) -> Group:
    one = np.zeros(1, np.float32)
    rollouts = tuple(
        Rollout(
            problem_id="p",
            group=0,
            index=index,
            prompt_tokens=np.zeros(1, np.int32),
            completion=Completion(
                tokens=np.zeros(1, np.int32), text=text, logp_raw=one, logp_behaviour=one, stop_reason=stop
            ),
            policy_version=0,
            phase=0,
            step=1,
        )
        for index, (text, stop, _) in enumerate(answers)
    )
    problem = Problem(id="p", prompt="", answer="", task="math")
    return Group(problem=problem, rollouts=rollouts, judgements=tuple(Judgement(verdict) for *_, verdict in answers))


def test_shares_by_hand():
    """Of eight: two cut off; three unparsable; no box in the two without one, one that never closes, one empty."""
    groups = [
        group((r"\boxed{4}", ENDED, RIGHT), ("it is 4", CUT, UNPARSABLE), (r"so \boxed{4", CUT, UNPARSABLE)),
        group((r"\boxed{}", ENDED, UNPARSABLE), ("4", ENDED, WRONG), (r"\fbox{5}", ENDED, WRONG)),
        group((r"\boxed{6}", ENDED, LATE), (r"\boxed{7}", ENDED, WRONG)),
    ]
    assert answer_shares(groups, boxed=True) == {"cut_off": 2 / 8, "unparsable": 3 / 8, "no_box": 4 / 8}
    assert answer_shares(groups, boxed=False) == {"cut_off": 2 / 8, "unparsable": 3 / 8}
    assert answer_shares([], boxed=True) == {}


def test_shares_in_words():
    shares = {"cut_off": 0.817, "unparsable": 0.93, "no_box": 0.0049}
    assert describe_shares(shares) == "93% unparsable, 82% cut off at rollout.max_tokens"
    assert describe_shares({"cut_off": 0.0}) == ""


def test_the_live_line_says_so():
    record = {"kind": "rl", "reward": 0.0, "entropy": 1.5, "cut_off": 0.75, "unparsable": 0.5, "no_box": 0.9}
    assert describe_step(record, None) == "reward 0.00  entropy 1.500  90% no box, 75% cut off, 50% unparsable"
    assert describe_step(record | {"cut_off": 0.0, "unparsable": 0.0, "no_box": 0.0}, -0.2).endswith("log-prob -0.200")
    # Dynamic sampling left nothing to train on: the line says what was sampled.
    assert describe_step({"kind": "rl", "reward": None, "cut_off": 1.0}, None) == "reward not judged  100% cut off"


class Told(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_a_phase_that_did_nothing_says_what_its_rollouts_were_like(tmp_path: Path):
    """A random model writes no steps of Countdown: every answer is unparsable, and nearly all are cut off."""
    told = Told()
    recipe = random_recipe(rl={"steps": 2}, irl={"steps": 0}, evaluation={"n": 1}, rollout={"max_tokens": 1})
    trained = uq.train(recipe, run=tmp_path / "run", progress=told)
    rollouts = trained.run.rollouts([1, 2])
    cut = rollouts["stop_reason"].to_pylist().count("length") / len(rollouts)
    assert cut >= 0.5
    said = [warning for warning in told.warnings if "DID NOTHING" in warning]
    assert [warning.split(" DID")[0] for warning in said] == ["RL phase 0", "IRL phase 1"]
    for warning, report in zip(said, trained.reports, strict=True):
        assert "Of its rollouts: 100% unparsable" in warning
        assert f"{cut:.0%} cut off at rollout.max_tokens" in warning
        assert warning.endswith("Raise rollout.max_tokens, or ask for shorter answers.")
        assert report.answers == pytest.approx({"cut_off": cut, "unparsable": 1.0})
    lines = [line for line in trained.run.metrics.to_pylist() if line["kind"] == "rl"]
    assert np.mean([line["cut_off"] for line in lines]) == pytest.approx(cut)
