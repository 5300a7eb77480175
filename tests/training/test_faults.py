"""Every row of the table in ``docs/reliability.md``: one clear message, a consistent directory, and a way to go on."""

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import AutoTokenizer

import unsqueeze as uq
from lives import Told, differences, live, tiny_recipe
from unsqueeze.cli.progress import TerminalProgress
from unsqueeze.device_errors import device_errors
from unsqueeze.errors import RunError, UserError
from unsqueeze.policy import policy
from unsqueeze.progress import Interrupted, StopRequest
from unsqueeze.rollout import hf, queue
from unsqueeze.store.demos import DemoWriter
from unsqueeze.store.evals import EvalWriter
from unsqueeze.store.journal import Journal
from unsqueeze.store.records import write_record
from unsqueeze.store.rollouts import RolloutWriter
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training import checkpoint, demonstrations, loop, rl_step
from unsqueeze.training.state import save_policy
from unsqueeze.verify.countdown import CountdownVerifier
from unsqueeze.verify.verdict import Judgement, Verdict

pytestmark = pytest.mark.usefixtures("judged_by_hash")

RECIPE = tiny_recipe()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    live(RECIPE, path)
    return path


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run stopped inside its first phase, after step 2 of 4, with the rollouts of step 3 on disk but not learned."""
    path = tmp_path_factory.mktemp("runs") / "stopped"

    class Stop(StopRequest):
        def check(self) -> None:
            if (path / "rollouts" / "step-000003.parquet").exists():
                raise Interrupted

    with pytest.raises(Interrupted):
        live(RECIPE, path, Stop())
    assert RunDirectory.open(path).checkpoints.steps() == [1, 2]
    return path


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run, to damage."""
    return shutil.copytree(stopped, tmp_path / "run")


def unfinished(path: Path) -> list[Path]:
    return [entry for entry in path.rglob("*") if entry.name.endswith(".tmp")]


def last_event(path: Path) -> str:
    return str(RunDirectory.open(path).journal.read()[-1]["event"])


