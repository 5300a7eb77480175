"""``unsqueeze report`` and ``unsqueeze plot``: files where they are asked for, and refusals of one sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def two_files(tmp_path: Path) -> list[str]:
    paths = []
    for name, right in (("a", 1), ("b", 3)):
        lines = [{"problem_id": f"p{p}", "correct": i < right} for p in range(8) for i in range(4)]
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        paths.append(str(path))
    return paths


def test_a_report_of_samples(command: Command, two_files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "r.html"
    code, printed, noted = command("report", *two_files, "--out", str(out))
    assert (code, printed) == (0, "")
    assert f"{out}: open it in a browser" in noted
    page = out.read_text("utf-8")
    assert "b.jsonl lost 0" in page


def test_figures_alone(command: Command, two_files: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "figures"
    code, _, noted = command("report", *two_files, "--figures", str(folder))
    assert code == 0
    assert (folder / "pass-at-k.pdf").is_file()
    assert (folder / "results.csv").is_file()
    assert "open it" not in noted


def test_curves(command: Command, two_files: list[str], tmp_path: Path) -> None:
    out = tmp_path / "curves.svg"
    code, _, noted = command("plot", f"first={two_files[0]}", f"second={two_files[1]}", "--out", str(out))
    assert code == 0
    assert "second" in out.read_text("utf-8")
    assert str(out) in noted


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("report", "nothing-here"), "nothing-here does not exist"),
        (("plot", "nothing-here.jsonl"), "nothing-here.jsonl"),
        (("plot", "a.jsonl", "--out", "curves.png"), ".svg or .pdf"),
    ],
)
def test_what_cannot_be_is_refused(command: Command, arguments: tuple[str, ...], said: str) -> None:
    code, _, noted = command(*arguments)
    assert code == 2
    assert said in noted
