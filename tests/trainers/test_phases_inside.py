"""IRL phases inside another trainer's run, without the trainer: they choose and move as a run of ours does."""

import json
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from trainers.chat_model import EMBEDDED, problems
from trainers.sps_folders import loaded, report, updates_again
from unsqueeze.algos.schedule import Phase
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.errors import UserError
from unsqueeze.integrations.hf_trainer import _base_logp, _phases_to_come, refuse_no_base
from unsqueeze.integrations.inside import PhasesInside
from unsqueeze.integrations.responses import Asked, Response
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.progress import Silent
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Sampling
from unsqueeze.seeds import derive_seed
from unsqueeze.store.demos import Demonstration, DemoWriter, read_demos
from unsqueeze.store.rollouts import RolloutWriter
from unsqueeze.training.demonstrations import choose_demonstrations

SEED, TOKENS = 7, 4096
PHASES = [Phase(0, "rl", 1, 2), Phase(1, "irl", 1, 2), Phase(2, "rl", 3, 4), Phase(3, "irl", 3, 4)]
SETTINGS: dict[str, dict[str, Any]] = {
    "present": {"rank_by": "present"},
    "ratio": {"rank_by": "ratio", "replay_phases": 2},
    "replay": {"replay_phases": None, "pool": "any"},
    "thinned": {"replay_phases": None, "replay_candidates": 3, "pool": "any", "likelihood": "sum"},
    "weaker": {"phase_schedule": "linear"},
}


def settings_of(name: str) -> IrlSettings:
    return IrlSettings(every_steps=2, k=2, batch_size=4, steps=3, learning_rate=1e-3, **SETTINGS[name])


def phases_in(folder: Path, settings: IrlSettings) -> PhasesInside:
    return PhasesInside(folder / "sps", settings, seed=SEED, tokens_per_microbatch=TOKENS)


def generate(phases: PhasesInside, policy: Policy, step: int) -> None:
    """A generation: the same two problems in every step, four responses each, every second one right."""
    texts = problems(0, 2)
    prompts = [policy.tokenizer(text)["input_ids"] for text in texts]
    drawn = HfEngine(policy.model, policy.tokenizer).generate(
        prompts, 4, Sampling(max_tokens=12), seeds=[10 * step, 10 * step + 1]
    )
    asked = [
        Asked(
            text,
            "",
            [
                Response(
                    prompt_tokens=np.array(prompt, np.int32),
                    tokens=one.tokens,
                    text=one.text,
                    stop_reason=one.stop_reason,
                    reward=float(place % 2),
                    rewards={"right": float(place % 2)},
                )
                for place, one in enumerate(group)
            ],
        )
        for text, prompt, group in zip(texts, prompts, drawn, strict=True)
    ]
    phases.store(step, asked, phases.score(policy, asked, temperature=1.0))


def chosen_by_a_run(
    phases: PhasesInside, policy: Policy, base: Policy, folder: Path
) -> tuple[list[Demonstration], list[Row]]:
    """What the second IRL phase of a run of ours chooses from the same rollouts."""
    demos = DemoWriter(folder / "demos")
    run: Any = SimpleNamespace(
        recipe=SimpleNamespace(
            irl=phases.settings, rl=SimpleNamespace(tokens_per_microbatch=TOKENS), phases=lambda _: PHASES
        ),
        directory=SimpleNamespace(rollouts=RolloutWriter(phases.folder / "rollouts"), demos=demos),
        rng=lambda *names: np.random.default_rng(derive_seed(SEED, *names)),
        policy=policy,
        train_problems=(),
        progress=Silent(),
        stop=SimpleNamespace(check=lambda: None),
    )
    reference: Any = SimpleNamespace(logp=base.logp)
    rows = choose_demonstrations(run, PHASES[3], reference)
    return read_demos(demos.path(3)), rows


