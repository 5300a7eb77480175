"""The workers: deadlines, memory, deaths, orphans. What happens to one answer happens to no other."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from unsqueeze.errors import RunError
from unsqueeze.verify import processes
from unsqueeze.verify.math_verifier import MathVerifier
from unsqueeze.verify.verdict import Verdict

HANGING = r"\boxed{9^{9^{9}}}"
INNOCENT = [(rf"\sqrt{{{n}}}", rf"\boxed{{\sqrt{{{n}}} + 0}}") for n in range(2, 42)]


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if lives(p)]


def lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it was one a moment ago
        return False


def wait_until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    give_up = time.monotonic() + seconds
    while not true() and time.monotonic() < give_up:
        time.sleep(0.02)
    return true()


TIMEOUT_S = 3.0


@pytest.fixture(scope="module")
def one_verifier() -> Iterator[MathVerifier]:
    before = set(children())
    with MathVerifier(workers=2, timeout_s=TIMEOUT_S, credit="anywhere") as verifier:
        yield verifier
    assert wait_until(lambda: set(children()) <= before), "a process was left behind"


@pytest.fixture
def verifier(one_verifier: MathVerifier) -> Iterator[MathVerifier]:
    """Loaded and warm, with no answer judged before: loading Math-Verify takes two seconds, and is done once."""
    before = set(children())
    one_verifier._cache.clear()
    one_verifier.verify_answers([r"\pi"], [r"\pi + 0"])
    yield one_verifier
    assert wait_until(lambda: pids(set(children()) - before) <= pids_of(one_verifier)), "a process was left behind"


def pids(processes: set[psutil.Process]) -> set[int]:
    return {process.pid for process in processes}


def pids_of(verifier: MathVerifier) -> set[int]:
    assert verifier._pool._nursery is not None
    return {verifier._pool._nursery._process.pid, *workers_of(verifier)}


def workers_of(verifier: MathVerifier) -> list[int]:
    return [worker.pid for worker in verifier._pool._workers]


def test_an_answer_over_its_deadline_takes_nothing_with_it(verifier: MathVerifier) -> None:
    golds = [gold for gold, _ in INNOCENT]
    responses = [response for _, response in INNOCENT]
    golds.insert(7, "5")
    responses.insert(7, HANGING)
    judgements = verifier.verify_answers(golds, responses)
    assert judgements.pop(7).verdict is Verdict.TIMED_OUT
    assert {judgement.verdict for judgement in judgements} == {Verdict.CORRECT}


def test_a_worker_at_a_hanging_answer_is_killed_at_once(
    verifier: MathVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By us, and not by the alarm that the kernel has for workers whose judge is gone."""
    monkeypatch.setattr(verifier._pool, "_timeout_s", 0.3)
    ended: dict[int, int | None] = {}
    bury = processes.NurseryHandle.bury

    def recording(nursery: processes.NurseryHandle, worker: processes.WorkerHandle) -> int | None:
        ended[worker.pid] = bury(nursery, worker)
        return ended[worker.pid]

    monkeypatch.setattr(processes.NurseryHandle, "bury", recording)
    [judgement] = verifier.verify_answers(["5"], [HANGING])
    assert judgement.verdict in (Verdict.TIMED_OUT, Verdict.CRASHED)  # crashed where the machine kept it waiting
    assert set(ended.values()) == {-signal.SIGKILL}
    assert not any(psutil.pid_exists(pid) for pid in ended)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of the limits of another process")
def test_a_worker_has_so_much_memory_and_may_write_no_file_and_no_core(verifier: MathVerifier) -> None:
    [worker, *_] = [psutil.Process(pid) for pid in workers_of(verifier)]
    memory = verifier._pool._memory_mb << 20
    limits = (psutil.RLIMIT_AS, psutil.RLIMIT_FSIZE, psutil.RLIMIT_CORE)
    # Soft and hard: what may be raised again is no limit.
    assert [worker.rlimit(limit) for limit in limits] == [(memory, memory), (0, 0), (0, 0)]


