"""``unsqueeze train --processes 2`` as a user meets it: wishes to stop and mistakes, each told once, and no orphans."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml

from lives import live
from same_runs import assert_same_run
from small_runs import small_recipe
from unsqueeze.distributed.agent import Agent
from unsqueeze.distributed.launch import run_processes
from unsqueeze.store.run_directory import RunDirectory

RECIPE = small_recipe(
    rl={"steps": 6, "learning_rate": 5e-5, "tokens_per_microbatch": 150},
    irl={"learning_rate": 5e-5},
    data={"num_test": 2},
    evaluation={"n": 2},
)
NAME_OF_MARK = "UNSQUEEZE_TEST_MARK"
PROMPTLY_S = 600
"""A guard against hanging, however busy the machine; what was waited for is told by what is said."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as one process makes it, never stopped."""
    path = tmp_path_factory.mktemp("launcher") / "whole"
    live(RECIPE, path)
    return path


@contextmanager
def launched(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The real command in a process group of its own, as a shell starts it; afterwards nothing may be left of it."""
    recipe, mark = folder / "recipe.yaml", uuid.uuid4().hex
    recipe.write_text(yaml.safe_dump(RECIPE.model_dump(mode="json")))
    command = [
        sys.executable,
        "-m",
        "unsqueeze",
        "train",
        str(recipe),
        "--run",
        str(folder / "run"),
        "--processes",
        "2",
    ]
    launcher = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {NAME_OF_MARK: mark, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        yield launcher
        assert not descendants(mark)
    finally:
        launcher.kill()
        for process in descendants(mark):
            os.kill(process, signal.SIGKILL)


def descendants(mark: str) -> list[int]:
    """Every process of this machine whose environment carries the mark."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in environment.read_bytes():
                found.append(int(environment.parent.name))
    return found


def wait_until(there: Callable[[], bool], launcher: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not there():
        assert launcher.poll() is None, launcher.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def to_the_group(launcher: subprocess.Popen[str], number: int) -> None:
    """As a terminal does with Ctrl-C."""
    os.killpg(launcher.pid, number)


def to_the_launcher(launcher: subprocess.Popen[str], number: int) -> None:
    """As ``kill`` and Slurm do."""
    launcher.send_signal(number)


@pytest.mark.parametrize(
    ("strategy", "number", "send", "gaps_s"),
    [
        ("ddp", signal.SIGINT, to_the_group, []),
        pytest.param("fsdp", signal.SIGTERM, to_the_launcher, [], marks=pytest.mark.slow),
        pytest.param("ddp", signal.SIGTERM, to_the_launcher, [0.0], marks=pytest.mark.slow),
        pytest.param("ddp", signal.SIGINT, to_the_group, [0.2], marks=pytest.mark.slow),
        pytest.param("fsdp", signal.SIGINT, to_the_launcher, [0.2, 0.2], marks=pytest.mark.slow),
        pytest.param("fsdp", signal.SIGTERM, to_the_group, [0.05], marks=pytest.mark.slow),
    ],
)
def test_a_wish_to_stop_ends_all_and_the_run_goes_on_alone(
    command, whole: Path, tmp_path: Path, strategy: str, number: int, send: Callable[..., None], gaps_s: list[float]
):
    run = tmp_path / "run"
    with launched(tmp_path, "--set", f"parallel.strategy={strategy}") as launcher:
        wait_until((run / "rollouts" / "step-000001.parquet").exists, launcher)
        send(launcher, number)
        for gap in gaps_s:
            time.sleep(gap)
            with suppress(ProcessLookupError):
                send(launcher, number)
        out, err = launcher.communicate(timeout=PROMPTLY_S)
    assert launcher.returncode == 130, err
    assert (out + err).count("stopped as asked") == 1
    assert out.count("; loading PyTorch, then everything is tried once …\n") == 1
    assert "Traceback" not in out + err
    assert RunDirectory.open(run).journal.read()[-1]["event"] == "interrupted"
    code, _, err = command("train", str(tmp_path / "recipe.yaml"), "--run", str(run), "--resume")
    assert code == 0, err
    assert_same_run(whole, run)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_wish_to_stop_while_the_processes_start(tmp_path: Path, number: int):
    """They import libraries for seconds, and do not listen yet: not one of them says a word."""
    with launched(tmp_path) as launcher:
        wait_until(lambda: has_children(launcher), launcher)
        to_the_group(launcher, number)
        out, err = launcher.communicate(timeout=PROMPTLY_S)
    assert launcher.returncode == 130
    assert (but_for_what_is_begun(out), err) == (
        [],
        "stopped as asked; what is on disk is as it was.\n",
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_wish_to_stop_while_the_launcher_starts(tmp_path: Path, number: int):
    """It listens first, and then imports PyTorch, for a second, before it starts a process."""
    with launched(tmp_path) as launcher:
        wait_until(lambda: catches(launcher.pid, signal.SIGTERM), launcher)
        to_the_group(launcher, number)
        out, err = launcher.communicate(timeout=PROMPTLY_S)
    assert launcher.returncode == 130
    assert (but_for_what_is_begun(out), err) == (
        [],
        "stopped as asked; what is on disk is as it was.\n",
    )


def but_for_what_is_begun(out: str) -> list[str]:
    """The lines of an output without the first ones, which say what is begun."""
    return [line for line in out.splitlines() if not line.endswith(" …")]


def catches(process: int, number: int) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return bool(int(status["SigCgt"], 16) >> (number - 1) & 1)


def has_children(launcher: subprocess.Popen[str]) -> bool:
    return len(children(launcher)) == 2


def children(launcher: subprocess.Popen[str]) -> list[int]:
    return [int(child) for child in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()]


FILES_THAT_ARE_NOT_THERE = [
    *("--set", "data.kind=jsonl"),
    *("--set", "data.train_path=/nowhere.jsonl"),
    *("--set", "data.test_path=/nowhere.jsonl"),
]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "rl.steps=many"], "rl.steps"),
        pytest.param(["--set", "model.path=/nowhere"], "model.path is '/nowhere'", marks=pytest.mark.slow),
        pytest.param(FILES_THAT_ARE_NOT_THERE, "/nowhere.jsonl", marks=pytest.mark.slow),
        pytest.param(["--resume"], "holds no run to resume", marks=pytest.mark.slow),
    ],
)
def test_a_mistake_is_told_once(tmp_path: Path, options: list[str], says: str):
    """Found by the launcher, by both processes, or by the main one alone."""
    with launched(tmp_path, *options) as launcher:
        out, err = launcher.communicate(timeout=600)
    assert launcher.returncode == 2
    assert not but_for_what_is_begun(out)
    assert says in err
    assert err.count("error: ") == err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("while_they_start", [True, False])
