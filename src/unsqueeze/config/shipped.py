"""Names of the recipes inside the package, known without reading one: help has to be instant."""

from collections import Counter
from importlib import resources
from pathlib import Path


def shipped_recipes() -> list[str]:
    """Names of the recipes inside the package, folders of them included (``paper/...``)."""
    root = Path(str(resources.files("unsqueeze") / "recipes"))
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def describe_shipped_recipes() -> str:
    """The shipped recipes in one line; folders of many only by name and number."""
    names = shipped_recipes()
    folders = Counter(name.partition("/")[0] for name in names if "/" in name)
    singles = [name for name in names if "/" not in name]
    return ", ".join([*singles, *(f"{folder}/… ({number})" for folder, number in sorted(folders.items()))])