def test_a_worker_killed_from_outside_loses_nothing(verifier: MathVerifier, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    begin = processes.WorkerHandle.begin

    def begin_and_die(worker: processes.WorkerHandle, timeout_s: float) -> None:
        begin(worker, timeout_s)
        if not killed:  # one murder, so that no answer is hit twice
            assert worker.in_flight
            killed.append(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)

    monkeypatch.setattr(processes.WorkerHandle, "begin", begin_and_die)
    golds = [gold for gold, _ in INNOCENT] * 3
    # All distinct, so that every one is judged.
    responses = [response.replace("+ 0", f"+ 0 \\cdot {place}") for place, (_, response) in enumerate(INNOCENT * 3)]
    judgements = verifier.verify_answers(golds, responses)
    assert killed
    assert {judgement.verdict for judgement in judgements} == {Verdict.CORRECT}


@pytest.mark.parametrize(
    ("end", "verdict"),
    [(signal.SIGKILL, Verdict.CRASHED), (signal.SIGSEGV, Verdict.TOO_LARGE)],  # from outside, and of itself
)
def test_an_answer_whose_worker_dies_twice_is_not_judged(
    end: signal.Signals, verdict: Verdict, verifier: MathVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier._pool, "_timeout_s", 60.0)  # no deadline ends it, however slow the machine
    stop = threading.Event()
    killed: set[int] = set()

    def assassin() -> None:
        # Kills the first two workers that have been at the hanging answer, alone, for a while.
        while not stop.is_set() and len(killed) < 2:
            for worker in list(verifier._pool._workers):
                if len(worker.in_flight) == 1 and worker.deadline - time.monotonic() < 59.5 and len(killed) < 2:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker.pid, end)
                        killed.add(worker.pid)
            time.sleep(0.05)

    thread = threading.Thread(target=assassin)
    thread.start()
    # The other answer needs no worker, so that only the hanging one is ever hit, however slow the machine.
    judgements = verifier.verify_answers(["5", "7"], [HANGING, r"\boxed{7}"])
    stop.set()
    thread.join()
    assert [judgement.verdict for judgement in judgements] == [verdict, Verdict.CORRECT]
    assert "twice" in judgements[0].reason


def test_a_worker_that_is_kept_from_computing_is_no_time_out_of_the_answer(
    verifier: MathVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier._pool, "_timeout_s", 0.4)
    stop = threading.Event()

    def halt() -> None:
        while not stop.is_set():
            for worker in list(verifier._pool._workers):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGSTOP)
            time.sleep(0.002)

    thread = threading.Thread(target=halt)
    thread.start()
    [judgement] = verifier.verify_answers(["5"], [HANGING])
    stop.set()
    thread.join()
    assert judgement.verdict is Verdict.CRASHED
    assert "too little" in judgement.reason


def test_a_gold_answer_over_its_deadline_is_no_fault_of_the_answers(verifier: MathVerifier) -> None:
    hanging, sane = "9^{9^{9}}", r"\sqrt{5}"
    judgements = verifier.verify_answers([hanging, sane, hanging], [r"\boxed{\sqrt{2}}", HANGING, r"\boxed{\sqrt{3}}"])
    assert [judgement.verdict for judgement in judgements] == [
        Verdict.UNREADABLE_GOLD,
        Verdict.TIMED_OUT,
        Verdict.UNREADABLE_GOLD,
    ]


def test_survives_the_death_of_the_process_that_forks(verifier: MathVerifier) -> None:
    nursery = verifier._pool._nursery
    assert nursery is not None
    os.kill(nursery._process.pid, signal.SIGKILL)
    nursery._process.wait()
    judgements = verifier.verify_answers(["5", *(gold for gold, _ in INNOCENT)], [HANGING, *(r for _, r in INNOCENT)])
    assert judgements[0].verdict is Verdict.TIMED_OUT
    assert {judgement.verdict for judgement in judgements[1:]} == {Verdict.CORRECT}


