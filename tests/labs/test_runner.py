"""Processes that end in every way, played by shell scripts in place of Python."""

import sys
from pathlib import Path

import pytest

from unsqueeze.config.load import check_recipe
from unsqueeze.labs.grid import Cell, PlannedRun
from unsqueeze.labs.pool import Pool
from unsqueeze.labs.runner import MOST_LIVES, Live, Runner
from unsqueeze.progress import StopRequest


def planned(arm: str = "arm", seed: int = 1) -> PlannedRun:
    recipe = check_recipe({"name": "lab", "seed": seed, "rl": {"steps": 3}}, "test")
    return PlannedRun(Cell(arm), seed, 1.0, "reported", recipe)


def worked_off(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: list[PlannedRun] | None = None
) -> list[Live]:
    """Work off runs, each in a process that is this script; it appends a line to ``lives`` for every process."""
    played = tmp_path / "python"
    played.write_text(f"#!/bin/sh\nread order\necho $$ >> {tmp_path}/lives\n{script}\n", "utf-8")
    played.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(played))
    lives = [Live(run) for run in runs or [planned()]]
    Runner(Pool(tmp_path / "runs"), [{}, {}]).work_off(lives, StopRequest())
    return lives


def num_processes(tmp_path: Path) -> int:
    return len((tmp_path / "lives").read_text().splitlines())


def test_what_a_process_says_is_heard_and_its_end_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'echo no json; echo \'{"work": "phase 0: RL", "done": 2}\'; echo \'{"step": 2}\''
    (live,) = worked_off(script, tmp_path, monkeypatch)
    assert (live.state, live.error) == ("finished", None)
    assert live.told == {"work": "phase 0: RL", "done": 2, "step": 2}


def test_an_error_is_told_in_its_own_sentence_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (live,) = worked_off('echo \'{"error": "no such model."}\'; exit 2', tmp_path, monkeypatch)
    assert (live.state, live.error) == ("failed", "no such model.")
    assert num_processes(tmp_path) == 1


def test_a_traceback_is_looked_up_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (live,) = worked_off("echo Traceback >&2; exit 1", tmp_path, monkeypatch)
    assert live.state == "failed"
    assert live.error is not None
    log = Pool(tmp_path / "runs").log(live.run)
    assert str(log) in live.error
    assert log.read_text() == "Traceback\n"


def test_a_killed_process_is_gone_on_with_until_that_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (live,) = worked_off("kill -9 $$", tmp_path, monkeypatch)
    assert live.state == "failed"
    assert num_processes(tmp_path) == MOST_LIVES
    assert "killed 3 times at the same place" in (live.error or "")
    assert "--jobs" in (live.error or "")


def test_one_that_gets_on_between_its_deaths_may_die_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Pool(tmp_path / "runs").path(planned())
    folder.mkdir(parents=True)
    script = f"echo step >> {folder}/metrics.jsonl; [ $(wc -l < {folder}/metrics.jsonl) -gt 5 ] || kill -9 $$"
    (live,) = worked_off(script, tmp_path, monkeypatch)
    assert live.state == "finished"
    assert num_processes(tmp_path) == 6


def test_runs_that_begin_alike_wait_for_the_first_and_the_same_run_is_not_made_twice_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each process leaves a mark while it works, and fails where it finds another's.
    script = f"[ ! -e {tmp_path}/busy ] || exit 3; touch {tmp_path}/busy; sleep 0.5; rm {tmp_path}/busy"
    lives = worked_off(script, tmp_path, monkeypatch, [planned("a"), planned("b")])
    assert [live.state for live in lives] == ["finished", "finished"]


def test_other_runs_work_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each process waits for the other one to be there.
    both = f"[ $(wc -l < {tmp_path}/lives) -ge 2 ]"
    script = f"for i in $(seq 600); do {both} && exit 0; sleep 0.1; done; exit 3"
    lives = worked_off(script, tmp_path, monkeypatch, [planned("a", 1), planned("a", 2)])
    assert [live.state for live in lives] == ["finished", "finished"]


def test_what_was_asked_to_stop_before_it_began_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopRequest()
    stop.ask()
    live = Live(planned())
    Runner(Pool(tmp_path / "runs"), [{}]).work_off([live], stop)
    assert live.state == "stopped"
