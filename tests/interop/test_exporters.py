"""An exporter of the user's own, by its place."""

import json
from pathlib import Path

import pytest

import unsqueeze as uq
from unsqueeze.errors import UserError


def test_an_exporter_of_ones_own(tmp_path: Path) -> None:
    samples = tmp_path / "samples.jsonl"
    outcomes = [("a", True), ("b", False), ("a", False)]
    lines = [{"problem_id": name, "gold": "4", "text": "5", "correct": correct} for name, correct in outcomes]
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert uq.export(str(samples), tmp_path / "out", to="own_parts:exporter") == (3, 2)
    assert (tmp_path / "out/answers.txt").read_text().splitlines() == ["a 4 [True, False]", "b 4 [False]"]


def test_an_exporter_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^to is 'inspect'; known are evalscope, lighteval, or one of your own"):
        uq.export("nothing.jsonl", tmp_path / "out", to="inspect")
