"""What SPS leaves in the output folder of another trainer, and an IRL phase computed again from it."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from unsqueeze.algos.selection import likelihood, select_demonstrations
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.policy.batch import Row
from unsqueeze.policy.optimize import make_optimizer
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.types import Group
from unsqueeze.seeds import derive_seed
from unsqueeze.store.demos import read_demos
from unsqueeze.store.rollouts import RolloutWriter
from unsqueeze.training.irl_phase import irl_updates

Weights = dict[str, torch.Tensor]


def weights_of(folder: Path) -> Weights:
    """The weights of a checkpoint: of an adapter its own."""
    adapter = folder / "adapter_model.safetensors"
    return load_file(adapter if adapter.exists() else folder / "model.safetensors")


def same(one: Weights, other: Weights) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def furthest(one: Weights, other: Weights) -> float:
    return max((one[name] - other[name]).abs().max().item() for name in one)


def report(out: Path, number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "sps" / "phases" / f"irl-{number:03d}.json").read_text())
    return {name: value for name, value in found.items() if name != "seconds"}


def stored(out: Path) -> dict[int, list[Group]]:
    rollouts = RolloutWriter(out / "sps" / "rollouts")
    return {step: rollouts.read(step) for step in rollouts.steps()}


def loaded(folder: Path) -> Policy:
    return Policy.load(ModelSettings(path=str(folder), device="cpu"))


def assert_never_stopped(whole: Path, again: Path, last: str) -> None:
    """Of two runs of seven steps with two phases, the second went on from step 2 with what the first one left."""
    assert same(weights_of(whole / last), weights_of(again / last))
    for number in (1, 3):
        assert report(whole, number) == report(again, number)
        files = [out / "sps" / "demos" / f"irl-{number:03d}.parquet" for out in (whole, again)]
        assert read_demos(files[0]) == read_demos(files[1])
    aside = again / "sps" / "set-aside-001"
    assert RolloutWriter(aside / "rollouts").steps() == [3, 4, 5, 6, 7]
    assert sorted(path.name for path in (aside / "phases").iterdir()) == ["irl-001.json", "irl-003.json"]


def assert_replayed(out: Path) -> None:
    """Of a run of two phases, after steps 3 and 6, that replays all, the second chose of both RL phases."""
    first, second = (read_demos(out / "sps" / "demos" / f"irl-{number:03d}.parquet") for number in (1, 3))
    assert {demo.step for demo in first} <= {1, 2, 3}
    assert {demo.step for demo in second} & {1, 2, 3}
    assert {demo.step for demo in second} & {4, 5, 6}


def rows_of(groups: list[Group]) -> list[Row]:
    return [
        Row(prompt_tokens=one.prompt_tokens, tokens=one.completion.tokens, weight=0.0)
        for group in groups
        for one in group.rollouts
    ]


@dataclass(frozen=True)
class Again:
    weights: Weights
    nll_before: float
    num_demonstrations: int
    num_updates: int


def phase_again(
    policy: Policy, groups: list[Group], settings: IrlSettings, *, seed: int, scores: list[float] | None = None
) -> Again:
    """The first phase on these rollouts, from the policy at its beginning, as `unsqueeze train` runs one.

    ``scores`` rank them, all in order, where the policy that sampled does not.
    """
    stored_scores = [likelihood(one.completion.logp_raw) for group in groups for one in group.rollouts]
    ranked_by = iter(scores or stored_scores)
    rows = []
    for group in groups:
        chosen = select_demonstrations(
            np.array([next(ranked_by) for _ in group.rollouts]),
            np.array([one.verdict.reward for one in group.judgements]),
            settings.k,
            rng=np.random.default_rng(derive_seed(seed, "l2te", group.rollouts[0].group)),
        )
        taken = [group.rollouts[one.index] for one in chosen]
        rows += [Row(prompt_tokens=one.prompt_tokens, tokens=one.completion.tokens, weight=0.0) for one in taken]
    nll = -float(np.mean(np.concatenate(policy.logp(rows, max_tokens=16384)), dtype=np.float64))
    num_updates = updates_again(policy, settings, rows, seed=seed, phase=1)
    weights = {name: parameter.detach() for name, parameter in policy.model.named_parameters()}
    return Again(weights, nll, len(rows), num_updates)


def updates_again(policy: Policy, settings: IrlSettings, rows: list[Row], *, seed: int, phase: int) -> int:
    """The updates of IRL phase number ``phase`` on these demonstrations, as `unsqueeze train` makes them: how many."""
    updates = irl_updates(
        policy,
        settings,
        rows,
        optimizer=make_optimizer(policy, settings),
        rng=np.random.default_rng(derive_seed(seed, "irl", phase)),
        tokens_per_microbatch=16384,
        kl_moved=lambda: math.nan,
        check_stop=lambda: None,
    )
    return len(list(updates))