@pytest.mark.parametrize("name", SETTINGS)
def test_a_second_phase_is_that_of_a_run_and_stopping_before_it_changes_nothing(name: str, tmp_path: Path):
    settings = settings_of(name)
    policy, base = loaded(EMBEDDED), loaded(EMBEDDED)
    base_logp = partial(base.logp, max_tokens=TOKENS) if settings.rank_by == "ratio" else None
    phases = phases_in(tmp_path, settings)
    phases.begin(0, None)
    generate(phases, policy, 1)
    generate(phases, policy, 2)
    phases.phase(policy, 2, num_phases=2, base_logp=base_logp)
    generate(phases, policy, 3)
    generate(phases, policy, 4)
    saved = json.dumps(asdict(phases.state))
    weights = policy.full_weights()
    shutil.copytree(tmp_path / "sps", tmp_path / "again" / "sps")
    expected, rows = chosen_by_a_run(phases, policy, base, tmp_path)

    told = phases.phase(policy, 4, num_phases=2, base_logp=base_logp)
    after = policy.full_weights()
    demos = read_demos(phases.demos.path(3))
    assert demos == expected
    assert told.num_demonstrations == len(demos) == (8 if settings.replay_phases == 1 else 4)
    assert {demo.step for demo in demos} <= ({3, 4} if settings.replay_phases == 1 else {1, 2, 3, 4})

    policy.put_weights(weights)
    share = 0.5 if name == "weaker" else 1.0  # the second of two phases
    weaker = settings.model_copy(update={"learning_rate": share * settings.learning_rate})
    assert updates_again(policy, weaker, rows, seed=SEED, phase=3) == told.num_updates == 3
    assert all(torch.equal(after[key], value) for key, value in policy.full_weights().items())

    policy.put_weights(weights)
    again = phases_in(tmp_path / "again", settings)
    again.begin(4, json.loads(saved))
    again.phase(policy, 4, num_phases=2, base_logp=base_logp)
    assert all(torch.equal(after[key], value) for key, value in policy.full_weights().items())
    assert report(tmp_path / "again", 3) == report(tmp_path, 3)
    assert asdict(again.state) == asdict(phases.state)


@pytest.mark.parametrize(("name", "missing"), [("present", "3, 4"), ("replay", "1, 2, 3, 4")])
def test_rollouts_that_a_phase_would_replay_must_be_there(name: str, missing: str, tmp_path: Path):
    saved = {"num_phases": 1, "last_step": 2, "num_groups": 8, "num_updates": 3}
    with pytest.raises(UserError, match=f"goes on with the rollouts of step {missing}, which are not in"):
        phases_in(tmp_path, settings_of(name)).begin(4, saved | {"generations": [3, 4], "earlier": [[1, 2]]})


@pytest.mark.parametrize(("step", "to_come"), [(4, 3), (8, 2), (12, 1)])
def test_phases_to_come_are_counted_where_generations_end(step: int, to_come: int):
    # Generations of four steps, RL phases of three, which are complete with steps 3, 6, 9 and 12: steps 4, 8 and 12
    # each complete another one; 13 and 14 are of a generation that does not end.
    trainer = SimpleNamespace(
        args=SimpleNamespace(steps_per_generation=4, gradient_accumulation_steps=2),
        state=SimpleNamespace(max_steps=14),
        num_iterations=2,
    )
    assert _phases_to_come(trainer, IrlSettings(every_steps=3), step) == to_come


def kept(**changes: Any) -> Any:
    args = SimpleNamespace(sync_ref_model=changes.pop("sync_ref_model", False))
    return SimpleNamespace(**{"args": args, "model": object(), "ref_model": None} | changes)


def test_the_reference_of_a_kl_term_is_the_policy_before_training(tmp_path: Path):
    policy, base = loaded(EMBEDDED), loaded(EMBEDDED)
    policy.put_weights({name: 1.1 * value for name, value in policy.full_weights().items()})
    trainer = SimpleNamespace(accelerator=SimpleNamespace(unwrap_model=lambda model: model), ref_model=base.model)
    row = Row(prompt_tokens=np.array([5, 6], np.int32), tokens=np.array([7, 8, 9], np.int32), weight=0.0)
    (found_T,) = _base_logp(trainer, policy, phases_in(tmp_path, settings_of("ratio")))([row])
    ((expected_T,), (now_T,)) = (each.logp([row], max_tokens=TOKENS) for each in (base, policy))
    assert np.array_equal(found_T, expected_T)
    assert not np.allclose(found_T, now_T)


LORA = SimpleNamespace(peft_config={"default": SimpleNamespace(peft_type="LORA")}, get_base_model=lambda: None)


def test_ratio_asks_for_the_policy_before_training():
    for trainer in (kept(), kept(ref_model=object(), sync_ref_model=True)):
        refuse_no_base(trainer, "present", "Trainer", "rank_by")
        with pytest.raises(UserError, match="rank_by is ratio, which compares with the policy before training, and"):
            refuse_no_base(trainer, "ratio", "Trainer", "rank_by")
    refuse_no_base(kept(ref_model=object()), "ratio", "Trainer", "rank_by")
    refuse_no_base(kept(model=LORA), "ratio", "Trainer", "rank_by")
