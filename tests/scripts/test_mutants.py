"""Where faults are planted, which of them, and by which tests each is tried."""

import importlib.util
import sys
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
    sys.modules["mutants"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Three modules, each importing the one before it, and tests that name the first and the second."""
    files = {
        "src/unsqueeze/room/first.py": "def half(n):\n    return n / 2\n\n\nclass Twice:\n    def of(self, n):\n"
        "        return 2 * n\n",
        "src/unsqueeze/room/second.py": "from unsqueeze.room.first import half\n",
        "src/unsqueeze/room/third.py": "from unsqueeze.room import second\n",
        "src/unsqueeze/room/firstly.py": "LIMIT = 1\n",
        "tests/room/test_first.py": "from unsqueeze.room.first import half\n",
        "tests/room/test_third.py": "import unsqueeze.room.third\n",
        "tests/other/test_second.py": "from unsqueeze.room.second import half\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_every_room_has_code_and_tests_of_its_own(script: ModuleType) -> None:
    for room in script.ROOMS:
        assert list((ROOT / "src/unsqueeze" / room).glob("*.py"))
        assert list((ROOT / "tests" / room).glob("test_*.py"))
    assert all((ROOT / name).exists() for name in script.NEEDED)


def test_a_sample_is_the_beginning_of_a_larger_one(script: ModuleType) -> None:
    names = [f"a.b:f:{i}" for i in range(50)] + ["a.c:g:1"]
    assert script.chosen(names, [], None, 0) == names
    assert script.chosen(names, ["a.c*", "a.b:f:1"], None, 0) == ["a.b:f:1", "a.c:g:1"]
    few, many = script.chosen(names, [], 5, 1), script.chosen(names, [], 30, 1)
    assert many[:5] == few
    assert len(set(many)) == 30
    assert script.chosen(names, [], 5, 2) != few
    assert script.chosen(names, ["a.c*"], 5, 1) == ["a.c:g:1"]


def test_a_fault_is_tried_by_the_tests_that_name_its_module_or_one_that_imports_it(
    script: ModuleType, checkout: Path
) -> None:
    tried = {name: script.tests_of(f"src/unsqueeze/room/{name}.py", "room", checkout) for name in ("first", "second")}
    assert tried == {"first": ["tests/room/test_first.py"], "second": ["tests/room/test_third.py"]}
    everything = ["tests/room/test_first.py", "tests/room/test_third.py"]
    assert script.tests_of("src/unsqueeze/room/firstly.py", "room", checkout) == everything


def test_a_fault_is_one_change_of_one_function_and_is_taken_back(script: ModuleType, checkout: Path) -> None:
    pytest.importorskip("mutmut", reason="the extra mutants is not installed")
    faults = script.Faults("room", checkout)
    names = faults.names()
    assert {name.rpartition(":")[0] for name in names} == {"unsqueeze.room.first:half", "unsqueeze.room.first:of"}
    path = checkout / "src/unsqueeze/room/first.py"
    right = path.read_text()
    for name in names:
        fault = faults.write_out(name)
        compile(fault.source, fault.file, "exec")
        assert [line[0] for line in fault.diff.splitlines()[3:] if line[0] != " "] == ["-", "+"]
        with script.planted(checkout, fault):
            assert path.read_text() == fault.source != right
        assert path.read_text() == right
