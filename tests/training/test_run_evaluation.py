"""Evaluations inside a run: stopped anywhere, they go on without a sample drawn again, to the very same end."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small_runs import prepare, run_to_end, small_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import Interrupted, LostProcessError, RunError
from unsqueeze.evaluation import draw
from unsqueeze.metrics.summary import Summary
from unsqueeze.progress import Silent, StopRequest
from unsqueeze.rollout.types import Answer, Completion, Sampling, StopReason
from unsqueeze.store.best import best_checkpoint
from unsqueeze.store.records import read_record
from unsqueeze.store.samples import EvalSample, Samples
from unsqueeze.tasks.problem import Problem
from unsqueeze.training import evaluation
from unsqueeze.training.run import Run
from unsqueeze.verify.countdown import CountdownVerifier
from unsqueeze.verify.verdict import Judgement, Verdict

NUM_PROBLEMS, N = 4, 4


def recipe() -> Recipe:
    """One problem a call: four rows side by side, four samples a problem."""
    return small_recipe(rollout={"max_rows": N}, evaluation={"n": N})


class Counting:
    """An engine that keeps what it is asked for, and does something before a call of a number."""

    def __init__(self, engine: Any, *, before: Callable[[int], None] = lambda number: None) -> None:
        self._engine = engine
        self._before = before
        self.drawn: list[tuple[tuple[int, ...], int]] = []
        self.num_greedy = 0

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        n: int,
        sampling: Sampling,
        *,
        seeds: Sequence[int],
        on_finished: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        self._before(len(self.drawn) + self.num_greedy)
        completions: list[list[Completion]] = self._engine.generate(
            prompts, n, sampling, seeds=seeds, on_finished=on_finished
        )
        if sampling.temperature == 0:
            self.num_greedy += 1
        else:
            self.drawn += [(tuple(prompt), n) for prompt in prompts]
        return completions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


def begun(path: Path, **changes: Any) -> tuple[Run, Counting]:
    """A run, new or to go on with, and the engine that keeps what it is asked for; ``changes`` of both."""
    before = changes.pop("before", lambda number: None)
    run, _ = prepare(recipe(), path, stop=changes.pop("stop", None))
    engine = Counting(run.engine, before=before)
    return replace(run, engine=engine, **changes), engine


def evaluate(run: Run) -> None:
    """The evaluation before training."""
    try:
        evaluation.evaluate_policy(run, evaluation.test_set(run), step=0)
    finally:
        run.directory.close()


def evaluated(path: Path, **changes: Any) -> tuple[Run, Counting]:
    run, engine = begun(path, **changes)
    evaluate(run)
    return run, engine


def result(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    record = read_record(path / "evals" / "step-000000.json")
    return pq.read_table(path / "evals" / "step-000000.parquet"), {**record, "seconds": None}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose evaluation nothing happened to."""
    path = tmp_path_factory.mktemp("runs") / "undisturbed"
    _, engine = evaluated(path)
    assert len(engine.drawn) == NUM_PROBLEMS
    return path


def ask_at(stop: StopRequest, wanted: int) -> Callable[[int], None]:
    def before(number: int) -> None:
        stop.asked = stop.asked or number == wanted

    return before


def test_after_an_interrupt_only_what_lacks_is_drawn(tmp_path: Path, undisturbed: Path):
    path, stop = tmp_path / "run", StopRequest()
    run, first = begun(path, stop=stop, before=ask_at(stop, 1))
    with pytest.raises(Interrupted):
        evaluate(run)
    # The wish came in the second call: its samples are judged and stored as those of the first are.
    assert len(first.drawn) == 2
    parts = list((path / "evals" / "step-000000.parts").glob("*.parquet"))
    assert sum(pq.read_table(part).num_rows for part in parts) == 2 * N
    assert not (path / "evals" / "step-000000.json").exists()

    _, again = evaluated(path)
    assert len(again.drawn) == NUM_PROBLEMS - 2
    assert not set(first.drawn) & set(again.drawn)
    table, record = result(path)
    whole_table, whole_record = result(undisturbed)
    assert table.equals(whole_table)
    assert record == whole_record
    assert not (path / "evals" / "step-000000.parts").exists()