# --- the disk ----------------------------------------------------------------------------------------------------


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """The kernel refuses to let any file grow beyond ``size`` bytes: real failures, in whatever library writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("owner", "attribute", "refused"),
    [
        (EvalWriter, "add", "evals/step-000000.parts/000000.parquet"),
        (RolloutWriter, "write", "rollouts/step-000001.parquet"),
        pytest.param(DemoWriter, "write", "demos/irl-001.parquet", marks=pytest.mark.slow),
        (checkpoint, "save_policy", "checkpoints/.step-000001.tmp/policy"),
        (checkpoint, "save_state", "checkpoints/.step-000001.tmp/state"),
    ],
)
def test_a_file_that_cannot_be_written(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, attribute: str, refused: str
):
    path = tmp_path / "run"
    write = getattr(owner, attribute)

    def limited(*arguments, **keywords):
        with files_no_larger_than(1000):
            return write(*arguments, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(owner, attribute, limited)
        with pytest.raises(RunError, match=rf"cannot write .*{re.escape(refused)}.*File too large"):
            live(RECIPE, path)
    assert not unfinished(path)
    assert last_event(path) == "failed"
    live(RECIPE, path)
    assert differences(whole, path) == []


def test_a_run_whose_description_cannot_be_written(tmp_path: Path):
    with files_no_larger_than(1000), pytest.raises(RunError, match=r"cannot write .*run.json: File too large"):
        RunDirectory.create(tmp_path / "run", {"recipe": "x" * 2000})
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["lock"]


def test_a_tokenizer_that_cannot_be_written(tmp_path: Path, whole: Path):
    """Its library raises a bare Exception: 339 bytes of configuration fit, 3,485 of vocabulary do not."""
    tokenizer = AutoTokenizer.from_pretrained(whole / "checkpoints" / "step-000004" / "policy")
    policy = SimpleNamespace(save=lambda folder, dtype, weights: tokenizer.save_pretrained(folder))
    with files_no_larger_than(1000), pytest.raises(RunError, match=r"cannot write .*: File too large"):
        save_policy(tmp_path / "policy", policy, torch.float32)


@pytest.mark.parametrize("name", ["metrics.jsonl", "journal.jsonl"])
def test_a_full_disk_in_the_middle_of_a_line(whole: Path, run: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    write = os.write

    def half_then_full(descriptor: int, data: bytes) -> int:
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).name != name:
            return write(descriptor, data)
        if len(data) > 40:
            return write(descriptor, data[:40])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", half_then_full)
        with pytest.raises(RunError, match=rf"cannot write .*{name}: No space left on device"):
            live(RECIPE, run)
    assert (run / name).read_bytes().endswith(b"\n")
    live(RECIPE, run)
    assert differences(whole, run) == []


@contextmanager
def without_permission(folder: Path) -> Iterator[None]:
    """Inside ``folder``, as a user who may read but not write there; root, whom nothing stops, becomes nobody."""
    modes = {entry: entry.stat().st_mode for entry in (folder, *folder.rglob("*"))}
    here, user = Path.cwd(), os.geteuid()
    for entry, mode in modes.items():
        entry.chmod(mode & ~0o222 | 0o444 | (0o111 if entry.is_dir() else 0))
    os.chdir(folder)
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(user)
        os.chdir(here)
        for entry, mode in modes.items():
            entry.chmod(mode)


def test_a_directory_that_is_read_only(whole: Path, run: Path):
    with without_permission(run):
        with pytest.raises(RunError, match=r"cannot write lock: Permission denied"):
            RunDirectory.resume(Path())
        with pytest.raises(
            UserError, match=r"the run directory new cannot be made \(Permission denied\): name another"
        ):
            RunDirectory.create(Path("new"), {})
    live(RECIPE, run)
    assert differences(whole, run) == []


# --- two processes -----------------------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from unsqueeze.store.lock import RunLock
RunLock(Path(sys.argv[1]) / "lock").take()
print("held", flush=True)
time.sleep(600)
"""


def test_a_run_in_use_by_a_living_process(whole: Path, run: Path):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        with pytest.raises(UserError, match=rf"in use by process {other.pid} on .*; wait for that run to end, or name"):
            live(RECIPE, run)
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
        RunDirectory.open(run).journal.read()  # reading is free
        other.kill()
    live(RECIPE, run)
    assert differences(whole, run) == []


# --- numbers -----------------------------------------------------------------------------------------------------


def nan_loss(loss: torch.Tensor) -> torch.Tensor:
    return loss * float("nan")


def nan_gradient(loss: torch.Tensor) -> torch.Tensor:
    """The value stays; d sqrt(x²)/dx at 0 is 0/0."""
    return loss + (loss - loss.detach()).square().sqrt()


def infinite_loss(loss: torch.Tensor) -> torch.Tensor:
    return (loss.detach() + 1) / 0 + loss


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (nan_loss, "the loss is nan"),
        (nan_gradient, "the gradient norm nan"),
        pytest.param(infinite_loss, "the loss is inf", marks=pytest.mark.slow),
    ],
    ids=["loss", "gradient", "infinite"],
)
def test_a_loss_or_gradient_that_is_no_number(
    whole: Path, run: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[torch.Tensor], torch.Tensor], said: str
):
    true_loss = rl_step.surrogate_loss

    def spoilt(*arguments, **keywords):
        output = true_loss(*arguments, **keywords)
        return replace(output, loss=spoil(output.loss))

    with monkeypatch.context() as patched:
        patched.setattr(rl_step, "surrogate_loss", spoilt)
        with pytest.raises(RunError, match=rf"{said}.* the weights were left as they were"):
            live(RECIPE, run)
    assert [line["step"] for line in RunDirectory.open(run).metrics.read()] == [1, 2]
    assert last_event(run) == "failed"
    live(RECIPE, run)
    assert differences(whole, run) == []


