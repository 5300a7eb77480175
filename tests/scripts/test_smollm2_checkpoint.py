"""What the conversion script of SmolLM2 refuses and what it leaves alone."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from unsqueeze.errors import MissingExtraError, UserError

SCRIPT = Path(__file__).parents[2] / "scripts" / "smollm2_checkpoint.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("smollm2_checkpoint", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_folder_with_other_things_is_not_touched(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="exists and is not an empty folder; name another, or remove it"):
        script.main([str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_it_has_made_is_left_as_it_is(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / script.MARKER).write_text("made before")
    script.main([str(tmp_path)])
    assert "already holds the checkpoint" in capsys.readouterr().out
    assert [path.read_text() for path in tmp_path.iterdir()] == ["made before"]


def test_a_missing_package_is_named_with_its_command(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=re.escape(script.INSTALL)):
        script.main([str(tmp_path / "out")])
    assert not list(tmp_path.iterdir())


def test_a_failed_conversion_leaves_nothing_behind(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(gguf: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(script, "find_gguf", lambda: tmp_path / "x.gguf")
    monkeypatch.setattr(script, "convert", fail)
    with pytest.raises(OSError, match="no space left"):
        script.main([str(tmp_path / "out")])
    assert not list(tmp_path.iterdir())
