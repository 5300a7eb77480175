"""Two processes against one: the same rollouts, gradients, weights and files, and one end for all."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import two_processes
from same_runs import assert_close, assert_same_run
from unsqueeze.distributed.join import Place, place_in
from unsqueeze.distributed.launch import run_processes
from unsqueeze.distributed.processes import ONE
from unsqueeze.distributed.sharing import dealt_back, speaking_for_all
from unsqueeze.errors import RunError, UserError
from unsqueeze.policy.batch import own_microbatches, shares
from unsqueeze.store.best import best_checkpoint
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training.state import Cursor

pytestmark = pytest.mark.usefixtures("judged_by_hash")

WORKER = [sys.executable, str(Path(two_processes.__file__))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def alone(folder: Path) -> tuple[dict[str, Any], Path]:
    """What one process finds, and where its run is."""
    return two_processes.everything("ddp", folder / "one", ONE), folder / "one/run"


@pytest.fixture(scope="module")
def two(folder: Path) -> dict[str, tuple[list[Any], Path]]:
    """By strategy, what each of two processes finds, and where their run is; they have also run the relay."""
    for strategy in ("fsdp", "ddp"):
        (folder / strategy).mkdir()
    assert run_processes([*WORKER, str(folder)], 2) == 0
    return {
        strategy: (
            [torch.load(folder / strategy / f"found-{rank}.pt", weights_only=False) for rank in range(2)],
            folder / strategy / "run",
        )
        for strategy in ("fsdp", "ddp")
    }


@pytest.fixture(params=["fsdp", "ddp"])
def together(request: pytest.FixtureRequest, two: dict[str, tuple[list[Any], Path]]) -> tuple[list[Any], Path]:
    return two[request.param]


def test_a_run_goes_on_with_any_number_of_processes(alone, two, folder: Path):
    """From two to one to two, and from FSDP2 to plain training: the same run, to rounding."""
    assert_same_run(alone[1], folder / "relay")
    events = [event["event"] for event in RunDirectory.open(folder / "relay").journal.read()]
    assert [event for event in events if event in ("started", "resumed", "interrupted", "finished")] == [
        *("started", "interrupted", "resumed", "interrupted", "resumed", "finished")
    ]


def test_gradients_and_weights_equal_those_of_one_process(alone, together):
    one, _ = alone
    for found in together[0]:
        for count in (11, 1):
            assert_close(found[f"gradient of {count} rows"], one[f"gradient of {count} rows"])
            assert found[f"result of {count} rows"] == pytest.approx(one[f"result of {count} rows"], rel=2e-6, abs=1e-6)
        assert_close(found["after IRL"], one["after IRL"])
        for ours, theirs in zip(found["log-probs"], one["log-probs"], strict=True):
            assert np.allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["lora", "checkpointing"])
def test_adapters_and_recomputing_are_those_of_one_process(alone, together, name: str):
    one, _ = alone
    for found in together[0]:
        for what in ("gradient", "after IRL", "exported"):
            assert_close(found[f"{name}: {what}"], one[f"{name}: {what}"])
    assert any(gradient.abs().max() > 1e-3 for gradient in one[f"{name}: gradient"].values())


def test_bf16_is_that_of_one_process_to_its_rounding(alone, together):
    """A gradient goes through about 40 products (3 layers of 7, there and back), each rounded by up to 2^-9 of itself.

    Roundings of random sign add up to √40 · 2^-9 < 2^-6 of its norm. Adam's steps divide by the gradient, and take a
    weight whose gradient is all rounding anywhere: as a whole they stay close.
    """
    one, _ = alone
    for found in together[0]:
        assert distance(found["bf16: gradient"], one["bf16: gradient"]) < 2**-6
        assert distance(found["bf16: gradient"], one["gradient of 11 rows"]) > 1e-5  # it was not computed in fp32
        ours, theirs = (moved(each["bf16: after IRL"], each["bf16: before IRL"]) for each in (found, one))
        assert distance(ours, theirs) < 0.1


@pytest.mark.parametrize("name", list(two_processes.VARIANTS))
def test_no_ratio_is_clipped_before_weights_move(alone, together, name: str):
    for found in (alone[0], *together[0]):
        for metrics in found[f"{name}: ratios"]:
            assert (metrics["ratio_mean"], metrics["clip_low_share"], metrics["clip_high_share"]) == (1.0, 0.0, 0.0)


def moved(after: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: after[name] - before[name] for name in after}


def distance(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    """|ours - theirs| / |theirs|, over all tensors together."""
    squares = [[(ours[name] - theirs[name]).square().sum(), theirs[name].square().sum()] for name in theirs]
    apart, size = torch.tensor(squares, dtype=torch.float64).sum(dim=0).sqrt().tolist()
    return float(apart / size)


@pytest.mark.parametrize("name", list(two_processes.VARIANTS))
def test_the_saved_policy_is_a_plain_model_of_the_weights_learned(together, name: str):
    from safetensors.torch import load_file

    exported = together[0][0][f"{name}: exported"]
    saved = load_file(together[1].parent / name / "model.safetensors")
    assert saved.keys() <= exported.keys()
    assert not any("lora" in key for key in saved)
    assert_close(saved, {key: exported[key] for key in saved})


def test_the_best_checkpoint_is_the_same_and_stays(alone, together, folder: Path):
    """After steps 1, 2 and 3, of which the last one and the best stay; also where one process went on with the run."""
    one = RunDirectory.open(alone[1])
    best = best_checkpoint(one)
    assert best is not None
    assert one.checkpoints.steps() == sorted({best.step, 3}) != [1, 2, 3]
    for path in (together[1], folder / "relay"):
        run = RunDirectory.open(path)
        assert best_checkpoint(run) == best
        assert run.checkpoints.steps() == one.checkpoints.steps()
        assert run.validation.steps() == [1, 2, 3]
        for step in (1, 2, 3):
            assert run.validation.summary(step).avg == one.validation.summary(step).avg


def test_both_processes_hold_the_same_weights(together):
    ours, theirs = together[0]
    for name, weight in ours["after IRL"].items():
        assert torch.equal(weight, theirs["after IRL"][name])


def test_a_whole_run_is_that_of_one_process(alone, together):
    assert_same_run(alone[1], together[1])
    assert RunDirectory.open(together[1]).info["processes"] == 2


def test_what_is_chosen_among_all_rows_is_that_of_one_process(alone, together):
    assert_same_run(alone[1].with_name("rivals"), together[1].with_name("rivals"))
    steps = RunDirectory.open(together[1].with_name("rivals")).metrics.read()
    assert sum(record.get("num_held_back", 0) for record in steps) > 0
    assert any(record.get("num_base_rows") for record in steps)


@pytest.mark.parametrize("run", ["run", "rivals"])
def test_checkpoints_are_those_of_one_process(alone, together, run: str):
    from safetensors.torch import load_file

    one, two = (RunDirectory.open(path.with_name(run)).checkpoints for path in (alone[1], together[1]))
    assert one.steps() == two.steps()
    for step in one.steps():
        ours, theirs = one.path(step), two.path(step)
        names = sorted(str(path.relative_to(ours)) for path in ours.rglob("*") if path.is_file())
        assert names == sorted(str(path.relative_to(theirs)) for path in theirs.rglob("*") if path.is_file())
        for name in names:
            if name.endswith(".safetensors"):
                assert_close(load_file(theirs / name), load_file(ours / name), atol=5e-6)
        states = [json.loads((path / "state/state.json").read_text()) for path in (ours, theirs)]
        for name in Cursor.__dataclass_fields__:
            assert states[0][name] == states[1][name]


def test_one_process_speaks_for_all(together):
    for found in together[0]:
        assert found["agreement"] == {
            "sum": [2.0, 1.0],
            "main alone": "RunError: the disk is full",
            "one": "UserError: of process 1",
            "stop": "Interrupted: ",
            "asked one": True,
        }


# --- the parts ---------------------------------------------------------------------------------------------------


def test_shares_hold_every_row_once_and_weigh_about_the_same():
    rows = two_processes.rows(31)
    dealt = shares(rows, 4)
    assert sorted(i for share in dealt for i in share) == list(range(31))
    tokens = [sum(rows[i].num_tokens for i in share) for share in dealt]
    assert max(tokens) - min(tokens) <= max(row.num_tokens for row in rows)


@pytest.mark.parametrize("share_prompts", [False, True])
@pytest.mark.parametrize(("count", "size"), [(0, 2), (1, 2), (7, 3), (40, 4)])
def test_processes_get_as_many_microbatches_and_every_row_once(count: int, size: int, share_prompts: bool):
    rows = two_processes.rows(count)

    class One:
        def __init__(self, rank: int) -> None:
            self.rank, self.size = rank, size

    of_each = [
        own_microbatches(rows, One(rank), max_tokens=60, share_prompts=share_prompts)  # type: ignore[arg-type]
        for rank in range(size)
    ]
    assert len({len(batches) for batches in of_each}) == 1
    assert sorted(i for batches in of_each for batch in batches for i in batch) == list(range(count))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_is_dealt_by_turns_comes_back_in_order(size: int):
    things = list(range(7))
    assert dealt_back([things[rank::size] for rank in range(size)]) == things


def test_progress_of_a_share_is_told_as_that_of_all():
    told: list[int] = []
    finished = speaking_for_all(told.append, 6, 11)
    for _ in range(3):
        finished(2)
    assert sum(told) == 11
    assert told[0] == 3


MEETING = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, None),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", **MEETING}, Place(3, 8, 1)),
        # Inside a batch script, where no step has been started, Slurm sets these two alone.
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, None),
        ({"SLURM_PROCID": "5", "SLURM_STEP_NUM_TASKS": "8", "SLURM_LOCALID": "2", **MEETING}, Place(5, 8, 2)),
        # torchrun inside a step of one task a node: torchrun's word counts.
        (
            {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1"}
            | MEETING,
            Place(9, 16, 1),
        ),
    ],
)
def test_the_environment_says_which_place_a_process_has(environment: dict[str, str], place: Place | None):
    assert place_in(environment) == place


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"RANK": "8", "WORLD_SIZE": "8", **MEETING}, "RANK=8"),
        ({"RANK": "x", "WORLD_SIZE": "8", **MEETING}, "RANK=x"),
        ({"RANK": "1", "WORLD_SIZE": "8"}, "MASTER_ADDR and MASTER_PORT"),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "MASTER_ADDR": "node1"}, "MASTER_PORT"),
    ],
)
def test_an_environment_without_sense_is_refused(environment: dict[str, str], says: str):
    with pytest.raises(UserError, match=says):
        place_in(environment)


def test_a_process_killed_by_a_signal_is_named():
    suicide = (
        "import os, signal, time; time.sleep(9 * (os.environ['RANK'] == '0')); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with pytest.raises(RunError, match="process 1 of 2 was killed by SIGKILL"):
        run_processes([sys.executable, "-c", suicide], 2)


def test_the_exit_code_is_that_of_the_process_that_failed():
    code = "import os, sys; sys.exit(2 * int(os.environ['RANK']))"
    assert run_processes([sys.executable, "-c", code], 2) == 2


def test_processes_get_the_command_as_it_is_and_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = dict(os.environ)
    argument = "$$x$$ ${local_rank} $"  # the agent of torchrun replaces such things
    code = f"import sys; sys.exit(sys.argv[1] != {argument!r})"
    assert run_processes([sys.executable, "-c", code, argument], 2) == 0
    assert dict(os.environ) == before
    assert not list(tmp_path.iterdir())


def test_a_process_that_does_not_end_when_asked_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("unsqueeze.distributed.agent.GRACE_S", 1)
    woken = tmp_path / "woken"
    deaf = (
        "import os, pathlib, signal, time; signal.signal(15, signal.SIG_IGN);"
        f"os.environ['RANK'] == '0' and (time.sleep(200), pathlib.Path({str(woken)!r}).touch())"
    )
    assert run_processes([sys.executable, "-c", f"{deaf}; raise SystemExit(3)"], 2) == 3
    assert not woken.exists()


def launched(path: Path) -> list[str]:
    return ["-m", "--", "unsqueeze", "train", "smoke", "--run", str(path)]


def check_one_run_of_two(path: Path) -> None:
    directory = RunDirectory.open(path)
    assert directory.info["processes"] == 2
    assert [event["event"] for event in directory.journal.read()].count("finished") == 1
    assert len(directory.metrics.read()) == 4  # two RL steps, two IRL updates: each told once


@pytest.mark.slow
def test_torchrun(tmp_path: Path):
    """The line of docs/distributed.md; ``--`` keeps torchrun from taking our options for its own."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*command, *launched(tmp_path / "run")], check=True, timeout=600)
    check_one_run_of_two(tmp_path / "run")


@pytest.mark.slow
def test_the_environment_of_srun(tmp_path: Path):
    """What srun sets for each of two tasks, without srun."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = os.environ | {"SLURM_STEP_NUM_TASKS": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-m", "unsqueeze", "train", "smoke", "--run", str(tmp_path / "run")]
    tasks = [
        subprocess.Popen(command, env=shared | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank}) for rank in ("0", "1")
    ]
    assert [task.wait(timeout=600) for task in tasks] == [0, 0]
    check_one_run_of_two(tmp_path / "run")