@pytest.mark.parametrize(("good_steps", "what"), [(0, "the evaluation after step 0"), (1, "the rollouts of step 2")])
def test_a_verifier_that_judges_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good_steps: int, what: str
):
    path = tmp_path / "run"
    verify = CountdownVerifier.verify

    def failing(self, problems, texts):
        if good_steps and not (path / "rollouts" / "step-000001.parquet").exists():
            return verify(self, problems, texts)
        return [Judgement(Verdict.CRASHED, None, "gone") for _ in texts]

    with monkeypatch.context() as patched:
        patched.setattr(CountdownVerifier, "verify", failing)
        with pytest.raises(RunError, match=rf"of {what} not one could be judged \(\d+ crashed\)"):
            live(RECIPE, path)
    directory = RunDirectory.open(path)
    assert directory.evals.steps() == ([0] if good_steps else [])
    assert directory.rollouts.steps() == ([1] if good_steps else [])
    live(RECIPE, path)
    assert differences(whole, path) == []


# --- what the loop relies on dies ---------------------------------------------------------------------------------


def lose_the_weights(run: Any) -> None:
    with torch.no_grad():
        next(run.policy.trainable())[1].fill_(float("nan"))


def lose_the_device(run: Any) -> None:
    def dead(*_: Any, **__: Any) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    hf.decode = dead


def lose_the_verifier(run: Any) -> None:
    def dead(*_: Any, **__: Any) -> None:
        raise RunError("verify: the process that loads Math-Verify keeps failing: it exited with 1")

    CountdownVerifier.verify = dead


@pytest.mark.parametrize(
    ("lose", "said"),
    [
        (lose_the_weights, "logits are not finite .* start from an earlier checkpoint"),
        pytest.param(lose_the_device, r"the device failed while generating .*launch failure", marks=pytest.mark.slow),
        pytest.param(lose_the_verifier, "keeps failing", marks=pytest.mark.slow),
    ],
)
def test_a_part_that_dies(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lose: Callable[[Any], None], said: str
):
    """After the second step of four, from one moment to the next."""
    path = tmp_path / "run"
    step = loop.rl_step

    def last_good(run, optimizer, reference, batch, *others):
        following = step(run, optimizer, reference, batch, *others)
        if batch.step == 2:
            lose(run)
        return following

    with monkeypatch.context() as patched:
        patched.setattr(hf, "decode", hf.decode)  # put back what ``lose`` takes away
        patched.setattr(CountdownVerifier, "verify", CountdownVerifier.verify)
        patched.setattr(loop, "rl_step", last_good)
        with pytest.raises(RunError, match=said):
            live(RECIPE, path)
    assert last_event(path) == "failed"
    assert RunDirectory.open(path).rollouts.steps() == [1, 2]
    if lose is lose_the_weights:
        shutil.rmtree(path / "checkpoints" / "step-000002")  # the weights were lost before they were saved
    live(RECIPE, path)
    assert differences(whole, path) == []


# --- memory ------------------------------------------------------------------------------------------------------


def allocate_too_much(*_: Any, **__: Any) -> None:
    """More than any machine has: what PyTorch's own allocator says."""
    torch.empty(1 << 60, dtype=torch.uint8)


