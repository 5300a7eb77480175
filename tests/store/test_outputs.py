"""Files that a user names for output."""

import os
import stat
import threading
from pathlib import Path

import pytest

from unsqueeze.errors import UserError
from unsqueeze.evaluation.eval_directory import EvalDirectory
from unsqueeze.store.outputs import is_same_file, output_file


def write(out: Path, text: str = "new") -> None:
    with output_file(out) as path:
        path.write_text(text)


def test_a_link_stays_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(0o600)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "new"


def test_a_device_stays_a_device() -> None:
    write(Path("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write(pipe)
    reader.join()
    assert read == ["new"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which is a folder; name a file"):
        write(tmp_path)


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with output_file(path) as aside:
            aside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_one_file_under_two_names(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").touch()
    (tmp_path / "link").symlink_to("in")
    os.link(tmp_path / "in" / "file", tmp_path / "hard")
    for other in (tmp_path / "link" / "file", tmp_path / "in" / ".." / "link" / "file", tmp_path / "hard"):
        assert is_same_file(tmp_path / "in" / "file", other)
    assert is_same_file(tmp_path / "new", tmp_path / "in" / ".." / "new")
    assert not is_same_file(tmp_path / "new", tmp_path / "in" / "file")


def test_two_evaluations_do_not_share_a_folder(tmp_path: Path) -> None:
    asked = {"model": "m", "benchmarks": {}}
    first = EvalDirectory(tmp_path / "out")
    first.open(asked)
    with pytest.raises(UserError, match=r"out is in use by process \d+ .*; wait for that evaluation to end, or name"):
        EvalDirectory(tmp_path / "out").open(asked)
    first.close()
    again = EvalDirectory(tmp_path / "out")
    again.open(asked)
    again.close()
