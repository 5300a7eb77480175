"""The filter of system calls on every processor it is written for, by interpreting its program."""

import errno
import os
import platform
import re
import struct
from pathlib import Path

import pytest

from unsqueeze.verify import confine

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH of linux/audit.h
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM

HARMFUL = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "socketpair": (53, 199), "sendto": (44, 206),
    "clone": (56, 220), "clone3": (435, 435), "execve": (59, 221), "execveat": (322, 281), "unlinkat": (263, 35),
    "renameat": (264, 38), "renameat2": (316, 276), "linkat": (265, 37), "symlinkat": (266, 36), "mkdirat": (258, 34),
    "mknodat": (259, 33), "fchmodat": (268, 53), "fchmod": (91, 52), "fchownat": (260, 54), "utimensat": (280, 88),
    "truncate": (76, 45), "ftruncate": (77, 46), "openat2": (437, 437), "kill": (62, 129), "tkill": (200, 130),
    "tgkill": (234, 131), "ptrace": (101, 117), "process_vm_writev": (311, 271), "pidfd_send_signal": (424, 424),
    "io_uring_setup": (425, 425), "memfd_create": (319, 279), "prlimit64": (302, 261), "setrlimit": (160, 164),
    "setsid": (112, 157), "setpgid": (109, 154), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40),
    "ioctl": (16, 29), "prctl": (157, 167), "bpf": (321, 280), "add_key": (248, 217), "shmget": (29, 194),
}  # fmt: skip
"""What no answer may do: number on x86_64 and on aarch64."""

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.fixture(params=ARCHITECTURES)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(platform, "machine", lambda: request.param)
    monkeypatch.setattr("sys.platform", "linux")
    return str(request.param)


def answer(architecture: int, number: int, *arguments: int) -> int:
    """What the kernel's interpreter would make of the filter's program (classic BPF) for one call."""
    program = confine._filter.__wrapped__()
    assert program is not None
    instructions = list(struct.iter_unpack("=HBBI", program))
    call = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    at = accumulator = 0
    while True:
        code, if_true, if_false, k = instructions[at]
        at += 1
        if code == 0x20:  # ld word at k
            accumulator = int(struct.unpack_from("=I", call, k)[0])
        elif code == 0x54:  # and k
            accumulator &= k
        elif code == 0x15:  # jeq k
            at += if_true if accumulator == k else if_false
        else:
            assert code == 0x06  # ret k
            return int(k)


def column(machine: str) -> int:
    return list(ARCHITECTURES).index(machine)


def test_what_computing_needs_is_allowed_and_nothing_harmful(machine: str) -> None:
    own = ARCHITECTURES[machine]
    for name, numbers in confine._CALLS.items():
        assert answer(own, numbers[column(machine)]) == ALLOW, name
    for name, numbers in HARMFUL.items():
        assert answer(own, numbers[column(machine)], 3, 3, 3) == REFUSE, name
    assert answer(own, 100_000) == REFUSE


def test_files_are_opened_to_read_alone(machine: str) -> None:
    own, openat = ARCHITECTURES[machine], {"x86_64": 257, "aarch64": 56}[machine]
    assert answer(own, openat, 0, 0, os.O_RDONLY) == ALLOW
    assert answer(own, openat, 0, 0, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY) == ALLOW
    for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND, os.O_RDWR | os.O_CLOEXEC):
        assert answer(own, openat, 0, 0, flag) == REFUSE
        assert answer(own, openat, 0, 0, flag | 1 << 40) == REFUSE  # the kernel reads the low half alone


def test_descriptors_are_duplicated_and_send_no_signals(machine: str) -> None:
    own, fcntl = ARCHITECTURES[machine], {"x86_64": 72, "aarch64": 25}[machine]
    allowed = [command for command in range(2000) if answer(own, fcntl, 1, command) == ALLOW]
    assert allowed == [0, 1, 2, 3, 1030]  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC


def test_calls_by_the_numbers_of_another_processor_are_refused(machine: str) -> None:
    for architecture in {*ARCHITECTURES.values(), 0x40000003, 0x40000028} - {ARCHITECTURES[machine]}:
        assert {answer(architecture, number) for number in range(500)} == {REFUSE}
    assert answer(ARCHITECTURES[machine], 0x40000000) == REFUSE  # x32


def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = HEADERS[machine]
    if not header.is_file():
        pytest.skip(f"no {header} (linux-libc-dev)")
    text = header.read_text()
    known = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)\b", text)}
    known |= {
        name: known[other] for name, other in re.findall(r"#define __NR_(\w+)\s+__NR3264_(\w+)", text) if other in known
    }
    ours = {name: numbers[column(machine)] for name, numbers in (confine._CALLS | HARMFUL).items()}
    ours |= {name: rule[0][column(machine)] for name, rule in confine._GUARDED.items()}
    ours |= confine._ONLY_X86_64 if machine == "x86_64" else {}
    assert {name: known.get(name, "no such call") for name in ours} == ours


def test_other_processors_have_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert confine._filter.__wrapped__() is None
