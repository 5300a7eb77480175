"""How many malformed inputs there are: fewer would be a loss nobody sees."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

SWEEPS = ("config/test_malformed_recipes.py", "cli/test_malformed_files.py", "store/test_malformed_runs.py")


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_as_many_as_the_documentation_says() -> None:
    sweeps = [loaded(Path(__file__).parent / name) for name in SWEEPS]
    cases = {str(case) for sweep in sweeps for case in sweep.CASES}
    page = (Path(__file__).parents[1] / "docs" / "reliability.md").read_text(encoding="utf-8")
    said = re.search(r"^(\d+) malformed inputs", page, re.MULTILINE)
    assert said is not None
    assert len(cases) == int(said[1]) >= 100
