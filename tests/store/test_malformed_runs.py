"""Runs, checkpoints and models that were damaged or edited: one sentence, and a disk that stays as it was.

What a fault leaves behind is in ``test_faults.py``; here somebody has changed files of a whole run.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lives import live
from refusals import LONGEST_MESSAGE, refused, untouched
from small_runs import prepare, random_recipe
from unsqueeze.digests import sha256_of
from unsqueeze.errors import RunError
from unsqueeze.models import embedded_model_path
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.seal import CRC, sealed
from unsqueeze.training.arms import arm_result
from unsqueeze.training.resume import restore, resume
from unsqueeze.training.run import Run
from unsqueeze.training.state import Optimizers, digest_of
from unsqueeze.training.state_fields import FIELDS

pytestmark = pytest.mark.usefixtures("judged_by_hash")

Damage = Callable[[Path], None]

RECIPE = random_recipe(
    data={"num_train": 4, "num_test": 2},
    rl={"steps": 2, "prompts_per_step": 2, "group_size": 2},
    irl=None,
    rollout={"max_tokens": 4},
    evaluation={"n": 2},
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of two RL steps; nobody writes to it."""
    path = tmp_path_factory.mktemp("whole") / "run"
    live(RECIPE, path)
    run, _ = prepare(RECIPE, path)
    run.directory.close()
    return run


@pytest.fixture
def copy(whole: Run, tmp_path: Path) -> Run:
    """The same with a directory of its own, which may be damaged."""
    shutil.copytree(whole.directory.path, tmp_path / "run")
    return replace(whole, directory=RunDirectory.open(tmp_path / "run"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flipped(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)


def gone(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)))


def says(text: str) -> Damage:
    """The file holds this text instead."""

    def damage(path: Path) -> None:
        path.write_text(text)

    damage.__name__ = f"says {text[:30]}"
    return damage


def edited(**changes: Any) -> Damage:
    """A JSON object with other values; ``...`` removes one. Its checksum fits, as if somebody meant it."""

    def damage(path: Path) -> None:
        before = json.loads(path.read_text())
        fields = {name: value for name, value in (before | changes).items() if value is not ...}
        path.write_text(json.dumps(sealed(fields) if CRC in before else fields))

    damage.__name__ = f"edited {changes}"[:60]
    return damage


def start(**changes: Any) -> dict[str, Any]:
    """What state.json says of the moment a phase began, with other values."""
    return {"greedy_logp": -1.0, "version": 0, "seconds": 1.0} | changes


def swapped(name: str) -> Damage:
    """What another file of the same folder holds."""

    def damage(path: Path) -> None:
        path.write_bytes((path.parent / name).read_bytes())

    damage.__name__ = f"swapped with {name}"
    return damage


def lines(what: str, change: Callable[[list[bytes]], list[bytes]]) -> Damage:
    def damage(path: Path) -> None:
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    damage.__name__ = what
    return damage


BEGUN = "checkpoints/step-000001/state"
"""Of a checkpoint inside a phase."""

STATE = "checkpoints/step-000002/state"
JSON = [cut, emptied, gone, a_folder, binary, says("[]"), says("null"), says("3")]
DEEP = says("[" * 100_000)

NEEDED: list[tuple[str, Damage]] = [
    *((f"{STATE}/weights.safetensors", damage) for damage in (cut, emptied, zeroed, flipped, gone, a_folder)),
    (f"{STATE}/weights.safetensors", swapped("optimizer-rl.safetensors")),
    *((f"{STATE}/optimizer-rl.safetensors", damage) for damage in (cut, flipped, gone)),
    (f"{STATE}/optimizer-rl.safetensors", swapped("weights.safetensors")),
    *((f"{STATE}/state.json", damage) for damage in (*JSON, DEEP)),
    *((f"{STATE}/state.json", edited(step=value)) for value in ("2", None, -1, 1.5, True, 10**400, 1)),
    *((f"{STATE}/state.json", edited(metrics_lines=value)) for value in ("2", -1, 10**400, ...)),
    *((f"{STATE}/state.json", edited(phase=value)) for value in (None, -1, 1, 7)),
    *((f"{STATE}/state.json", edited(problems_taken=value)) for value in ("x", -1)),
    *((f"{STATE}/state.json", edited(phase_begun=value)) for value in (0, "yes", False)),
    *((f"{STATE}/state.json", edited(policy_version=value)) for value in (-3, [])),
    *((f"{STATE}/state.json", edited(sha256=value)) for value in (..., None, [], "x", {}, {"../../../run.json": "0"})),
    *((f"{STATE}/state.json", edited(phase_start=value)) for value in (..., [], {"seconds": 1})),
    (f"{STATE}/state.json", edited(surprise=1)),
    *(("metrics.jsonl", damage) for damage in (a_folder, binary, says("hello\n" * 9), says("[]\n" * 9))),
]
"""What is needed to go on with a run."""