def test_nothing_outlives_a_launcher_that_is_killed(tmp_path: Path, while_they_start: bool):
    first_step = tmp_path / "run" / "rollouts" / "step-000001.parquet"
    with launched(tmp_path) as launcher:
        wait_until(lambda: has_children(launcher) if while_they_start else first_step.exists(), launcher)
        launcher.kill()
        _, err = launcher.communicate(timeout=PROMPTLY_S)  # the ends of both pipes, which the processes hold
    assert err == ""


@pytest.mark.slow
def test_a_process_that_is_killed_is_told_once_and_ends_the_others(tmp_path: Path):
    with launched(tmp_path) as launcher:
        wait_until((tmp_path / "run" / "rollouts" / "step-000001.parquet").exists, launcher)
        os.kill(children(launcher)[1], signal.SIGKILL)
        _, err = launcher.communicate(timeout=PROMPTLY_S)
    assert launcher.returncode == 1
    assert err.startswith("error: process 1 of 2 was killed by SIGKILL")
    assert err.count("\n") == 1


@pytest.mark.parametrize("silent", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_process_that_was_stopped_is_noticed(silent: int):
    """Process 0 keeps the store, so that the other gets no answer; with process 1 it is the other way round."""
    ended = subprocess.run(
        [sys.executable, "-c", MEETING, str(silent)], capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.count("error: ") == ended.stderr.count(f"process {silent} of 2 showed no sign of life") == 1
    assert "--resume" in ended.stderr


def test_a_process_that_fails_ends_the_others():
    ended = subprocess.run(
        [sys.executable, "-c", MEETING, "fails"], capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.count("process 1 has had enough") == 1
    assert "Traceback" not in ended.stderr


def test_a_process_that_fails_just_after_it_was_looked_at_is_no_success(monkeypatch: pytest.MonkeyPatch):
    look = Agent._first_failure

    def look_and_wait(agent: Agent) -> int | None:
        found = look(agent)
        time.sleep(0.5)
        return found

    monkeypatch.setattr(Agent, "_first_failure", look_and_wait)
    assert run_processes([sys.executable, "-c", "import sys, time; time.sleep(0.2); sys.exit(2)"], 2) == 2


def test_a_mistake_that_many_meet_is_told_once_while_they_show_that_they_live():
    """A thread that is inside of PyTorch while Python ends would abort its process."""
    ended = subprocess.run(
        [sys.executable, "-c", MEETING, "mistake"], capture_output=True, text=True, timeout=600, check=False
    )
    assert (ended.returncode, ended.stderr) == (1, "error: there is a mistake\n")


@pytest.mark.slow
def test_a_process_that_takes_long_is_waited_for():
    subprocess.run([sys.executable, "-c", MEETING, "busy"], timeout=600, check=True)


MEETING = f"""
import sys
from unsqueeze.distributed.launch import run_processes
sys.exit(run_processes([sys.executable, {str(Path(__file__).parents[1] / "silent_process.py")!r}, sys.argv[1]], 2))
"""


ENDING = """
import atexit, os, sys
from unsqueeze.distributed.join import exit_after

class Module:
    def __del__(self):
        os.write(2, b"Python is taken down\\n")

def main():
    atexit.register(lambda: print("closed"))
    print("worked")
    sys.exit({code!r})

module = Module()
exit_after(main)
"""


@pytest.mark.parametrize(("code", "exits"), [(0, 0), (None, 0), (2, 2), ("told", 1)])
@pytest.mark.parametrize("size", ["WORLD_SIZE", "SLURM_STEP_NUM_TASKS", None])
def test_one_of_several_ends_without_taking_python_down(size: str | None, code: object, exits: int):
    """Threads of a group of processes that is still known would meet a Python that is gone; what is to be closed is."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
    }
    ended = subprocess.run(
        [sys.executable, "-c", ENDING.format(code=code)],
        env=environment | ({size: "2"} if size else {}),
        capture_output=True,
        text=True,
        timeout=PROMPTLY_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (exits, "worked\nclosed\n")
    told = "told\n" if code == "told" else ""
    assert ended.stderr == told + ("" if size else "Python is taken down\n")


def test_one_of_several_that_raises_fails():
    ended = subprocess.run(
        [sys.executable, "-c", "from unsqueeze.distributed.join import exit_after; exit_after(lambda: 1 / 0)"],
        env=os.environ | {"WORLD_SIZE": "2"},
        capture_output=True,
        text=True,
        timeout=PROMPTLY_S,
        check=False,
    )
    assert ended.returncode == 1
    assert "ZeroDivisionError" in ended.stderr
