"""docs/api.md: every block of it runs, top to bottom, and prints what the page says; every public name is on it.

The blocks of README.md that stand alone run too.
"""

import contextlib
import io
import re
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path

import pytest

import unsqueeze

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:^```\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def test_every_block_runs_and_prints_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib").use("agg")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8")
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python")
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        line = text[: block.start()].count("\n") + 2
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (line - 1) + block[1], str(PAGE), "exec"), names)
        said = block[2] or ""
        assert OutputChecker().check_output(said, printed.getvalue(), ELLIPSIS), (
            f"{PAGE.name}:{line} prints\n{printed.getvalue()}and the page says\n{said}"
        )


def test_the_blocks_of_the_readme_that_stand_alone_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib").use("agg")
    monkeypatch.chdir(tmp_path)
    blocks = [block[1] for block in BLOCK.finditer((PAGE.parents[1] / "README.md").read_text("utf-8"))]
    alone = [block for block in blocks if "import unsqueeze as uq" in block]
    assert len(alone) == 2
    for block in alone:
        exec(block, {"__name__": "readme"})
    assert (tmp_path / "pass_at_k.png").stat().st_size > 1000
    assert (tmp_path / "runs" / "mine" / "run.json").is_file()


def test_every_public_name_is_on_the_page() -> None:
    text = PAGE.read_text("utf-8")
    missing = [
        name for name in unsqueeze.__all__ if name != "__version__" and not re.search(rf"`(uq\.)?{name}\b", text)
    ]
    assert missing == []


def test_public_names_are_those_that_dir_lists_and_each_loads() -> None:
    assert set(unsqueeze.__all__) <= set(dir(unsqueeze))
    for name in unsqueeze.__all__:
        assert getattr(unsqueeze, name) is not None