INSIDE: list[tuple[str, Damage]] = [
    *((f"{BEGUN}/phase_start.safetensors", damage) for damage in (cut, flipped, gone)),
    *((f"{BEGUN}/state.json", edited(phase_start=value)) for value in (..., None, 3, {})),
    *((f"{BEGUN}/state.json", edited(phase_start=start(**{name: "x"}))) for name in start()),
    (f"{BEGUN}/state.json", edited(phase_begun=False)),
    (f"{BEGUN}/state.json", edited(phase_begun=False, phase_start=None)),
    (f"{BEGUN}/state.json", edited(phase=1)),
]
"""The same of a checkpoint inside a phase."""

TOLD: list[tuple[str, Damage]] = [
    *(("evals/step-000002.json", damage) for damage in (*JSON[:2], *JSON[3:])),
    *(("evals/step-000002.json", edited(**{name: ...})) for name in ("avg", "pass_at", "greedy_logp")),
    *(("evals/step-000002.json", edited(**{name: "x"})) for name in ("avg", "pass_at", "greedy_logp")),
    ("evals/step-000000.json", edited(pass_at={})),
    *(
        ("journal.jsonl", damage)
        for damage in (binary, a_folder, says("[]\n"), says("hello\n"), says("[" * 100_000 + "\n"))
    ),
    *(
        ("journal.jsonl", damage)
        for damage in (lines("first line lost", lambda all_: all_[1:]), lines("twice", lambda all_: [*all_, *all_]))
    ),
    ("journal.jsonl", says('{"seq": 0, "event": 3}\n')),
    ("journal.jsonl", lines("no seconds", lambda all_: [each.replace(b'"seconds"', b'"s"') for each in all_])),
    ("journal.jsonl", lines("no kl_moved", lambda all_: [each.replace(b'"kl_moved"', b'"k"') for each in all_])),
    *(("run.json", damage) for damage in (*JSON[:2], *JSON[3:], DEEP)),
]
"""What a finished run tells of itself when it is asked again by ``train --resume``."""

READ: list[tuple[str, str, Damage]] = [
    *(("score", "evals/step-000002.parquet", damage) for damage in (cut, emptied, zeroed, gone, binary, a_folder)),
    ("score", "evals/step-000002.parquet", swapped("step-000002.json")),
    *(("compare", "evals/step-000002.parquet", damage) for damage in (cut, gone)),
    *(("select", "rollouts/step-000001.parquet", damage) for damage in (cut, emptied, zeroed, binary, a_folder)),
    *(
        ("select", "run.json", damage)
        for damage in (cut, says("[]"), DEEP, edited(recipe=3), edited(recipe={"prompt": 3}))
    ),
]
"""What other commands read of a run."""

MODEL: list[tuple[str, Damage]] = [
    *(("config.json", damage) for damage in (*JSON, says("{}"), DEEP)),
    *(("config.json", edited(model_type=value)) for value in (..., "nope", 3)),
    *(("config.json", edited(hidden_size=value)) for value in ("x", -1, 0, 7, 95)),
    *(("config.json", edited(num_hidden_layers=value)) for value in (None, 4)),
    *(("config.json", edited(vocab_size=value)) for value in (1, "many")),
    ("config.json", edited(architectures=["BertModel"], model_type="bert")),
    *(("model.safetensors", damage) for damage in (cut, emptied, zeroed, gone, a_folder, binary)),
    *(("tokenizer.json", damage) for damage in (*JSON, says("{}"), DEEP)),
    *(("tokenizer.json", edited(**{name: ...})) for name in ("model",)),
    ("tokenizer.json", edited(model={"type": "BPE", "vocab": 3, "merges": []})),
    *(("tokenizer_config.json", damage) for damage in (cut, binary, says("[]"))),
]
"""A model folder. What is missing may not be made up at random."""

CASES = [
    *((place, damage.__name__) for place, damage in [*NEEDED, *INSIDE, *TOLD, *MODEL]),
    *((c, p, d.__name__) for c, p, d in READ),
]


def named(value: object) -> str:
    return getattr(value, "__name__", str(value))


def told(directory: RunDirectory) -> None:
    """Everything that a run which is asked again is read for."""
    assert directory.info
    arm_result("arm", RECIPE, directory)


def one_sentence(error: pytest.ExceptionInfo[RunError], place: str) -> str:
    message = str(error.value)
    assert Path(place).name in message, message
    assert len(message) <= LONGEST_MESSAGE
    assert message.isprintable()
    return message


def optimizers_of(run: Run) -> Optimizers:
    return Optimizers(torch.optim.AdamW([weight for _, weight in run.policy.trainable()]))


