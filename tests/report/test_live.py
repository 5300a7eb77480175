"""A report that is written again while training goes on, and at the end of one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unsqueeze.cli.picture import followed, picture
from unsqueeze.errors import UserError
from unsqueeze.progress import StopRequest
from unsqueeze.report import live
from unsqueeze.report.live import follow


def is_live(page: Path) -> bool:
    return '"reload_s": 15' in page.read_text("utf-8")


def test_it_is_written_whenever_something_was_added(
    arms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, stop, written = tmp_path / "run", StopRequest(), list[bool]()
    turns = iter(["begins", "nothing", "goes on", "stops"])

    def wait(seconds: float, asked: StopRequest) -> None:
        match next(turns):
            case "begins":
                assert written == []  # it was waited for
                shutil.copytree(arms / "sps", run)
            case "nothing":
                assert len(written) == 1
            case "goes on":
                assert len(written) == 1
                (run / "metrics.jsonl").touch()
            case "stops":
                assert len(written) == 2
                stop.asked = True

    monkeypatch.setattr(live, "_wait", wait)
    target = follow([str(run)], None, stop, lambda path: written.append(is_live(path)))
    assert written == [True, True]
    assert target == run / "report.html"
    assert not is_live(target)


def test_what_goes_wrong_with_a_picture_is_a_warning(
    arms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, warned = list[str](), list[str]()
    run = tmp_path / "run"
    shutil.copytree(arms / "sps", run)
    picture(run, said.append, warned.append)
    assert said == [f"report: {run / 'report.html'}"]
    assert warned == []
    picture(tmp_path / "none", said.append, warned.append)
    assert len(said) == 1
    assert "no report was written" in warned[0]


def test_the_process_that_follows_ends_with_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    popen = subprocess.Popen

    def sleeping(command: list[str], **further: object) -> subprocess.Popen[bytes]:
        assert command[1:] == ["-m", "unsqueeze", "report", "runs/x", "--live"]
        begun.append(popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        return begun[0]

    monkeypatch.setattr(subprocess, "Popen", sleeping)
    with pytest.raises(UserError), followed(Path("runs/x"), wanted=True):
        raise UserError("training ends, whatever the reason")
    assert begun[0].returncode is not None
    with followed(Path("runs/x"), wanted=False):
        pass
    assert len(begun) == 1