KILLED = """
import os, signal, sys, time
from pathlib import Path
import test_run_evaluation as tests
from unsqueeze.evaluation import draw
draw.STORED_AFTER_S = 0.0
parts = Path(sys.argv[1]) / "evals" / "step-000000.parts"
def before(number):
    if number == 3:
        for _ in range(3000):  # stored beside the drawing
            if list(parts.glob("0*.parquet")):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.01)
tests.evaluated(Path(sys.argv[1]), before=before)
"""


def test_after_a_kill_no_stored_sample_is_drawn_again(tmp_path: Path, undisturbed: Path):
    path = tmp_path / "run"
    folders = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *filter(None, sys.path)])
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], env=os.environ | {"PYTHONPATH": folders}, timeout=600, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    parts = list((path / "evals" / "step-000000.parts").glob("0*.parquet"))
    stored = [problem for part in parts for problem in pq.read_table(part)["problem_id"].to_pylist()]
    assert len(stored) == len(set(stored)) * N
    assert 1 <= len(set(stored)) <= 3
    # Killed while it wrote, too: what is left of a part is no part, and is in nobody's way.
    (path / "evals" / "step-000000.parts" / ".000009.parquet.tmp").write_bytes(b"PAR1 half")

    _, again = evaluated(path)
    assert len(again.drawn) == NUM_PROBLEMS - len(set(stored))
    table, record = result(path)
    whole_table, whole_record = result(undisturbed)
    assert table.equals(whole_table)
    assert record == whole_record
    assert sorted(entry.name for entry in (path / "evals").iterdir()) == ["step-000000.json", "step-000000.parquet"]


def test_the_greedy_pass_can_be_stopped_and_samples_stay(tmp_path: Path, undisturbed: Path):
    path, stop = tmp_path / "run", StopRequest()
    with pytest.raises(Interrupted):
        evaluated(path, stop=stop, before=ask_at(stop, NUM_PROBLEMS))
    assert pq.read_table(path / "evals" / "step-000000.parquet").num_rows == NUM_PROBLEMS * N
    assert not (path / "evals" / "step-000000.json").exists()
    _, again = evaluated(path)
    assert (again.drawn, again.num_greedy) == ([], 1)
    assert result(path)[1] == result(undisturbed)[1]


def test_one_that_is_done_is_not_made_again(tmp_path: Path):
    run, _ = evaluated(tmp_path / "run")
    _, again = evaluated(tmp_path / "run")
    assert (again.drawn, again.num_greedy) == ([], 0)
    assert [line["event"] for line in run.directory.journal.read()].count("evaluated") == 1


class Broken:
    """A verifier that judges nothing, or nothing of the first problems it is asked for."""

    name = "broken"

    def __init__(self, most: int = 10**9) -> None:
        self._most = most

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]:
        verdicts = []
        for _ in responses:
            verdicts.append(Verdict.CRASHED if self._most > 0 else Verdict.WRONG)
            self._most -= 1
        return [Judgement(verdict) for verdict in verdicts]

    def close(self) -> None: ...


def test_where_not_one_answer_was_judged_nothing_is_kept(tmp_path: Path, undisturbed: Path):
    path = tmp_path / "run"
    with pytest.raises(RunError, match=rf"not one could be judged \({NUM_PROBLEMS * N} crashed\)"):
        evaluated(path, verifier=Broken())
    assert not [entry for entry in (path / "evals").rglob("*") if entry.suffix == ".parquet"]
    _, again = evaluated(path)
    assert len(again.drawn) == NUM_PROBLEMS
    assert result(path)[0].equals(result(undisturbed)[0])


def test_a_problem_whose_answers_cannot_be_judged_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(draw, "STORED_AFTER_S", 0.0)
    evaluated(tmp_path / "run", verifier=Broken(N))
    summary = Summary.from_json_object(result(tmp_path / "run")[1])
    assert summary.num_not_judged == N
    assert summary.avg.mean == 0.0


class Watching(Silent):
    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def step(self, record: Any) -> None:
        self.seen.append(dict(record))


class AfterEveryCall(CountdownVerifier):
    judges_beside = False