@pytest.mark.parametrize(("place", "damage"), NEEDED, ids=named)
def test_a_run_to_be_resumed(copy: Run, place: str, damage: Damage) -> None:
    damage(copy.directory.path / place)
    with untouched(copy.directory.path), pytest.raises(RunError) as error:
        resume(copy, optimizers_of(copy))
    message = one_sentence(error, place)
    offer = f"Checkpoint step-000001 is whole: move step-000002 out of {copy.directory.checkpoints.folder}"
    assert (offer in message) == place.startswith(STATE), message


@pytest.mark.parametrize(("place", "damage"), INSIDE, ids=named)
def test_a_checkpoint_inside_a_phase(copy: Run, place: str, damage: Damage) -> None:
    restore(copy, optimizers_of(copy), 1)
    damage(copy.directory.path / place)
    with untouched(copy.directory.path), pytest.raises(RunError) as error:
        restore(copy, optimizers_of(copy), 1)
    one_sentence(error, place)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_no_such_value_is_named(copy: Run, name: str) -> None:
    path = copy.directory.path / STATE / "state.json"
    whole = path.read_bytes()
    for value in (..., "surprise"):
        path.write_bytes(whole)
        edited(**{name: value})(path)
        with pytest.raises(RunError, match=rf"state\.json cannot be resumed from, .*: .*\b{name}\b"):
            restore(copy, optimizers_of(copy), 2)


def test_a_checkpoint_of_another_step(copy: Run) -> None:
    checkpoints = copy.directory.checkpoints
    shutil.rmtree(checkpoints.path(2))
    checkpoints.path(1).rename(checkpoints.path(2))
    with pytest.raises(RunError, match=r"step-000002/state/state\.json .*: step is 1, and after step 2 it is 2\."):
        restore(copy, optimizers_of(copy), 2)


def test_a_plausible_edit_of_state_json(copy: Run) -> None:
    """Every number that is a possible one, but not the one that was written."""
    path = copy.directory.path / STATE / "state.json"
    whole = path.read_bytes()
    fields = json.loads(whole)
    for name in ("problems_taken", "policy_version", "metrics_lines"):
        path.write_bytes(whole)
        edited(**{name: fields[name] + 1})(path)
        with pytest.raises(RunError, match=r"state\.json cannot be resumed from, .*: its fields are not what was writ"):
            restore(copy, optimizers_of(copy), 2)
    path.write_text(json.dumps(fields))  # the same fields in another layout
    restore(copy, optimizers_of(copy), 2)


def test_weights_of_another_shape(copy: Run) -> None:
    """With the digests to match, as from a model that was exchanged."""
    path = copy.directory.path / STATE / "weights.safetensors"
    weights = load_file(path)
    name = min(weights)
    save_file(weights | {name: weights[name][:1].clone()}, path)
    state = path.parent / "state.json"
    fields = json.loads(state.read_text())
    fields["sha256"][path.name] = sha256_of(path)
    fields["sha256"]["state.json"] = digest_of(fields)
    edited(**fields)(state)
    with pytest.raises(RunError, match=rf"step-000002/state cannot .*: {name} has shape \(1, "):
        restore(copy, optimizers_of(copy), 2)


@pytest.mark.parametrize(("place", "damage"), TOLD, ids=named)
def test_a_finished_run_asked_again(copy: Run, place: str, damage: Damage) -> None:
    damage(copy.directory.path / place)
    with untouched(copy.directory.path), pytest.raises(RunError) as error:
        told(copy.directory)
    one_sentence(error, place)


@pytest.mark.parametrize(("command", "place", "damage"), READ, ids=named)
def test_a_run_read_by_others(copy: Run, tmp_path: Path, command: str, place: str, damage: Damage) -> None:
    finished = copy.directory.path
    damage(finished / place)
    rest = {"select": ["--out", str(tmp_path / "out"), "--pool", "any"], "compare": [str(finished)]}
    sentence = refused(tmp_path, command, str(finished), *rest.get(command, []), codes=(1, 2))
    assert Path(place).name in sentence, sentence


@pytest.mark.parametrize(("place", "damage"), MODEL, ids=named)
def test_models(tmp_path: Path, place: str, damage: Damage) -> None:
    model = tmp_path / "model"
    shutil.copytree(embedded_model_path(), model)
    damage(model / place)
    out = tmp_path / "out"
    sentence = refused(
        tmp_path,
        "eval",
        str(model),
        "--task",
        "countdown",
        "--limit",
        "1",
        "--n",
        "1",
        "--max-tokens",
        "2",
        "--out",
        str(out),
    )
    assert str(model) in sentence


def test_runs_without_what_makes_them_runs(copy: Run, tmp_path: Path) -> None:
    run = str(copy.directory.path)
    for folder in ("checkpoints", "evals", "rollouts"):
        shutil.rmtree(copy.directory.path / folder)
    assert "checkpoint" in refused(tmp_path, "eval", run, "--out", str(tmp_path / "out"), "--task", "countdown")
    assert run in refused(tmp_path, "score", run)
    assert run in refused(tmp_path, "select", run, "--out", str(tmp_path / "out"))
