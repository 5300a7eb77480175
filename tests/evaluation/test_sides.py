"""Sides of a comparison: their names on a command line, and which runs belong together."""

from pathlib import Path

import pytest

from unsqueeze.errors import UserError
from unsqueeze.evaluation.sides import paired_by_seed, sides_of
from unsqueeze.store.records import write_record


def run(path: Path, seed: int) -> str:
    path.mkdir(parents=True)
    write_record(path / "run.json", {"recipe": {"name": "x", "seed": seed}})
    return str(path)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folders of two arms each, of seeds 0 and 1; and a file of samples with a sign of ours in its name."""
    monkeypatch.chdir(tmp_path)
    for seed, folder in enumerate(("one", "two")):
        for arm in ("grpo", "sps"):
            run(Path(folder) / arm, seed)
    Path("a=b.jsonl").write_text("")


@pytest.mark.usefixtures("folders")
def test_names_and_sources() -> None:
    arms = {"grpo": ["one/grpo"], "sps": ["one/sps"]}
    assert sides_of(["one"]) == sides_of(["one:grpo", "one:sps"]) == arms
    assert list(sides_of(["one:sps", "one:grpo"])) == ["sps", "grpo"]  # the first that is named is compared with
    assert sides_of(["one", "two"]) == {"grpo": ["one/grpo", "two/grpo"], "sps": ["one/sps", "two/sps"]}
    assert sides_of(["x=one:sps", "x=two/sps", "one/grpo"]) == {"x": ["one/sps", "two/sps"], "one/grpo": ["one/grpo"]}
    assert sides_of(["a=b.jsonl", "c=a=b.jsonl"]) == {"a=b.jsonl": ["a=b.jsonl"], "c": ["a=b.jsonl"]}
    assert sides_of(["one/sps", "one/sps"]) == {"one/sps": ["one/sps"], "one/sps again": ["one/sps"]}
    assert sides_of(["none.jsonl"]) == {"none.jsonl": ["none.jsonl"]}


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["one:dapo"], "one has no arm 'dapo'; it holds grpo, sps"),
        (["x=one"], "give one of x=one:grpo, x=one:sps, or one alone"),
        (["one", "one:sps"], "one/sps is given twice for sps"),
    ],
)
def test_what_fits_nothing_is_refused(arguments: list[str], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        sides_of(arguments)


@pytest.mark.usefixtures("folders")
def test_runs_are_paired_by_their_seed_whatever_the_order() -> None:
    assert paired_by_seed([("grpo", ["two/grpo", "one/grpo"]), ("sps", ["one/sps", "two/sps"])]) == [
        ["one/grpo", "two/grpo"],
        ["one/sps", "two/sps"],
    ]
    # One source stands beside every seed; without known seeds the order given counts.
    assert paired_by_seed([("base", ["x"]), ("sps", ["two/sps", "one/sps"])]) == [["x", "x"], ["one/sps", "two/sps"]]
    assert paired_by_seed([("a", ["x", "y"]), ("b", ["two/sps", "one/sps"])]) == [["x", "y"], ["two/sps", "one/sps"]]
    assert paired_by_seed([("a", ["x"]), ("b", ["y"])]) == [["x"], ["y"]]


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (["one/sps", "two/sps", "x"], "as many each"),
        (["one/sps", "again/sps"], "must differ in their seed"),
        (["one/sps", "other/sps"], "the same seeds: grpo has seed 0, seed 1; sps has seed 0, seed 7"),
    ],
)
def test_seeds_that_do_not_match_are_refused(second: list[str], expected: str) -> None:
    run(Path("again/sps"), 0)
    run(Path("other/sps"), 7)
    with pytest.raises(UserError, match=expected):
        paired_by_seed([("grpo", ["one/grpo", "two/grpo"]), ("sps", second)])
