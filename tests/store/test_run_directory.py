"""A run directory is made once, never over another, and found again whole."""

import json
import re
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

import unsqueeze
from unsqueeze.digests import sha256_of
from unsqueeze.errors import RunError, UserError
from unsqueeze.store.demos import DEMO_SCHEMA
from unsqueeze.store.provenance import git_state, provenance
from unsqueeze.store.rollouts import LOGP_PROXIMAL, ROLLOUT_SCHEMA
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.samples import SAMPLE_SCHEMA
from unsqueeze.store.seal import unsealed


def test_a_new_run_has_its_description_and_grows_its_parts(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "runs" / "a", {"recipe": {"rl": {"steps": 2}}, "seed": 1})
    assert unsealed(json.loads((run.path / "run.json").read_text())) == {"recipe": {"rl": {"steps": 2}}, "seed": 1}
    assert sorted(entry.name for entry in run.path.iterdir()) == ["lock", "run.json"]
    run.journal.append("start")
    run.metrics.append({"step": 0, "phase": 0})
    run.rollouts.write(0, [])
    run.demos.write(0, [])
    run.checkpoints.save(0, lambda folder: (folder / "policy").mkdir())
    run.evals.merge(0, "countdown", [])
    run.evals.finish(0, {})
    run.close()
    again = RunDirectory.open(run.path)
    assert again.info == {"recipe": {"rl": {"steps": 2}}, "seed": 1}
    assert [record["event"] for record in again.journal.read()] == ["start"]
    assert again.metrics.read() == [{"step": 0, "phase": 0}]
    assert (again.rollouts.steps(), again.demos.numbers(), again.evals.steps()) == ([0], [0], [0])
    assert again.checkpoints.latest() == 0
    assert sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()) == [
        "demos/irl-000.parquet",
        "evals/step-000000.json",
        "evals/step-000000.parquet",
        "journal.jsonl",
        "lock",
        "metrics.jsonl",
        "rollouts/step-000000.parquet",
        "run.json",
    ]


def test_an_existing_run_is_never_overwritten(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "a", {"seed": 1})
    with pytest.raises(UserError, match=r"holds a run already: resume it \(--resume\), or name another .* \(--run\)"):
        RunDirectory.create(tmp_path / "a", {"seed": 2})
    assert RunDirectory.open(tmp_path / "a").info == {"seed": 1}


def test_an_empty_directory_is_as_good_as_a_new_one(tmp_path: Path) -> None:
    (tmp_path / ".run.json.tmp").write_text("the remains of a start that was cut off")
    RunDirectory.create(tmp_path, {})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["lock", "run.json"]


def test_other_things_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="is not empty and holds no run: name another"):
        RunDirectory.create(tmp_path, {})
    with pytest.raises(UserError, match=r"thesis\.tex cannot be made \(Not a directory\): name another"):
        RunDirectory.create(tmp_path / "thesis.tex", {})
    with pytest.raises(UserError, match=r"has no run\.json"):
        RunDirectory.open(tmp_path)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("thesis.tex", "precious")]


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path, {"seed": 1})
    (tmp_path / "run.json").write_text('{"seed"')
    with pytest.raises(RunError, match=r"run\.json cannot be read: "):
        _ = RunDirectory.open(tmp_path).info


def test_provenance_says_what_ran() -> None:
    found = provenance()
    assert found["versions"]["torch"].startswith("2.")
    assert found["versions"]["unsqueeze"] is not None
    assert found["argv"]
    assert found["git"] == git_state(Path(unsqueeze.__file__).parent)
    json.dumps(found)


def test_the_commit_is_that_of_tracked_files_only(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "__init__.py").touch()
    assert git_state(tmp_path) is None  # lies in a checkout, is not part of it: as a site-packages folder may
    git("add", ".")
    git("commit", "-qm", "first")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "modified": False}
    (tmp_path / "__init__.py").write_text("changed = True")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "modified": True}


@pytest.mark.parametrize(
    ("heading", "schema"),
    [("rollouts", ROLLOUT_SCHEMA.append(LOGP_PROXIMAL)), ("demos", DEMO_SCHEMA), ("evals", SAMPLE_SCHEMA)],
)
def test_the_documentation_lists_the_columns_that_are_there(heading: str, schema: pa.Schema) -> None:
    page = (Path(__file__).parents[2] / "docs" / "run-directory.md").read_text()
    section = page.split(f"## `{heading}/`")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == schema.names


def test_the_hash_of_a_file_is_its_sha_256(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256_of(tmp_path / "data") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