def run_out_on_a_gpu(*_: Any, **__: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 1 GiB.")


def run_out_in_python(*_: Any, **__: Any) -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("stage", "owner", "attribute", "fault", "said", "cure"),
    [
        ("evaluate_policy", hf, "decode", run_out_on_a_gpu, "generating 256 .*CUDA out", {"rollout": {"max_rows": 3}}),
        ("generate", queue, "prefill", allocate_too_much, "generating 256 .*allocate", {"rollout": {"max_rows": 3}}),
        ("rl_step", policy, "collate", allocate_too_much, "gradients", {"rl": {"tokens_per_microbatch": 60}}),
        ("irl_phase", policy, "collate", run_out_on_a_gpu, "gradients", {"rl": {"tokens_per_microbatch": 60}}),
        pytest.param(
            *("finish_phase", policy, "collate", allocate_too_much, "log-probs", {"rl": {"tokens_per_microbatch": 60}}),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("choose_demonstrations", demonstrations, "choose_from", run_out_in_python, "training", {}),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_out_of_memory(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    owner: Any,
    attribute: str,
    fault: Callable[..., None],
    said: str,
    cure: dict[str, Any],
):
    """The message names the setting, and with that setting lowered the run goes on."""
    path = tmp_path / "run"
    work = getattr(loop, stage)

    def without_memory(*arguments, **keywords):
        with monkeypatch.context() as inner:
            inner.setattr(owner, attribute, fault)
            return work(*arguments, **keywords)

    with monkeypatch.context() as patched:
        patched.setattr(loop, stage, without_memory)
        with pytest.raises(RunError, match=f"out of memory while .*{said}") as caught:
            live(RECIPE, path)
    assert all(f"{section}.{name}" in str(caught.value) for section, values in cure.items() for name in values)
    assert last_event(path) == "failed"
    live(tiny_recipe(**cure), path)
    # Sums in other pieces may round otherwise; nothing is missing and nothing was made twice.
    may_round = {"metrics", "checkpoints", "samples of evaluations", "summaries", "demonstrations", "rollouts"}
    assert set(differences(whole, path)) <= (may_round if cure else set())


def test_other_errors_of_pytorch_are_not_taken_for_memory():
    with pytest.raises(RuntimeError, match="shape") as caught, device_errors("adding", "Lower it."):
        torch.zeros(2).view(3)
    assert not isinstance(caught.value, RunError)


def test_a_device_that_fails():
    said = r"the device failed while adding \(CUDA error: an illegal .* new process"
    with pytest.raises(RunError, match=said), device_errors("adding", "Lower it."):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")


# --- signals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGINT, signal.SIGINT]], ids=["SIGTERM", "Ctrl-C", "twice"]
)
def test_signals(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signals: list[int]
):
    path = tmp_path / "run"
    step = loop.rl_step

    def interrupted(run, optimizer, reference, batch, *others):
        if batch.step == 2:
            for number in signals:
                os.kill(os.getpid(), number)
        return step(run, optimizer, reference, batch, *others)

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(loop, "rl_step", interrupted)
        with TerminalProgress(Console()) as progress, pytest.raises(Interrupted):
            uq.train(RECIPE, run=path, progress=progress)
    assert signal.getsignal(signal.SIGINT) is handler
    out = capsys.readouterr().out
    assert "stopped as asked" in out
    assert "--resume" in out
    assert last_event(path) == "interrupted"
    # Asked once, it finishes the step it is in; asked twice, it does not.
    assert len(RunDirectory.open(path).metrics.read()) == (2 if len(signals) == 1 else 1)
    live(RECIPE, path)
    assert differences(whole, path) == []


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_second_ctrl_c_while_a_line_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append("started")
    write = os.write

    def interrupted(descriptor: int, data: bytes) -> int:
        if at == "after":
            write(descriptor, data)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            journal.append("evaluated")
    journal.append("interrupted")
    journal.close()
    events = [event["event"] for event in journal.read()]
    assert events == (["started", "interrupted"] if at == "before" else ["started", "evaluated", "interrupted"])


# --- damaged files -----------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """One bit, in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flip_in_page(path: Path) -> None:
    """One bit of the frame that the first page of a Parquet file is compressed in."""
    data = bytearray(path.read_bytes())
    data[data.index(ZSTD_MAGIC)] ^= 1
    path.write_bytes(data)


ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("weights.safetensors", cut),
        pytest.param("weights.safetensors", flip, marks=pytest.mark.slow),
        ("optimizer-rl.safetensors", flip),
        pytest.param("phase_start.safetensors", Path.unlink, marks=pytest.mark.slow),
        pytest.param("state.json", cut, marks=pytest.mark.slow),
        ("state.json", Path.unlink),
    ],
)
def test_a_damaged_checkpoint(whole: Path, run: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]):
    damage(run / "checkpoints" / "step-000002" / "state" / name)
    with pytest.raises(RunError) as caught:
        live(RECIPE, run)
    message = str(caught.value)
    assert str(run / "checkpoints" / "step-000002" / "state") in message
    assert f"Checkpoint step-000001 is whole: move step-000002 out of {run / 'checkpoints'}" in message
    (run / "checkpoints" / "step-000002").rename(tmp_path / "aside")
    live(RECIPE, run)
    assert differences(whole, run) == []


