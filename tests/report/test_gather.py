"""What a report says is what the files and ``compare`` say; of what is broken or unfinished it says so."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import unsqueeze as uq
from unsqueeze.errors import UserError
from unsqueeze.progress import Advance, Silent
from unsqueeze.report.charts import crossover, histogram, pass_at_k
from unsqueeze.report.gather import gather
from unsqueeze.report.plane import plane
from unsqueeze.report.statements import headline
from unsqueeze.report.tables import all_tables, contrast_rows
from unsqueeze.store.records import write_record


def test_numbers_are_those_of_the_summaries_and_of_compare(arms: Path) -> None:
    report = gather([str(arms)])
    assert [(side.name, side.role) for side in report.sides] == [("grpo", "control"), ("sps", "irl")]
    for side, run in report.runs:
        for checkpoint in run.checkpoints:
            stored = json.loads((arms / side.name / "evals" / f"step-{checkpoint.step:06d}.json").read_bytes())
            told = checkpoint.summary.to_json_object()
            assert told == {name: stored[name] for name in told}
        assert [each.step for each in run.checkpoints] == [0, 2, 4, 5]
    for rows, sides in (
        (report.against_first, {"grpo": str(arms / "grpo"), "sps": str(arms / "sps")}),
        (
            report.against_base,
            {"base": str(arms / "grpo/evals/step-000000.parquet")}
            | {name: str(arms / name) for name in ("grpo", "sps")},
        ),
    ):
        expected = uq.compare_all(sides)
        assert contrast_rows(rows) == [
            {"first": first, "second": second, **each.to_json_object(difference=0.05)}
            for (second, first), each in expected.items()
        ]


def test_the_headline_counts_problems_lost_of_those_the_base_could_solve(arms: Path) -> None:
    report = gather([str(arms)])
    before = uq.open_run(arms / "grpo").samples(0).to_pylist()
    solved = {each["problem_id"] for each in before if each["correct"]}
    lost = {}
    for name in ("grpo", "sps"):
        after = uq.open_run(arms / name).samples(5).to_pylist()
        lost[name] = len(solved - {each["problem_id"] for each in after if each["correct"]})
    said = headline(report)
    assert said.startswith(f"grpo lost {lost['grpo']} of the {len(solved)} problems that the base could solve")
    assert f"sps lost {lost['sps']}" in said


def test_the_plane_has_every_path_from_the_base(arms: Path) -> None:
    report = gather([str(arms)])
    drawn = plane(report)
    assert drawn.values == ["2", "4", "8"]
    assert drawn.shown == 2
    paths = {each.name: each for each in drawn.figures[2].series if each.kind == "path"}
    summaries = uq.open_run(arms / "sps").evaluations
    assert paths["sps"].x == [100 * each.avg.mean for each in summaries.values()]
    assert paths["sps"].y == [100 * each.pass_at[8].mean for each in summaries.values()]
    assert (paths["sps"].x[0], paths["sps"].y[0]) == (paths["grpo"].x[0], paths["grpo"].y[0])


def test_every_problem_is_in_one_bar_of_the_histogram(arms: Path) -> None:
    (figure,) = histogram(gather([str(arms)]))
    assert {each.name: sum(each.y) for each in figure.series} == {"base": 4, "grpo": 4, "sps": 4}


def test_a_crossover_is_between_the_ks_on_a_log_scale() -> None:
    # Gaps +0.2, −0.2 at k = 2 and 8: half-way in log2 is k = 4.
    assert crossover([1, 2, 8], [0.1, 0.2, 0.6], [0.4, 0.4, 0.4]) == pytest.approx(4)
    assert crossover([1, 2], [0.1, 0.2], [0.2, 0.3]) is None
    assert crossover([1, 2], [0.2, 0.3], [0.1, 0.4]) is None  # it rises above: nothing is lost at large k


def test_tables_say_what_irl_phases_changed(arms: Path) -> None:
    table = all_tables(gather([str(arms)]))["phases"]
    reports = [each for each in uq.open_run(arms / "sps").reports if each.kind == "irl"]
    assert [row[1] for row in table.rows] == [each.phase for each in reports]
    assert [row[5] for row in table.rows] == [each.kl_moved for each in reports]


def test_a_broken_run_gives_what_is_there_and_says_what_is_missing(arms: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(arms, broken)
    sps = broken / "sps"
    (sps / "evals" / "step-000005.json").unlink()
    (sps / "evals" / "step-000004.parquet").write_bytes(b"PAR1 no")
    lines = (sps / "metrics.jsonl").read_bytes().splitlines()
    (sps / "metrics.jsonl").write_bytes(b"\n".join([lines[0], b"{]", *lines[1:]]) + b"\n")
    journal = (sps / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (sps / "journal.jsonl").write_bytes(b"".join(journal[:-1]))
    (broken / "grpo" / "run.json").write_text("{")
    report = gather([str(broken)])
    runs = {run.label: run for _, run in report.runs}
    assert [each.step for each in runs["sps"].checkpoints] == [0, 2]
    assert not runs["sps"].is_done
    assert any("step 4" in each and "step-000004.parquet" in each for each in runs["sps"].missing)
    assert any("metrics.jsonl" in each for each in runs["sps"].missing)
    assert any("run.json" in each for each in runs["grpo"].missing)
    assert len(runs["grpo"].checkpoints) == 4
    assert uq.write_report(broken, out=tmp_path / "r.html").stat().st_size > 1_000_000


def test_a_run_that_has_not_begun_to_measure_is_a_page_too(arms: Path, tmp_path: Path) -> None:
    run = tmp_path / "new"
    run.mkdir()
    shutil.copy(arms / "sps" / "run.json", run / "run.json")
    report = gather([str(run)])
    assert headline(report) == "Nothing is measured so far."
    assert uq.write_report(run) == run / "report.html"


def test_evaluations_and_files_of_samples_stand_side_by_side(arms: Path, tmp_path: Path) -> None:
    lines = [{"problem_id": f"p{i % 4}", "correct": i % 3 == 0} for i in range(16)]
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = gather([f"before={arms}/sps/evals/step-000000.parquet", f"after={arms}/sps/evals/step-000005.parquet"])
    assert [side.name for side in report.sides] == ["before", "after"]
    assert headline(report).startswith("after lost ")
    alone = gather([str(path)])
    assert alone.sides[0].name == "samples.jsonl"
    assert "answers are right" in headline(alone)


def test_seeds_of_one_arm_are_one_side(seeds: list[Path]) -> None:
    report = gather([str(path) for path in seeds])
    assert [(side.name, [run.label for run in side.runs]) for side in report.sides] == [
        ("grpo", ["grpo, seed 3", "grpo, seed 4"]),
        ("sps", ["sps, seed 3", "sps, seed 4"]),
    ]
    (found,) = report.against_first
    expected = uq.compare_all([str(path) for path in seeds])["sps", "grpo"]
    assert found.comparison.to_json_object(difference=0.05) == expected.to_json_object(difference=0.05)
    assert found.comparison.num_seeds == 2
    assert [each.comparison.num_seeds for each in report.against_base] == [2, 2]
    assert "(over 2 seeds)" in headline(report)
    band = next(each for each in pass_at_k(report).series if each.kind == "band" and each.name == "sps")
    at_8 = sorted(100 * uq.open_run(path / "sps").evaluations[5].pass_at[8].mean for path in seeds)
    assert [band.low[-1], band.high[-1]] == at_8


def test_an_arm_that_lacks_a_seed_is_not_compared_with_the_base_and_that_is_said(seeds: list[Path]) -> None:
    report = gather([f"grpo={seeds[0] / 'grpo'}", f"grpo={seeds[1] / 'grpo'}", f"sps={seeds[0] / 'sps'}"])
    assert [each.other for each in report.against_base] == ["grpo"]
    assert [each for each in report.notes if each.startswith("sps is not compared with the base: 1 of its runs")]


def test_a_laboratory_is_its_reported_runs(seeds: list[Path], tmp_path: Path) -> None:
    runs = [
        {"arm": arm, "variant": None, "seed": seed, "role": "reported", "status": "finished", "error": None}
        | {"path": os.path.relpath(path / arm, tmp_path)}
        for arm in ("grpo", "sps")
        for seed, path in zip((3, 4), seeds, strict=True)
    ]
    searched = runs[0] | {"role": "search", "seed": 9}
    failed = runs[0] | {"seed": 5, "path": "../runs/none", "status": "failed", "error": "no room"}
    waiting = runs[0] | {"arm": "late", "path": None, "status": "waiting"}
    write_record(tmp_path / "lab.json", {"runs": [searched, *runs, failed, waiting]})
    report = gather([str(tmp_path)])
    assert [(side.name, len(side.runs)) for side in report.sides] == [("grpo", 2), ("sps", 2)]
    assert "grpo, seed 5 is failed: no room" in report.notes
    assert "late, seed 3 is waiting" in report.notes


def test_what_is_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        gather([str(tmp_path / "none")])


class Told(Silent):
    """Every piece of work: what it is called, of how many parts, and how many were told of."""

    def __init__(self) -> None:
        self.work_of: list[list[object]] = []

    @contextmanager
    def work(self, label: str, total: int) -> Iterator[Advance]:
        told: list[int] = []
        yield told.append
        self.work_of.append([label, total, sum(told)])


def test_reading_and_comparing_many_runs_is_told(arms: Path, tmp_path: Path) -> None:
    told = Told()
    uq.write_report(arms, out=tmp_path / "report.html", progress=told)
    assert told.work_of == [["reading", 2, 2], ["comparing with base", 2, 2], ["comparing with grpo", 1, 1]]