def test_what_is_known_is_shown_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(draw, "STORED_AFTER_S", 0.0)
    progress = Watching()
    evaluated(tmp_path / "run", progress=progress, verifier=AfterEveryCall())
    assert [line["num_samples"] for line in progress.seen] == [N, 2 * N, 3 * N, 4 * N]
    assert progress.seen[-1]["avg"] == result(tmp_path / "run")[1]["avg"]


@pytest.mark.parametrize(
    ("end", "agree", "stored"),
    [
        (None, lambda due: due, 1),
        (Interrupted(), lambda due: due, 1),
        (RunError("the engine failed"), lambda due: due, 1),
        # Others do not know of these, and would wait in vain, or take what they are sent for something else.
        (LostProcessError("gone"), lambda due: due, 0),
        (KeyboardInterrupt(), lambda due: due, 0),
        (RunError("the engine failed"), None, 1),
        # It stops at once.
        (KeyboardInterrupt(), None, 0),
    ],
)
def test_several_processes_store_together_or_not_at_all(
    tmp_path: Path, end: BaseException | None, agree: Callable[[bool], bool] | None, stored: int
):
    run, _ = prepare(recipe(), tmp_path / "run")
    asked = evaluation.asked_of(run, evaluation.test_set(run))
    samples = Samples(tmp_path / "samples.parquet", tmp_path / "parts")

    def draw_one() -> None:
        with draw.Storing(samples, asked, agree=agree) as storing:
            storing.take([(0, 0, Answer(text="1", stop_reason=StopReason.EOS, num_tokens=1, mean_logp=-1.0))])
            if end is not None:
                raise end

    if end is None:
        draw_one()
    else:
        with pytest.raises(type(end)):
            draw_one()
    run.directory.close()
    assert samples.table().num_rows == stored


def test_discarded_samples_are_gone(tmp_path: Path):
    samples = Samples(tmp_path / "samples.parquet", tmp_path / "parts")
    one = EvalSample(
        benchmark="b",
        problem_id="p",
        index=0,
        text="1",
        verdict=Verdict.WRONG,
        extracted=None,
        reason="",
        num_tokens=1,
        mean_logp=-1.0,
        stop_reason=StopReason.EOS,
        gold="2",
        verifier="judge",
    )
    samples.add([one])
    samples.merge({})
    samples.add([replace(one, index=1)])
    assert samples.keys("b") == {("p", 0), ("p", 1)}
    samples.discard()
    assert samples.keys("b") == set()
    assert list(tmp_path.iterdir()) == []


def test_one_held_out_problem_is_enough(tmp_path: Path):
    """It has no interval: a null in the record, and nothing that reads it trips over that."""
    small = small_recipe(data={"num_test": 1, "num_validation": 1}, evaluation={"validation_n": 2}, rl={"steps": 2})
    run, _ = run_to_end(small, tmp_path / "run")
    assert read_record(tmp_path / "run" / "evals" / "step-000002.json")["avg_low"] is None
    summary = run.directory.evals.summary(2)
    assert summary.n_problems == 1
    assert not np.isnan(summary.avg.mean)
    assert "nan" not in evaluation.describe_evaluation(summary)
    assert "[" not in evaluation.describe_evaluation(summary)
    best = best_checkpoint(run.directory)
    assert best is not None
    assert best.num_problems == 1


@pytest.mark.parametrize(
    ("validation_path", "train_path", "name"),
    [("b/held.jsonl", "a/train.jsonl", "held"), (None, "a/train.jsonl", "train"), (None, None, "countdown")],
)
def test_validation_samples_carry_the_name_of_their_file(
    validation_path: str | None, train_path: str | None, name: str
):
    data = SimpleNamespace(validation_path=validation_path, train_path=train_path, test_path="c/test.jsonl")
    run: Any = SimpleNamespace(
        recipe=SimpleNamespace(data=data, evaluation=SimpleNamespace(n=2, validation_n=1)),
        task=SimpleNamespace(name="countdown"),
        test_problems=[],
        validation_problems=[],
        directory=SimpleNamespace(evals=None, validation=None),
    )
    assert (evaluation.validation_set(run).benchmark, evaluation.validation_set(run).n) == (name, 1)
    assert (evaluation.test_set(run).benchmark, evaluation.test_set(run).n) == ("test", 2)