def test_a_process_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """After three tries, with one sentence; nothing hangs."""
    monkeypatch.setattr(processes.sys, "executable", "/bin/false")
    with MathVerifier(workers=1, timeout_s=5.0) as broken, pytest.raises(RunError, match="Math-Verify keeps failing"):
        broken.verify_answers(["5"], [HANGING])


def test_threads_take_turns(verifier: MathVerifier) -> None:
    verdicts: dict[int, set[Verdict]] = {}

    def ask(place: int) -> None:
        pairs = INNOCENT[place::4]
        verdicts[place] = {j.verdict for j in verifier.verify_answers([g for g, _ in pairs], [r for _, r in pairs])}

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == {place: {Verdict.CORRECT} for place in range(4)}


def test_an_interrupted_call_leaves_a_judge_that_works(verifier: MathVerifier) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    verifier._pool.run, run = lambda jobs, *_: run(jobs, interrupt), verifier._pool.run  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        verifier.verify_answers([gold for gold, _ in INNOCENT], [response for _, response in INNOCENT])
    assert workers_of(verifier) == []
    verifier._pool.run = run  # type: ignore[method-assign]
    assert verifier.verify_answers([r"\sqrt{2}"], [r"\sqrt{2} + 0"])[0].verdict is Verdict.CORRECT


def test_closing_twice_is_fine_and_garbage_leaves_no_process() -> None:
    before = set(children())
    verifier = MathVerifier(credit="anywhere")
    verifier.verify_answers([r"\pi"], [r"\pi + 0"])
    verifier.close()
    verifier.close()
    forgotten = MathVerifier()
    del forgotten
    assert wait_until(lambda: set(children()) <= before)


def run_script(script: str, *, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-"], input=script, capture_output=True, text=True, timeout=timeout, check=False
    )


def test_a_script_needs_no_main_guard_and_an_open_judge_does_not_keep_it() -> None:
    result = run_script(
        "from unsqueeze.verify.math_verifier import MathVerifier\n"
        "verifier = MathVerifier(credit='anywhere')\n"
        "print(verifier.verify_answers([r'\\sqrt{2}'], [r'\\sqrt{2} + 0'])[0].verdict)\n"
        "print([worker.pid for worker in verifier._pool._workers] + [verifier._pool._nursery._process.pid])\n"
    )
    assert result.stderr == ""
    verdict, pids = result.stdout.splitlines()
    assert verdict == "correct"
    assert wait_until(lambda: not any(psutil.pid_exists(pid) for pid in eval(pids)))


