"""The arms of a recipe: runs that lie side by side in one folder."""

from pathlib import Path

from unsqueeze.errors import UserError


def arms_in(folder: Path) -> list[str]:
    """Return the names of the runs that lie in a folder, in the order in which they were started.

    None where the folder is a run itself.
    """
    if not folder.is_dir() or (folder / "run.json").is_file():
        return []
    found = [entry for entry in folder.iterdir() if (entry / "run.json").is_file()]
    return [entry.name for entry in sorted(found, key=lambda entry: (entry / "run.json").stat().st_mtime_ns)]


def refuse_arms(path: str | Path) -> None:
    """UserError naming the arms where a path is a folder of arms and one run is wanted."""
    folder = Path(path)
    if arms := arms_in(folder):
        raise UserError(f"{path} holds arms, not a run: name one of {', '.join(str(folder / arm) for arm in arms)}.")
