"""Freed memory is kept, counted by the pages that the system clears for a process of its own."""

import ctypes
import os
import subprocess
import sys

import pytest

from unsqueeze.policy.freed_memory import keep_freed_memory

PROGRAM = """
import resource, sys
import torch
from unsqueeze.policy.freed_memory import keep_freed_memory

print(keep_freed_memory() if sys.argv[1] == "keep" else False)
def step():
    held = [torch.ones(2**20) for _ in range(20)]  # 80 MiB, 20,480 pages
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_cleared(mode: str, **environment: str) -> tuple[str, int]:
    """What setting it said, and the pages cleared in five steps that each hold 80 MiB for a while."""
    plain = {name: value for name, value in os.environ.items() if "MALLOC" not in name and name != "GLIBC_TUNABLES"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, mode], env=plain | environment, capture_output=True, text=True, check=True
    )
    said, pages = done.stdout.split()
    return said, int(pages)


needs_glibc = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="only glibc can be told to keep freed memory"
)


@needs_glibc
def test_a_step_takes_fewer_new_pages_from_the_system() -> None:
    _, given_back = pages_cleared("leave")
    said, kept = pages_cleared("keep")
    assert said == "True"
    assert kept < given_back / 2


@needs_glibc
def test_the_environment_has_the_last_word() -> None:
    said, pages = pages_cleared("keep", MALLOC_TRIM_THRESHOLD_="131072")
    assert said == "False"
    assert pages > 10_000


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not keep_freed_memory()
