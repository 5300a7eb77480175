"""Where faults are planted: in copies of the rooms that there are, tried by the tests of their own."""

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants", ROOT / "scripts" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_room_has_code_and_tests_of_its_own(script: ModuleType, tmp_path: Path) -> None:
    for room in script.ROOMS:
        folder = script.workplace(room, tmp_path / room)
        settings = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["mutmut"]
        assert [list(folder.glob(pattern)) != [] for pattern in settings["only_mutate"]] == [True]
        assert [list((folder / tests).glob("test_*.py")) != [] for tests in settings[SELECTION]] == [True]
        assert all((folder / name).exists() for name in settings["also_copy"])
        assert (folder / "src").resolve() == ROOT / "src"


SELECTION = "pytest_add_cli_args_test_selection"


def test_survivors_are_those_that_were_tried_and_not_noticed(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {
        (
            "results",
        ): "    a.b.x_f__mutmut_1: survived\n    a.b.x_f__mutmut_2: not checked\n    a.c.x_g__mutmut_1: no tests\n",
        ("show", "a.b.x_f__mutmut_1"): "-one\n+other\n",
        ("show", "a.c.x_g__mutmut_1"): "-all\n+none\n",
    }

    def answering(folder: Path, *arguments: str, capture: bool) -> object:
        return type("Done", (), {"stdout": said[arguments]})

    monkeypatch.setattr(script, "mutmut", answering)
    assert script.survivors(tmp_path) == ["-one\n+other\n", "-all\n+none\n"]
