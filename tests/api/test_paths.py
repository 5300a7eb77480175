"""Runs compared along their paths: what is read of them, and the numbers of a small case by hand."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import unsqueeze as uq
from unsqueeze.errors import UserError
from unsqueeze.store.records import write_record


def run(folder: Path, seed: int, evaluations: dict[int, list[int]], num_samples: int = 8) -> str:
    """A run with its seed and evaluations: at each step, how many of the samples of each problem are right."""
    (folder / "evals").mkdir(parents=True)
    write_record(folder / "run.json", {"recipe": {"name": "x", "seed": seed}})
    for step, counts in evaluations.items():
        rows = [
            {"problem_id": str(problem), "correct": sample < count}
            for problem, count in enumerate(counts)
            for sample in range(num_samples)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "evals" / f"step-{step:06d}.parquet")
        (folder / "evals" / f"step-{step:06d}.json").write_text("{}")
    return str(folder)


def solved(count: int, of: int = 20) -> list[int]:
    """So many of 20 problems are always right, the others never: Pass@k is Avg@n."""
    return [8] * count + [0] * (of - count)


@pytest.fixture
def two_seeds(tmp_path: Path) -> dict[str, list[str]]:
    """The first side goes from 5 to 15 of 20 problems; the second from there to all problems half of the time."""
    sides: dict[str, list[str]] = {"grpo": [], "sps": []}
    for seed in (0, 1):
        sides["grpo"].append(run(tmp_path / f"{seed}" / "grpo", seed, {0: solved(5), 10: solved(15), 20 + seed: []}))
        sides["sps"].append(run(tmp_path / f"{seed}" / "sps", seed, {0: solved(5), 10: [4] * 20}))
    return sides


def test_gap_and_area_by_hand(two_seeds: dict[str, list[str]]) -> None:
    found = uq.compare_paths(two_seeds, k=2)
    assert (found.k, found.num_problems) == (2, 20)
    assert found.steps == {"grpo": [0, 10], "sps": [0, 10]}
    assert found.paths["grpo"].num_seeds == 2
    # The first point is that of the first side, the second has Pass@2 = 1 − C(4, 2)/C(8, 2) = 11/14 at an Avg of 1/2.
    same, last = found.against_first["sps"].gaps
    assert same.gap.mean == pytest.approx(0, abs=1e-12)
    assert last.gap.mean == pytest.approx(11 / 14 - 1 / 2)
    assert found.paths["grpo"].hypervolume.mean == pytest.approx(0.75**2)
    assert found.against_first["sps"].hypervolume.mean == pytest.approx(11 / 28 - 0.75**2)
    assert json.loads(json.dumps(found.to_json_object(), allow_nan=False))["paths"]["sps"]["points"][1]["step"] == 10


def test_by_the_command(two_seeds: dict[str, list[str]], command) -> None:
    sides = [f"{name}={path}" for name, paths in two_seeds.items() for path in paths]
    code, out, err = command("compare", *sides, "--paths", "--k", "1,2", "--json")
    assert code == 0, err
    assert json.loads(out) == json.loads(json.dumps(uq.compare_paths(two_seeds, k=2).to_json_object()))
    assert "grpo: left out are evaluations that not every seed has, after step 20, 21" in err
    code, out, _ = command("compare", *sides, "--paths", "--k", "2")
    assert code == 0
    assert "+28.6" in out
    assert "hypervolume" in out
    code, out, _ = command("compare", *sides, "--paths", "--k", "2", "--format", "csv")
    assert out.splitlines()[0].startswith("side,step,")
    assert len(out.splitlines()) == 5


def test_what_is_no_run_is_one_point_and_beyond_it_there_is_no_gap(tmp_path: Path, command) -> None:
    base = tmp_path / "base.jsonl"
    base.write_text(
        "".join(
            json.dumps({"problem_id": str(problem), "correct": sample < 2}) + "\n"
            for problem in range(20)
            for sample in range(8)
        )
    )
    other = run(tmp_path / "sps", 0, {0: solved(5), 10: solved(10)})
    found = uq.compare_paths({"base": str(base), "sps": other}, k=4)
    assert found.steps["base"] == [None]
    first, last = found.against_first["sps"].gaps
    assert first.where == "inside"
    assert (last.where, last.end_avg) == ("above", pytest.approx(0.25))
    assert last.to_end is not None
    code, out, _ = command("compare", f"base={base}", f"sps={other}", "--paths", "--k", "4")
    assert code == 0
    assert "sps ends at an Avg of 50.0 %, above all of base's" in out


def test_refusals(two_seeds: dict[str, list[str]], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two sides or more"):
        uq.compare_paths({"grpo": two_seeds["grpo"]})
    with pytest.raises(UserError, match="Pass@9 takes 9"):
        uq.compare_paths(two_seeds, k=9)
    other = run(tmp_path / "other", 1, {5: solved(5)})
    with pytest.raises(UserError, match="no evaluation after the same step"):
        uq.compare_paths({"grpo": two_seeds["grpo"], "sps": [two_seeds["sps"][0], other]})