def test_a_killed_judge_takes_hanging_workers_along() -> None:
    script = (
        "import threading, time\n"
        "from unsqueeze.verify.math_verifier import MathVerifier\n"
        "verifier = MathVerifier(workers=1, timeout_s=300, credit='anywhere')\n"
        "threading.Thread(target=verifier.verify_answers, args=(['5'], [r'\\boxed{9^{9^{9}}}']), daemon=True).start()\n"
        "while not (verifier._pool._workers and verifier._pool._workers[0].in_flight): time.sleep(0.05)\n"
        "print(verifier._pool._workers[0].pid, verifier._pool._nursery._process.pid, flush=True)\n"
        "time.sleep(300)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        process.kill()
    assert len(pids) == 2
    assert wait_until(lambda: not any(_runs(pid) for pid in pids))


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_forked_copy_of_the_process_judges_with_workers_of_its_own() -> None:
    result = run_script(
        "import os\n"
        "from unsqueeze.verify.math_verifier import MathVerifier\n"
        "verifier = MathVerifier(credit='anywhere')\n"
        "ask = lambda: verifier.verify_answers([r'\\sqrt{2}'], [r'\\frac{2}{\\sqrt{2}}'])[0].verdict.value\n"
        "ask(); verifier._cache.clear()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    ok = ask() == 'correct'; verifier.close(); os._exit(0 if ok else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), ask())\n"
    )
    assert result.stdout.split() == ["0", "correct"], result.stderr


def test_a_failing_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from unsqueeze.errors import RunError

    (tmp_path / "math_verify.py").write_text("raise ImportError('math_verify is broken here')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with MathVerifier(credit="anywhere") as verifier, pytest.raises(RunError, match="math_verify is broken here"):
        verifier.verify_answers([r"\pi"], [r"\pi + 0"])


WORKER_WITH_A_GREEDY_GRADER = """
import os, sys, threading
from unsqueeze.verify.job import Grade
from unsqueeze.verify.wire import Decoder, encode
from unsqueeze.verify.worker import Worker

class Greedy:
    def begin(self):
        pass

    def grade(self, gold, text, where):
        if text == "swallowed":
            try:
                hoard = [bytearray(1 << 20) for _ in range(10_000)]
            except MemoryError:
                return Grade("wrong", True, None, "")
        if text == "raised":
            hoard = [bytearray(1 << 20) for _ in range(10_000)]
        if text == "at once":
            return Grade(str(len(bytearray(1 << 34))), True, None, "")
        if text == "odd":
            raise KeyError("odd")
        return Grade("correct", True, None, "")

jobs, results = os.pipe(), os.pipe()
worker = Worker(Greedy(), jobs[0], results[1], memory_mb=512, alarm_s=60.0)
batch = [{"gold": "", "text": text, "where": "anywhere"} for text in ["fine", sys.argv[1], "fine"]]
os.write(jobs[1], encode(batch))
os.close(jobs[1])
worker.serve()
os.close(results[1])
decoder = Decoder()
for message in decoder.feed(os.read(results[0], 1 << 16)):
    print(message if isinstance(message, str) else message["verdict"] + ": " + message["reason"])
"""


@pytest.mark.parametrize(
    ("greed", "said"),
    [
        ("swallowed", ["correct: ", "too_large: over the memory limit", "retired"]),
        ("raised", ["correct: ", "too_large: out of memory", "retired"]),
        ("at once", ["correct: ", "too_large: out of memory", "retired"]),
        ("odd", ["correct: ", "crashed: the grader raised KeyError", "correct: "]),
    ],
)
def test_memory_that_runs_out_is_no_verdict(greed: str, said: list[str]) -> None:
    """Even where the library swallows the MemoryError and says "wrong"; and the worker that saw it is replaced."""
    result = subprocess.run(
        [sys.executable, "-c", WORKER_WITH_A_GREEDY_GRADER, greed],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert result.stdout.splitlines() == said, result.stderr


BURNS = """
import subprocess, sys
subprocess.run([sys.executable, "-c", '''
import sys, time
while time.process_time() < 0.5:
    pass
print("burnt", flush=True)
sys.stdin.read()
'''])
"""


def test_the_time_of_a_process_is_also_that_of_its_living_children() -> None:
    # A job runs in a fork of the worker: its time must count before it has ended.
    with subprocess.Popen([sys.executable, "-c", BURNS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"burnt\n"
        (child,) = processes.children_of(process.pid)
        had, of_child = processes.cpu_s(process.pid), processes.cpu_s(child)
        own = psutil.Process(process.pid).cpu_times()
        process.communicate()
    assert had is not None
    assert of_child is not None
    assert of_child >= 0.49  # the clock ticks in hundredths
    assert had >= of_child + own.user - 0.02
    assert processes.cpu_s(process.pid) is None


def test_judging_in_another_thread_is_abandoned_and_the_next_is_judged(
    verifier: MathVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier._pool, "_timeout_s", 60.0)  # no deadline ends it, however slow the machine
    raised: list[BaseException] = []

    def judge() -> None:
        try:
            verifier.verify_answers(["1"] * 8, [HANGING] * 8)
        except RunError as error:
            raised.append(error)

    thread = threading.Thread(target=judge)
    thread.start()
    assert wait_until(lambda: any(worker.in_flight for worker in verifier._pool._workers))
    with verifier.abandoning():
        thread.join()
    assert "abandoned" in str(raised[0])
    assert verifier.verify_answers(["2"], [r"\boxed{2}"])[0].verdict is Verdict.CORRECT
