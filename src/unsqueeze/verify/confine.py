"""What a process may do that reads hostile answers: limits of the kernel, and a list of system calls.

``limit_resources`` bounds memory, files and open files. ``confine`` takes away the rest, for good and for all that
the process might start: no process, no connection, no signal to another, no file made, changed or removed. It is a
filter of system calls (seccomp) that allows those which computing and importing need; every other fails with EPERM. No
privilege is needed for it. Where there is none (macOS, another processor), the limits are all there is.
"""

import contextlib
import ctypes
import functools
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Mapping

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS = 1, 36, 38  # prctl(2)
_GET_SECCOMP, _SET_SECCOMP, _FILTER = 21, 22, 2
_OPEN_FILES = 64

# struct sock_filter of linux/filter.h, and its few operations that are used
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _AND, _IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW, and SECCOMP_RET_ERRNO with EPERM
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # struct seccomp_data

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the table, and AUDIT_ARCH of linux/audit.h, by the machine's name."""

_CALLS: Mapping[str, tuple[int, int]] = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "close": (3, 57),
    "lseek": (8, 62), "getdents64": (217, 61), "newfstatat": (262, 79), "fstat": (5, 80), "readlinkat": (267, 78),
    "faccessat": (269, 48), "faccessat2": (439, 439), "statx": (332, 291), "getcwd": (79, 17), "dup": (32, 23),
    "close_range": (436, 436), "ppoll": (271, 73), "pselect6": (270, 72), "mmap": (9, 222), "mprotect": (10, 226),
    "munmap": (11, 215), "mremap": (25, 216), "brk": (12, 214), "madvise": (28, 233), "futex": (202, 98),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "nanosleep": (35, 101), "getitimer": (36, 102), "setitimer": (38, 103), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "gettimeofday": (96, 169), "times": (100, 153),
    "uname": (63, 160), "getrusage": (98, 165), "getrlimit": (97, 163), "sysinfo": (99, 179), "getpid": (39, 172),
    "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177),
    "gettid": (186, 178), "set_tid_address": (218, 96), "set_robust_list": (273, 99), "rseq": (334, 293),
    "getrandom": (318, 278), "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "exit": (60, 93),
    "exit_group": (231, 94),
}  # fmt: skip
"""System calls that are allowed whatever their arguments: number on x86_64 and on aarch64 (asm/unistd.h)."""

_ONLY_X86_64 = {
    "stat": 4,
    "lstat": 6,
    "access": 21,
    "select": 23,
    "poll": 7,
    "readlink": 89,
    "time": 201,
    "arch_prctl": 158,
}

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | getattr(os, "O_ASYNC", 0)
_GUARDED: Mapping[str, tuple[tuple[int, int], int, int, tuple[int, ...]]] = {
    "openat": ((257, 56), 2, _WRITING, (0,)),  # to read
    "fcntl": ((72, 25), 1, 0xFFFFFFFF, (0, 1, 2, 3, 1030)),  # duplicates and flags; not F_SETOWN, which sends signals
}
"""Calls that are allowed where the low half of an argument, under a mask, is one of some values."""


def limit_resources(memory_mb: int) -> None:
    """Limit what an answer may use: so much memory, few open files, nothing written to one, no core dumped."""
    _limit(resource.RLIMIT_AS, memory_mb << 20)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)


def limit_cpu(seconds: int) -> None:
    _limit(resource.RLIMIT_CPU, seconds)


def confine() -> bool:
    """Allow this process from now on to compute, to read files, and to write to what is open. No way back.

    Its environment is emptied. Returns whether system calls are filtered; else only limits hold, of which root is free
    of that of processes.
    """
    os.environ.clear()
    _limit(resource.RLIMIT_NPROC, 0)
    code = _filter()
    if code is None or not _prctl(_SET_NO_NEW_PRIVS, 1):
        return False
    program = ctypes.create_string_buffer(code, len(code))
    header = _Program(len(code) // _INSTRUCTION.size, ctypes.addressof(program))
    return _prctl(_SET_SECCOMP, _FILTER, ctypes.addressof(header))


def can_confine() -> bool:
    """Tell whether system calls can be filtered here."""
    return _filter() is not None and _libc().prctl(_GET_SECCOMP, *map(ctypes.c_ulong, (0, 0, 0, 0))) >= 0


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, which may have happened already. Linux alone can."""
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of what descendants leave behind. Linux alone can."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def kill_children() -> None:
    """Kill and clear away every child, the orphans among them."""
    while True:
        for child in children_of(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def children_of(pid: int) -> list[int]:
    """The children of a process's main thread. None where the system does not tell."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as children:
        return [int(pid) for pid in children.read().split()]
    return []


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


@functools.cache
def _filter() -> bytes | None:
    """The filter as the kernel takes it. None where none is known: another system, processor or width."""
    if sys.platform != "linux" or platform.machine() not in _ARCHITECTURES or sys.maxsize < 1 << 32:
        return None
    column, architecture = _ARCHITECTURES[platform.machine()]
    code = [(_LOAD, 0, 0, _ARCHITECTURE_AT), (_IF_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _REFUSE)]
    code.append((_LOAD, 0, 0, _NUMBER_AT))
    plain = [numbers[column] for numbers in _CALLS.values()] + (list(_ONLY_X86_64.values()) if column == 0 else [])
    for number in plain:
        code += [(_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    for numbers, argument, mask, values in _GUARDED.values():
        block = [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument), (_AND, 0, 0, mask)]
        for value in values:
            block += [(_IF_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
        block.append((_RETURN, 0, 0, _REFUSE))
        code += [(_IF_EQUAL, 0, len(block), numbers[column]), *block]
    code.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(_INSTRUCTION.pack(*each) for each in code)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _prctl(*arguments: int) -> bool:
    """Tell whether the call was there and did what it was asked."""
    if sys.platform != "linux":
        return False
    padded = (*arguments, *[0] * (5 - len(arguments)))
    return _libc().prctl(ctypes.c_int(padded[0]), *map(ctypes.c_ulong, padded[1:])) == 0


def _limit(name: int, value: int) -> None:
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(name, (value, value))
