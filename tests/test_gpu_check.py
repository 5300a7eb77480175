"""``benchmarks/gpu_check.py``: results whatever a check does, and the checks themselves on a CPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import unsqueeze

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

# Stands in for the real checks: what they may do to the process they run in.
CHECKS = """
import os, time
from types import SimpleNamespace

class SkipCheck(Exception): pass

def found(ok): return SimpleNamespace(ok=ok, says="a | b\\nc", numbers={"x": float("nan"), "y": 1})
def refuse(): raise SkipCheck("nothing here")
def fall(): raise ValueError("broken\\nand more")
def check(name, run, budget_s=60.0): return SimpleNamespace(name=name, run=run, budget_s=budget_s)

def checks_of(device, models, sizes):
    assert (device, models, sizes) == ("cpu", ["countdown-0.4m"], (1, 2, 4))
    print("noise on stdout")
    return [
        check("good", lambda: found(True)),
        check("bad", lambda: found(False)),
        check("raises", fall),
        check("nothing", refuse),
        check("dies", lambda: os._exit(7)),
        check("hangs", lambda: time.sleep(600), 0.5),
        check("after all", lambda: found(True)),
    ]
"""


def run(script: Path, out: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(script), "--device", "cpu", "--out", str(out), "--sizes", "1", "2", "4", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(unsqueeze.__file__).parents[1])},
    )
    report = out / "gpu-check.json"
    return done, json.loads(report.read_text()) if report.exists() else {}


def test_every_check_has_a_verdict_whatever_the_others_do(tmp_path: Path) -> None:
    script = Path(shutil.copy(BENCHMARKS / "gpu_check.py", tmp_path))
    (tmp_path / "gpu_checks.py").write_text(CHECKS)
    done, report = run(script, tmp_path / "out", "--page", str(tmp_path / "page.md"))
    assert done.returncode == 1, done.stderr
    found = {check["name"]: check for check in report["checks"]}
    assert {name: check["verdict"] for name, check in found.items()} == {
        "good": "pass",
        "bad": "fail",
        "raises": "error",
        "nothing": "skipped",
        "dies": "error",
        "hangs": "late",
        "after all": "pass",
    }
    assert found["good"]["numbers"] == {"x": None, "y": 1}
    assert found["raises"]["says"] == "ValueError: broken"
    assert "in fall" in found["raises"]["error"]
    assert "code 7" in found["dies"]["says"]
    page = (tmp_path / "page.md").read_text()
    assert page == (tmp_path / "out" / "gpu-check.md").read_text()
    assert "**2 pass, 1 fail, 2 error, 1 late, 1 skipped.**" in page
    assert "| good | pass |" in page
    assert "a \\| b c |" in page
    assert [line.split()[0] for line in done.stdout.splitlines()[:-1]] == [c["verdict"] for c in report["checks"]]

    done, report = run(script, tmp_path / "none", "--seconds", "0")
    assert done.returncode == 1
    assert [check["name"] for check in report["checks"]] == ["starting a worker"]
    assert report["ended"] is not None

    done, report = run(script, tmp_path / "refused", "--models", "./no-such-folder")
    assert (done.returncode, report) == (2, {})
    assert "there is no folder of that name" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_all_checks_pass_on_a_cpu(tmp_path: Path) -> None:
    done, report = run(BENCHMARKS / "gpu_check.py", tmp_path, "--seconds", "5700")
    assert done.returncode == 0, done.stdout + done.stderr
    assert report["format"] == 1
    assert len(report["checks"]) > 20
    skipped = {check["name"] for check in report["checks"] if check["verdict"] != "pass"}
    assert skipped == {"vLLM", "vLLM run"}
