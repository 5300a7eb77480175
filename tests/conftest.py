"""What holds for every test: offline, few threads, reproducible properties, checked shapes in the pure rings."""

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

# Before anything reads them while it is imported:
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# For the processes that tests start, too: threads that wait for each other on a busy machine burn what they wait.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# Annotations such as Float[Tensor, "N T"] are checked at every call, under test only.
install_import_hook(["unsqueeze.algos", "unsqueeze.metrics"], "beartype.beartype")

# Models this small are no faster on two threads, and far slower where the machine has other work to do.
torch.set_num_threads(1)

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="module")
def judged_by_hash() -> Iterator[None]:
    """For the tests of a module whose runs are those of ``random_recipe``."""
    from small_runs import judging_by_hash

    with judging_by_hash():
        yield


@pytest.fixture(scope="session")
def loaded_workers() -> Iterator[Any]:
    from unsqueeze.verify.pool import WorkerPool

    pool = WorkerPool(workers=2, timeout_s=60.0, memory_mb=320)
    close, pool.close = pool.close, lambda: None  # type: ignore[method-assign]
    yield pool
    close()


@pytest.fixture
def shared_workers(loaded_workers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verifier of mathematics made in this process has workers that are loaded, which takes two seconds each.

    For tests of verdicts; ``verify/test_pool.py`` tries what workers live through, and ``doctor`` starts its own.
    """
    monkeypatch.setattr("unsqueeze.verify.math_verifier.WorkerPool", lambda **_: loaded_workers)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line inside this process: ``command("train", "smoke")`` gives (exit code, stdout, stderr)."""
    from unsqueeze.cli import main as cli

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["unsqueeze", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run