def test_no_checkpoint_is_whole(whole: Path, run: Path, tmp_path: Path):
    for step in (1, 2):
        cut(run / "checkpoints" / f"step-{step:06d}" / "state" / "weights.safetensors")
    with pytest.raises(
        RunError, match=rf"move all that is in {run / 'checkpoints'} elsewhere, and the resumed run repeats"
    ):
        live(RECIPE, run)
    (run / "checkpoints").rename(tmp_path / "aside")
    live(RECIPE, run)
    assert differences(whole, run) == []


@pytest.mark.parametrize(
    ("step", "damage"),
    [
        (3, cut),
        pytest.param(2, cut, marks=pytest.mark.slow),
        (2, flip_in_page),
        pytest.param(2, Path.unlink, marks=pytest.mark.slow),
        (1, cut),
    ],
)
def test_damaged_rollouts(whole: Path, run: Path, tmp_path: Path, step: int, damage: Callable[[Path], None]):
    path = run / "rollouts" / f"step-{step:06d}.parquet"
    damage(path)
    with pytest.raises(RunError) as caught:
        live(RECIPE, run)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "a resumed run makes it again" in message
    # Step 3 is not learned from yet. The others are behind checkpoints: those from that step on go as well.
    assert ("step-000001 is whole: move step-000002" in message) == (step == 2)
    assert ("move all that is in" in message) == (step == 1)
    path.unlink(missing_ok=True)
    for later in range(step, 3):
        shutil.rmtree(run / "checkpoints" / f"step-{later:06d}")
    live(RECIPE, run)
    assert differences(whole, run) == []


def test_damaged_metrics(whole: Path, run: Path, tmp_path: Path):
    """A line before the last checkpoint is broken: without the file the run goes on, and says what is lost."""
    metrics = run / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(lines[0] + b'{"kind": \x00\n')
    with pytest.raises(RunError, match=r"metrics.jsonl, line 2: not a JSON object .*: move it out of the run directo"):
        live(RECIPE, run)
    metrics.rename(tmp_path / "aside")
    told = Told()
    live(RECIPE, run, shown=told)
    assert any(f"{metrics} has 0 of the 2 lines that were written up to step 2" in text for text in told.warnings)
    assert differences(whole, run) == ["metrics", "checkpoints"]  # which count the lines
    steps = [line["step"] for line in RunDirectory.open(whole).metrics.read()]
    assert [line["step"] for line in RunDirectory.open(run).metrics.read()] == steps[2:]


def test_lost_metrics_and_an_older_checkpoint(whole: Path, run: Path):
    """Lines are cut back by what they are of, not by their number, which a lost file has made another."""
    (run / "metrics.jsonl").unlink()
    live(RECIPE, run)
    for step in (4, 3):
        shutil.rmtree(run / "checkpoints" / f"step-{step:06d}")
    for store in ("evals", "validation"):
        for path in (run / store).glob("step-000004*"):
            path.unlink()
    journal = run / "journal.jsonl"
    journal.rename(run.parent / "journal.jsonl")
    live(RECIPE, run)
    steps = [(line["phase"], line["step"]) for line in RunDirectory.open(run).metrics.read()]
    assert steps == [(line["phase"], line["step"]) for line in RunDirectory.open(whole).metrics.read()][2:]


