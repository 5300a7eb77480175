"""Killed at any instant, a run goes on as if nothing had happened; checkpoints come and go whole."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lives import differences, live, tiny_recipe
from unsqueeze.errors import UserError
from unsqueeze.store import atomic
from unsqueeze.store.checkpoints import Checkpoints
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.seal import sealed
from unsqueeze.training.same_run import check_same_run

pytestmark = pytest.mark.usefixtures("judged_by_hash")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "crash.py"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    live(tiny_recipe(), path)
    return path


RANDOM_CRASHES = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parents[1])!r}, {str(SCRIPT.parent)!r}]
from lives import crash_benchmark
from small_runs import judging_by_hash, random_recipe
benchmark, cheap = crash_benchmark(), random_recipe().model_dump(mode="json")
benchmark.RECIPE["model"] = cheap["model"]
benchmark.RECIPE["rollout"] = cheap["rollout"]
with judging_by_hash():
    benchmark.main()
"""
"""The benchmark with a random model in place of the embedded one, which many kills are made of."""


@pytest.mark.parametrize(
    ("program", "kills", "kills_at_writes"),
    [(["-c", RANDOM_CRASHES], 1, 2), pytest.param([str(SCRIPT)], 20, 40, marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_killed_runs_go_on_bit_for_bit(program: list[str], kills: int, kills_at_writes: int):
    """SIGKILL at random instants and at random writes, by the benchmark itself."""
    command = [sys.executable, *program, "--kills", str(kills), "--kills-at-writes", str(kills_at_writes)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{kills + kills_at_writes} kills by SIGKILL" in result.stdout
    assert "0 differences" in result.stdout


def rewrite_json(path: Path, change: Callable[[dict], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(sealed(value)))


def flip_a_weight(path: Path) -> None:
    file = path / "checkpoints" / "step-000004" / "state" / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def take_other_rollouts(path: Path) -> None:
    shutil.copy(path / "rollouts" / "step-000001.parquet", path / "rollouts" / "step-000002.parquet")


def change_a_loss(path: Path) -> None:
    lines = (path / "metrics.jsonl").read_text().splitlines()
    lines[1] = json.dumps(sealed(json.loads(lines[1]) | {"loss": 0.125}))
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda path: None, []),
        (flip_a_weight, ["checkpoints"]),
        (take_other_rollouts, ["rollouts", "groups are not each stored once: [0, 1, 2, 0, 1, 2, 6, 7, 8, 9, 10, 11]"]),
        (change_a_loss, ["metrics"]),
        (lambda path: (path / "demos" / ".irl-001.parquet.tmp").touch(), ["names of files"]),
        (
            lambda path: rewrite_json(path / "evals" / "step-000004.json", lambda summary: summary.update(avg=2)),
            ["summaries"],
        ),
    ],
)
def test_the_comparison_finds_what_differs(whole: Path, tmp_path: Path, change: Callable, found: list[str]):
    """Three problems a step over four steps: groups 0 to 11."""
    other = shutil.copytree(whole, tmp_path / "other")
    change(other)
    assert differences(whole, other) == found


def test_few_checkpoints_are_kept_and_change_nothing(whole: Path, tmp_path: Path):
    path = tmp_path / "run"
    live(tiny_recipe(checkpoint={"keep_last": 2}), path)
    run = RunDirectory.open(path)
    assert run.checkpoints.steps() == [3, 4]
    shutil.rmtree(whole.parent / "pruned", ignore_errors=True)
    pruned = shutil.copytree(whole, whole.parent / "pruned")
    Checkpoints(pruned / "checkpoints").retain(2)
    assert differences(pruned, path) == []


@pytest.mark.parametrize(("keep_last", "left"), [(1, [7]), (2, [3, 7]), (3, [2, 3, 7]), (9, [2, 3, 7])])
def test_retention_keeps_the_newest(tmp_path: Path, keep_last: int, left: list[int]):
    checkpoints = Checkpoints(tmp_path)
    for step in (2, 3, 7):
        checkpoints.save(step, lambda folder: (folder / "weights").write_bytes(b"1"))
    assert checkpoints.retain(keep_last) == sorted({2, 3, 7} - set(left))
    assert checkpoints.steps() == left
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [f"step-{step:06d}" for step in left]


def test_a_removal_cut_off_leaves_the_checkpoint_whole_or_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = RunDirectory.create(tmp_path / "run", {})
    run.checkpoints.save(1, lambda folder: (folder / "weights").write_bytes(b"1"))
    run.checkpoints.save(2, lambda folder: (folder / "weights").write_bytes(b"2"))

    class CutOffError(BaseException):
        pass

    def cut_off(path: Path) -> None:
        if path.exists():
            raise CutOffError

    with monkeypatch.context() as patched:
        patched.setattr(atomic, "_remove", cut_off)
        with pytest.raises(CutOffError):
            run.checkpoints.retain(1)
    assert run.checkpoints.steps() == [2]
    assert (run.path / "checkpoints" / ".step-000001.tmp" / "weights").exists()
    run.close()
    RunDirectory.resume(run.path).close()
    assert [entry.name for entry in (run.path / "checkpoints").iterdir()] == ["step-000002"]


def test_how_the_work_is_done_may_change_in_between(whole: Path, tmp_path: Path):
    path = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(path / "checkpoints" / "step-000004")
    lines = (path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (path / "journal.jsonl").write_bytes(b"".join(lines[:-1]))
    other = tiny_recipe(
        checkpoint={"every_steps": None},
        rl={"tokens_per_microbatch": 99},
        rollout={"max_rows": 5},
        verify={"timeout_s": 9.0, "workers": 1},
    )
    live(other, path)
    assert RunDirectory.open(path).journal.read()[len(lines) - 1]["changed"] == {
        "checkpoint.every_steps": None,
        "rl.tokens_per_microbatch": 99,
        "rollout.max_rows": 5,
        "verify.timeout_s": 9.0,
        "verify.workers": 1,
    }
    # The last step's gradient was added up in other pieces: no bit of what was done before may differ.
    assert set(differences(whole, path)) <= {"metrics", "checkpoints", "samples of evaluations", "summaries"}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"rl": {"learning_rate": 2e-3}}, "rl.learning_rate 0.001, and 0.002 is given now; only checkpoint, "),
        ({"irl": {"kl_budget": 0.5}}, "irl.kl_budget null, and 0.5 is given now"),
        ({"evaluation": {"n": 3}}, "evaluation.n 2, and 3 is given now"),
        ({"verify": {"credit": "boxed"}}, "verify.credit anywhere, and boxed is given now"),
    ],
)
def test_what_is_learned_may_not_change(whole: Path, section: dict, said: str):
    recipe = tiny_recipe(**section)
    with pytest.raises(UserError, match=said):
        check_same_run(RunDirectory.open(whole), recipe, {})


