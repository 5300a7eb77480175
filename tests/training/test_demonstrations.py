"""What an IRL phase may learn from: groups of the last phase, or rollouts of several; and whose likelihood ranks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from small_runs import StopAfter, prepare, random_recipe, run_to_end, weights
from unsqueeze.algos.schedule import Phase
from unsqueeze.algos.selection import select_demonstrations
from unsqueeze.errors import UserError
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.progress import Interrupted
from unsqueeze.rollout.types import Completion, Group, Rollout, StopReason
from unsqueeze.seeds import derive_seed
from unsqueeze.store.demos import DemoWriter
from unsqueeze.store.rollouts import RolloutWriter
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.tasks.problem import Problem
from unsqueeze.training.demonstrations import choose_demonstrations
from unsqueeze.training.loop import train
from unsqueeze.verify.verdict import Judgement, Verdict

pytestmark = pytest.mark.usefixtures("judged_by_hash")

REPLAY = {"replay_phases": None, "replay_candidates": 6, "rank_by": "ratio", "pool": "positives", "k": 2}


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory):
    """A run whose IRL phases choose among the right rollouts of all phases, by what training took from them."""
    return run_to_end(random_recipe(irl=REPLAY), tmp_path_factory.mktemp("runs") / "replay")


def stored(directory: RunDirectory, *steps: int) -> dict[tuple[int, int, int], tuple[str, tuple[int, ...], float]]:
    """Problem, tokens and reward of every rollout of these steps, by where it is stored."""
    return {
        (rollout.step, rollout.group, rollout.index): (
            group.problem.id,
            tuple(rollout.completion.tokens.tolist()),
            judgement.verdict.judged_reward,
        )
        for step in steps
        for group in directory.rollouts.read(step)
        for rollout, judgement in zip(group.rollouts, group.judgements, strict=True)
    }


def test_the_last_phase_alone_is_what_the_paper_chooses_from(tmp_path: Path):
    run, _ = run_to_end(random_recipe(), tmp_path / "run")
    for number, steps in ((1, (1, 2)), (3, (3, 4))):
        demos = run.directory.demos.read(number)
        assert {demo.step for demo in demos} <= set(steps)
        assert all(demo.score == demo.mean_logp for demo in demos)


def random_group(rng: np.random.Generator, number: int, step: int) -> Group:
    """Eight rollouts with any verdict, some empty, some with the tokens of another and log-probs of their own."""
    problem = Problem(id=f"p{number}", prompt="ask", answer="7", task="math")
    rollouts = []
    for index in range(8):
        tokens = rng.integers(0, 3, rng.integers(0, 4), dtype=np.int32)
        logp = -rng.exponential(size=len(tokens)).astype(np.float32)
        completion = Completion(
            tokens=tokens, text="", logp_raw=logp, logp_behaviour=2 * logp, stop_reason=StopReason.EOS
        )
        rollouts.append(
            Rollout(
                problem_id=problem.id,
                group=number,
                index=index,
                prompt_tokens=rng.integers(0, 9, 3, dtype=np.int32),
                completion=completion,
                policy_version=0,
                phase=0,
                step=step,
            )
        )
    verdicts = rng.choice([Verdict.CORRECT, *Verdict, *[Verdict.WRONG] * 4], 8)
    judgements = tuple(Judgement(Verdict(verdict)) for verdict in verdicts)
    return Group(problem=problem, rollouts=tuple(rollouts), judgements=judgements)


def first_of_equals(group: Group) -> list[np.ndarray]:
    """The log-probs of every rollout, in double precision: of equal responses, those of the first."""
    first: dict[tuple[int, ...], np.ndarray] = {}
    return [
        first.setdefault(tuple(one.completion.tokens.tolist()), one.completion.logp_raw.astype(np.float64))
        for one in group.rollouts
    ]


@pytest.mark.parametrize("kind", ["mean", "sum"])
@pytest.mark.parametrize("pool", ["negatives_first", "any", "positives", "uniform"])
def test_choices_are_those_of_the_plain_way(tmp_path: Path, pool: Any, kind: Any):
    """From whole groups in memory, one at a time; equal responses have one likelihood, whatever rounding says."""
    rng = np.random.default_rng(0)
    steps = {step: [random_group(rng, 10 * step + place, step) for place in range(10)] for step in range(1, 5)}
    settings = random_recipe(irl={"pool": pool, "likelihood": kind, "k": 2}).irl
    assert settings is not None
    rollouts, demos = RolloutWriter(tmp_path / "rollouts"), DemoWriter(tmp_path / "demos")
    for step, groups in steps.items():
        rollouts.write(step, groups)
    run: Any = SimpleNamespace(
        recipe=SimpleNamespace(irl=settings),
        directory=SimpleNamespace(rollouts=rollouts, demos=demos),
        rng=lambda *names: np.random.default_rng(derive_seed(3, *names)),
    )
    rows = choose_demonstrations(run, Phase(number=1, kind="irl", first_step=2, last_step=3, complete=True), None)
    expected, tokens = [], []
    for group in (*steps[2], *steps[3]):
        number = group.rollouts[0].group
        logp = first_of_equals(group)
        sums = [float(np.sum(logp_T)) if len(logp_T) else np.nan for logp_T in logp]
        means = [total / max(1, len(logp_T)) for total, logp_T in zip(sums, logp, strict=True)]
        scores = np.array(means if kind == "mean" else sums)
        rewards = np.array([judgement.verdict.judged_reward for judgement in group.judgements])
        draws = np.random.default_rng(derive_seed(3, "l2te", number))
        for chosen in select_demonstrations(scores, rewards, 2, pool=pool, quantile=settings.quantile, rng=draws):
            i, one = chosen.index, group.rollouts[chosen.index]
            expected.append((group.problem.id, one.step, number, i, means[i], sums[i], scores[i], rewards[i]))
            tokens.append((one.prompt_tokens.tolist(), one.completion.tokens.tolist()))
    assert len(expected) >= 10
    assert [
        (one.problem_id, one.step, one.group, one.index, one.mean_logp, one.sum_logp, one.score, one.reward)
        for one in demos.read(1)
    ] == expected
    assert [(row.prompt_tokens.tolist(), row.tokens.tolist()) for row in rows] == tokens


def test_rollouts_of_earlier_phases_are_chosen_too(replayed):
    run, _ = replayed
    # The second IRL phase may choose from steps 1 to 4: every right one of a problem is among its candidates, as none
    # has more than six distinct ones in this run, and the two that are least by score are the lower part or all of it.
    rollouts = stored(run.directory, 1, 2, 3, 4)
    demos = run.directory.demos.read(3)
    chosen = [rollouts[demo.step, demo.group, demo.index] for demo in demos]
    assert any(demo.step <= 2 for demo in demos)
    assert all(reward == 1 for *_, reward in chosen)
    assert len({(problem, tokens) for problem, tokens, _ in chosen}) == len(chosen)
    right: dict[str, set[tuple[int, ...]]] = {}
    for problem, tokens, reward in rollouts.values():
        if reward == 1:
            right.setdefault(problem, set()).add(tokens)
    assert max(map(len, right.values())) <= 6
    for problem, distinct in right.items():
        assert sum(one == problem for one, *_ in chosen) == min(2, len(distinct))


def test_ratio_is_what_training_took_since_the_base(replayed, tmp_path: Path):
    """Against log-probs of the exported policy before the IRL phase: that of a run of four steps without its last."""
    run, _ = replayed
    # The policy at the start of the first IRL phase is that of plain RL after two steps, from the same seed.
    plain, _ = run_to_end(random_recipe(irl=None, rl={"steps": 2}), tmp_path / "plain")
    base = Policy.load(run.recipe.model)
    demos = run.directory.demos.read(1)
    rollouts = {
        (rollout.step, rollout.group, rollout.index): rollout
        for step in (1, 2)
        for group in run.directory.rollouts.read(step)
        for rollout in group.rollouts
    }
    rows = [
        Row(prompt_tokens=one.prompt_tokens, tokens=one.completion.tokens, weight=0.0)
        for one in (rollouts[demo.step, demo.group, demo.index] for demo in demos)
    ]
    now = plain.policy.logp(rows, max_tokens=4096)
    then = base.logp(rows, max_tokens=4096)
    expected = [float(np.mean(a - b)) for a, b in zip(now, then, strict=True)]
    assert demos
    assert [demo.score for demo in demos] == pytest.approx(expected, abs=1e-6)
    assert max(abs(score) for score in expected) > 1e-3


def test_more_candidates_than_may_be_kept_are_thinned(tmp_path: Path):
    settings = {"replay_phases": None, "replay_candidates": 2, "rank_by": "present", "pool": "any", "k": 2}
    run, _ = run_to_end(random_recipe(irl=settings), tmp_path / "thinned")
    demos = run.directory.demos.read(3)
    assert {demo.rank for demo in demos} <= {0, 1}
    # Not always the earliest: each has the same chance to stay.
    assert {demo.step for demo in demos} > {1}


def test_a_stopped_run_chooses_the_same(replayed, tmp_path: Path):
    whole, _ = replayed
    recipe = random_recipe(irl=REPLAY)
    run, reference = prepare(recipe, tmp_path / "stopped", stop=StopAfter(18))
    with pytest.raises(Interrupted):
        train(run, reference=reference)
    run.directory.close()
    resumed, _ = run_to_end(recipe, tmp_path / "stopped")
    ours, theirs = weights(resumed), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert resumed.directory.demos.read(3) == whole.directory.demos.read(3)


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(UserError, match=r"irl\.k is 3 but irl\.replay_candidates is 2"):
        random_recipe(irl={"k": 3, "replay_phases": 2, "replay_candidates": 2})
    with pytest.raises(UserError, match=r"irl\.rank_by is ratio.*rl\.reference is iteration"):
        random_recipe(irl={"rank_by": "ratio"}, rl={"reference": "iteration"})