def test_a_damaged_summary_is_made_again(whole: Path, run: Path):
    """Of the evaluation before training, and of the one that a run ended with."""
    live(RECIPE, run)
    for step in (0, 4):
        flip(run / "evals" / f"step-{step:06d}.json")
    told = Told()
    live(RECIPE, run, shown=told)
    assert sum("It was made again from the samples beside it" in text for text in told.warnings) == 2
    for step in (0, 4):
        ours, theirs = RunDirectory.open(whole).evals.summary(step), RunDirectory.open(run).evals.summary(step)
        assert theirs == ours
    assert len(list((run / "evals").glob("*.json.damaged"))) == 2


def test_a_lost_evaluation_is_made_again(whole: Path, run: Path):
    """Samples and all, of the evaluation before training though the run is past it, and of the last."""
    for path in (run / "evals").glob("step-000000*"):
        path.unlink()
    live(RECIPE, run)
    assert differences(whole, run) == []
    for path in (run / "evals").glob("step-000004*"):
        path.unlink()
    live(RECIPE, run)
    assert differences(whole, run) == []


def test_what_training_no_longer_needs_is_said(whole: Path, run: Path):
    """Rollouts and demonstrations of phases that are done, an exported policy."""
    live(RECIPE, run)
    (run / "rollouts" / "step-000001.parquet").unlink()
    flip(run / "demos" / "irl-001.parquet")
    flip(run / "checkpoints" / "step-000001" / "policy" / "model.safetensors")
    told = Told()
    live(RECIPE, run, shown=told)
    for words in (
        "step-000001.parquet: it does not exist",
        "irl-001.parquet: it is not what was written",
        "policy: 'model.safetensors' is not what was written",
    ):
        assert any(words in text for text in told.warnings), told.warnings


def test_the_last_exported_policy_is_written_again(whole: Path, run: Path):
    policy = run / "checkpoints" / "step-000002" / "policy"
    flip(policy / "model.safetensors")
    live(RECIPE, run)
    assert (policy.parent / "policy.damaged").is_dir()
    shutil.rmtree(policy.parent / "policy.damaged")
    assert differences(whole, run) == []


def test_another_machine_is_said(whole: Path, run: Path):
    info = RunDirectory.open(run).info
    write_record(run / "run.json", info | {"threads": 7, "versions": info["versions"] | {"torch": "1.0"}}, replace=True)
    told = Told()
    live(RECIPE, run, shown=told)
    assert any("threads 7, now 1; versions.torch 1.0, now " in text for text in told.warnings)
    resumed = next(event for event in RunDirectory.open(run).journal.read() if event["event"] == "resumed")
    assert resumed["machine"]["threads"] == [7, 1]


def test_a_damaged_journal(whole: Path, run: Path):
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (run / "journal.jsonl").write_bytes(b"".join([lines[0], *lines[2:]]))
    with pytest.raises(RunError, match=r"journal.jsonl, line 2: .*move it out of the run directory"):
        live(RECIPE, run)
    (run / "journal.jsonl").unlink()
    live(RECIPE, run)
    assert differences(whole, run) == []


def test_a_damaged_description(run: Path):
    cut(run / "run.json")
    with pytest.raises(RunError, match=r"run.json cannot be read.*put a copy of it back, or start again"):
        live(RECIPE, run)


@pytest.mark.parametrize("name", ["metrics.jsonl", "journal.jsonl"])
def test_a_torn_last_line_is_no_damage(whole: Path, run: Path, name: str):
    with (run / name).open("ab") as file:
        file.write(b'{"kind": "rl", "st')
    live(RECIPE, run)
    assert differences(whole, run) == []