def test_other_data_are_refused(whole: Path):
    run = RunDirectory.open(whole)
    data = run.info["data"]
    check_same_run(run, tiny_recipe(), data)
    with pytest.raises(UserError, match=r"other data: sha256.a.jsonl was null and is 12ab now"):
        check_same_run(run, tiny_recipe(), data | {"sha256": {"a.jsonl": "12ab"}})


def test_a_setting_that_is_newer_than_the_run_has_its_default(whole: Path, tmp_path: Path):
    path = shutil.copytree(whole, tmp_path / "run")
    rewrite_json(path / "run.json", lambda info: info["recipe"]["evaluation"].pop("top_k"))
    check_same_run(RunDirectory.open(path), tiny_recipe(), RunDirectory.open(whole).info["data"])
    with pytest.raises(UserError, match=r"evaluation\.top_k 0, and 5 is given now"):
        check_same_run(RunDirectory.open(path), tiny_recipe(evaluation={"top_k": 5}), {})


def test_a_lock_is_let_go_of_on_closing(tmp_path: Path):
    run = RunDirectory.create(tmp_path / "run", {})
    with pytest.raises(UserError, match="in use by process"):
        RunDirectory.resume(run.path)
    run.close()
    again = RunDirectory.resume(run.path)
    again.close()
