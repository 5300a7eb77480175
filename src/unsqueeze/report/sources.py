"""What a report is asked of: runs, folders of arms, laboratories, evaluations and files of samples, by their names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unsqueeze.errors import RunError, UserError
from unsqueeze.evaluation.sides import sides_of
from unsqueeze.store.records import read_record

LAB_FILE = "lab.json"


def named_sources(arguments: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the sources of every side by its name, and what is to be said of those that are not there.

    Arguments are those of ``compare`` (``evaluation.sides``), and directories of laboratories, whose arms are sides and
    whose seeds are their runs. UserError where one is none of these.
    """
    if not arguments:
        raise UserError("report: name a run, a folder of arms, a laboratory, an evaluation or a file of samples.")
    sides: dict[str, list[str]] = {}
    notes: list[str] = []
    for argument in arguments:
        path = Path(argument)
        if (path / LAB_FILE).is_file():
            found, told = _of_laboratory(path)
            notes += told
        else:
            found = {name: [str(source) for source in sources] for name, sources in sides_of([argument]).items()}
        for name, sources in found.items():
            for source in sources:
                if not Path(source).exists():
                    raise UserError(f"report: {source} does not exist; name a run, an evaluation or a sample file.")
                if source not in sides.setdefault(name, []):
                    sides[name].append(source)
    return _shortened(sides), notes


def _of_laboratory(folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Return the reported runs of a laboratory by arm; of those that are not done, how they stand (docs/lab.md)."""
    path = folder / LAB_FILE
    try:
        entries = [
            (_arm(each), each["path"], each) for each in read_record(path)["runs"] if each.get("role") == "reported"
        ]
    except (RunError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} does not say which runs a laboratory has ({error}); give its runs.") from None
    sides: dict[str, list[str]] = {}
    notes = []
    for arm, place, entry in entries:
        if place is not None and (folder / place / "run.json").is_file():
            sides.setdefault(arm, []).append(str(folder / place))
        if entry.get("status") != "finished":
            why = f": {entry['error']}" if entry.get("error") else ""
            notes.append(f"{arm}, seed {entry.get('seed')} is {entry.get('status')}{why}")
    if not sides:
        raise UserError(f"{folder} is a laboratory without a reported run so far; wait for the first.")
    return sides, notes


def _arm(entry: Mapping[str, Any]) -> str:
    variant = entry.get("variant")
    return f"{entry['arm']}, {variant}" if variant else str(entry["arm"])


def _shortened(sides: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the sides under names that a person can tell apart: of a path the end, as far as it must be told."""
    names = {name: name for name in sides}
    parts = {name: Path(name).parts for name, sources in sides.items() if sources == [name]}
    for name, own in parts.items():
        for length in range(1, len(own) + 1):
            short = str(Path(*own[-length:]))
            taken = {str(Path(*other[-length:])) for each, other in parts.items() if each != name} | (
                set(sides) - {name}
            )
            if short not in taken:
                names[name] = short
                break
    return {names[name]: sources for name, sources in sides.items()}
