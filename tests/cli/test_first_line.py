"""Every command says what it begins before it loads anything large, so that a person never waits for a first word."""

import subprocess
import sys

import pytest

ENDS_AT_LARGE = """
import sys

class EndsHere:
    def find_spec(self, name, path=None, target=None):
        if name in {large!r}:
            raise SystemExit(77)

sys.meta_path.insert(0, EndsHere())
sys.argv = ["unsqueeze", *{arguments!r}]
from unsqueeze.cli.main import main
main()
"""
TORCH = ["torch", "transformers", "pyarrow"]
LARGE = [*TORCH, "sympy", "numpy", "yaml"]


@pytest.mark.parametrize(
    ("arguments", "large"),
    [
        (["train", "smoke", "--run", "none"], TORCH),
        (["eval", "countdown-0.4m", "--task", "countdown", "--out", "none"], LARGE),
        (["diagnose", "countdown-0.4m", "--task", "countdown"], LARGE),
        (["irl", "countdown-0.4m", "--demos", "none.jsonl", "--out", "none"], LARGE),
        (["select", "none.jsonl", "--out", "none"], LARGE),
        (["verify", "none.jsonl"], LARGE),
        (["score", "none.jsonl"], LARGE),
        (["compare", "none.jsonl", "other.jsonl"], LARGE),
        (["export", "none", "--out", "other"], LARGE),
        (["convert", "none", "--out", "other"], LARGE),
        (["average", "none", "other", "--out", "out"], LARGE),
        (["doctor"], LARGE),
    ],
    ids=lambda value: value[0],
)
def test_the_first_line_comes_before_anything_large(arguments: list[str], large: list[str]) -> None:
    script = ENDS_AT_LARGE.format(large=large, arguments=arguments)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 77, result.stderr
    lines = (result.stdout + result.stderr).splitlines()
    assert len(lines) == 1
    assert lines[0].endswith(" …")
