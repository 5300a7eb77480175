"""Names and places of what a recipe may give: known without loading anything, and refused in one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

from unsqueeze import extensions
from unsqueeze.algos.advantages.group_relative import group_relative
from unsqueeze.errors import UserError
from unsqueeze.extensions import ADVANTAGES, Registry, is_place, modules_of

REGISTRIES = [each for each in vars(extensions).values() if isinstance(each, Registry)]


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user's own in the working directory, as the console script has it: not on the path."""
    (tmp_path / "own_parts_here.py").write_text("class Holder:\n    value = 7\n")
    (tmp_path / "own_parts_broken.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return tmp_path


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.setting)
def test_every_entry_leads_to_something_callable(registry: Registry) -> None:
    assert list(registry)
    assert all(callable(registry.resolve(name)) for name in registry)


def test_estimators_are_known_by_their_files() -> None:
    folder = Path(extensions.__file__).parent / "algos/advantages"
    assert sorted(ADVANTAGES) == sorted(file.stem for file in folder.glob("*.py") if file.stem != "__init__")
    assert ADVANTAGES.resolve("group_relative") is group_relative
    assert modules_of("unsqueeze.algos.advantages")["group_relative"] == (
        "unsqueeze.algos.advantages.group_relative:group_relative"
    )


def test_names_are_known_without_torch() -> None:
    code = "import sys; from unsqueeze.extensions import ADVANTAGES; list(ADVANTAGES); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("mine:function", True),
        ("my.package.module:Class.method", True),
        ("mine", False),
        ("mine:", False),
        (":function", False),
        ("my-package:function", False),
        ("folder/mine.py:function", False),
        ("mine:a:b", False),
        ("mine:function()", False),
    ],
)
def test_what_a_place_is(name: str, is_one: bool) -> None:
    assert is_place(name) is is_one


def test_an_unknown_name_is_told_what_is_known() -> None:
    with pytest.raises(UserError) as caught:
        Registry("rl.loss", {"one": "a:b", "two": "c:d"}).resolve("three")
    assert str(caught.value) == (
        "rl.loss is 'three'; known are one, two, or one of your own as package.module:attribute."
    )


def test_an_object_of_ones_own_is_found_in_the_working_directory(own_module: Path) -> None:
    assert Registry("rl.loss", {}).resolve("own_parts_here:Holder.value") == 7


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("own_parts_nowhere:f", r"cannot be imported \(No module named 'own_parts_nowhere'\).*lie in the folder"),
        ("own_parts_here:Other", r"own_parts_here has no Other\.$"),
        ("own_parts_here:Holder.other", r"own_parts_here has no Holder\.other\.$"),
        ("own_parts_broken:f", r"importing own_parts_broken raised ZeroDivisionError: division by zero\.$"),
    ],
)
def test_what_is_wrong_with_a_place_is_one_sentence(own_module: Path, place: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Registry("rl.loss", {}).resolve(place)
