"""What a confined process may not do, tried; and that it still computes, imports and reads."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from unsqueeze.verify.confine import can_confine

SCRIPT = """
import ctypes, fcntl, os, resource, signal, socket, subprocess, sys, threading
from unsqueeze.verify.confine import confine, limit_resources

parent, folder = os.getppid(), sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
limit_resources(1 << 14)

def system(*arguments):
    if libc.syscall(*map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")

ACTS = {
    "connect": lambda: socket.create_connection(("127.0.0.1", int(sys.argv[2])), 2),
    "listen": lambda: socket.socket(socket.AF_UNIX).bind(folder + "/socket"),
    "socket pair": socket.socketpair,
    "fork": os.fork,
    "thread": lambda: threading.Thread(target=print).start(),
    "start a program": lambda: subprocess.run(["/bin/true"]),
    "become a program": lambda: os.execv("/bin/true", ["true"]),
    "create": lambda: open(folder + "/new", "w"),
    "write": lambda: open(folder + "/kept", "r+"),
    "append": lambda: open(folder + "/kept", "a"),
    "truncate": lambda: os.truncate(folder + "/kept", 0),
    "delete": lambda: os.unlink(folder + "/kept"),
    "rename": lambda: os.rename(folder + "/kept", folder + "/lost"),
    "link": lambda: os.link(folder + "/kept", folder + "/lost"),
    "symlink": lambda: os.symlink(folder + "/kept", folder + "/lost"),
    "make a folder": lambda: os.mkdir(folder + "/new"),
    "remove a folder": lambda: os.rmdir(folder + "/empty"),
    "chmod": lambda: os.chmod(folder + "/kept", 0),
    "set times": lambda: os.utime(folder + "/kept", (0, 0)),
    "signal": lambda: os.kill(parent, signal.SIGTERM),
    "signal a group": lambda: os.killpg(0, signal.SIGURG),
    "signal by a pipe": lambda: fcntl.fcntl(1, fcntl.F_SETOWN, parent),
    "type into a terminal": lambda: fcntl.ioctl(0, 0x5412, b"x"),
    "trace": lambda: system(101, 16, parent, 0, 0),
    "write into a process": lambda: system(311, parent, 0, 0, 0, 0, 0),
    "io_uring": lambda: system(425, 1, 0),
    "memory as a file": lambda: system(319, 0, 0),
    "other numbers of calls": lambda: system(0x40000000 + 41, 2, 1, 0),
    "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
    "leave the session": os.setsid,
    "namespaces": lambda: system(272, 0x10000000),
}
print(confine(), dict(os.environ))
for name, act in ACTS.items():
    try:
        act()
        print("DONE", name)
    except (OSError, RuntimeError, ValueError) as error:
        if getattr(error, "errno", 1) not in (1, None):
            print("OTHERWISE", name, error)
import decimal, colorsys
assert open(folder + "/kept").read() == "kept"
assert "kept" in os.listdir(folder)
assert sum(bytearray(1 << 22)) == 0
print("end")
"""

needs_filter = pytest.mark.skipif(not can_confine(), reason="system calls cannot be filtered on this machine")


@needs_filter
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="calls are given by the numbers of x86_64")
def test_a_confined_process_reads_and_computes_and_does_nothing_else(tmp_path: Path):
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "empty").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path), str(server.getsockname()[1])],
            env=os.environ | {"UNSQUEEZE_API_KEY": "sesame"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert result.stdout.splitlines() == ["True {}", "end"], result.stdout + result.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["empty", "kept"]


SCORERS = """
import os, signal, sys
from unsqueeze.verify import confine
from unsqueeze.verify.gym_grading import GymGrader
from unsqueeze.verify.worker import Worker
from unsqueeze.verify.wire import Decoder, encode

class DataSet:
    '''The answer is run; right where it gives 4.'''
    right = 4
    def __getitem__(self, index):
        return {"answer": "4"}
    def score_answer(self, answer, entry):
        return 1.0 if eval(answer) == self.right else 0.01

the_data_set = DataSet()
if sys.argv[1] == "without a filter":
    confine._filter = lambda: None
grader = GymGrader(lambda name, size, seed: the_data_set)
jobs, results = os.pipe(), os.pipe()
signal.signal(signal.SIGALRM, signal.SIG_DFL)
worker = Worker(grader, jobs[0], results[1], memory_mb=1024, alarm_s=60.0)
os.write(jobs[1], encode([{"gold": '["x", 1, 0, 0]', "text": text, "where": "anywhere"} for text in sys.argv[2:]]))
os.close(jobs[1])
worker.serve()
os.close(results[1])
for message in Decoder().feed(os.read(results[0], 1 << 20)):
    print(message["verdict"], message["reason"], sep=": ")
"""


def judge(*answers: str, how: str = "as it is") -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", SCORERS, how, *answers],
        env=os.environ | {"UNSQUEEZE_API_KEY": "sesame"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


RIGHT, WRONG = "correct: reasoning-gym's score is 1", "wrong: reasoning-gym's score is 0.01"
REFUSED = "crashed: the grader raised PermissionError"


@needs_filter
def test_an_answer_sends_nothing_over_a_socket(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = server.getsockname()
        send = f"__import__('socket').create_connection({where!r}).send(repr(__import__('os').environ).encode())"
        assert judge(send, "4", "5") == [REFUSED, RIGHT, WRONG]
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    # Nor is there anything to send.
    assert judge("4 if not __import__('os').environ else 0") == [RIGHT]


@needs_filter
def test_an_answer_deletes_no_file(tmp_path: Path):
    (tmp_path / "kept").touch()
    answers = [f"__import__('os').remove({str(tmp_path / 'kept')!r})", f"open({str(tmp_path / 'new')!r}, 'w')"]
    assert judge(*answers, "2 + 2") == [REFUSED, REFUSED, RIGHT]
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


DAEMON = (
    "(lambda os: [os.setsid(), os.fork(), __import__('time').sleep(3600)] if os.fork() == 0 else 5)(__import__('os'))"
)
BURIED = (
    "4 if not any(__import__('os').getppid() == int(open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[1]) "
    "for pid in __import__('os').listdir('/proc') if pid.isdecimal() and int(pid) != __import__('os').getpid()) else 0"
)


@needs_filter
def test_an_answer_leaves_no_process():
    assert judge(DAEMON, BURIED, "4") == [REFUSED, RIGHT, RIGHT]


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are found on Linux alone")
def test_what_an_answer_left_is_killed_where_system_calls_cannot_be_filtered():
    found = judge(DAEMON, BURIED, "4", how="without a filter")
    # Only root may have more processes than its limit says.
    assert found[0] in (WRONG, "crashed: the grader raised BlockingIOError")
    assert found[1:] == [RIGHT, RIGHT]


REPLACE = (
    "[setattr(__import__('__main__').DataSet, 'right', 0), setattr(__import__('__main__').DataSet, 'score_answer', "
    "lambda *_: 1.0), setattr(__import__('unsqueeze.verify.gym_grading').verify.gym_grading, '_grade_of', None), 4][-1]"
)


@pytest.mark.parametrize("how", ["as it is", "without a filter"])
def test_an_answer_replaces_nothing_for_those_after_it(how: str):
    assert judge(REPLACE, "4", "0", "'nonsense'", how=how)[1:] == [RIGHT, WRONG, WRONG]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("[1] * (1 << 34)", "too_large: out of memory"),
        ("(lambda f: f(f))(lambda f: f(f))", "too_large: nested too deeply for the grader"),
        ("__import__('os')._exit(3)", "crashed: the scorer ended on this answer with code 3"),
        (
            "__import__('ctypes').string_at(0)",
            f"too_large: the scorer ended on this answer with code {-signal.SIGSEGV}",
        ),
        (
            "[__import__('os').write(3, b'{' * 10000), __import__('time').sleep(3600)]",
            "crashed: the scorer ended on this answer with code -9",
        ),
        ("[__import__('os').write(3, b'[' * 4000), 4][1]", "crashed: the grader raised something"),
        ("1 / 0", "crashed: the grader raised ZeroDivisionError"),
        ("[4 for _ in [__import__('sys').exit()]]", "crashed: the scorer ended on this answer with code 0"),
        ("float('nan')", WRONG),
    ],
)
def test_an_answer_ends_its_own_judgement_alone(answer: str, said: str):
    assert judge(answer, "4") == [said, RIGHT]
