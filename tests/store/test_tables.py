"""Rollouts, demonstrations and evaluation samples come back from Parquet as they went in."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from unsqueeze.errors import RunError
from unsqueeze.metrics.summary import summarise
from unsqueeze.rollout.types import Completion, Group, Rollout, StopReason
from unsqueeze.store.demos import Demonstration, DemoWriter
from unsqueeze.store.evals import EvalWriter
from unsqueeze.store.rollouts import RolloutWriter, read_group_columns, read_rollouts
from unsqueeze.store.samples import EvalSample, Samples, read_samples
from unsqueeze.store.table import write_table
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Judgement, Verdict

INT32 = hnp.arrays(np.int32, st.integers(0, 5), elements=st.integers(-(2**31), 2**31 - 1))
# Any 32 bits; often negative zero, two different NaNs, minus infinity, the least subnormal.
BITS = st.sampled_from([0x80000000, 0x7FC00000, 0xFFC00001, 0xFF800000, 1]) | st.integers(0, 2**32 - 1)
FLOAT32 = hnp.arrays(np.uint32, st.integers(0, 5), elements=BITS).map(lambda bits: bits.view(np.float32))
TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # what UTF-8 can hold, NUL included


@st.composite
def groups(draw: st.DrawFn, number: int) -> Group:
    problem = Problem(
        id=draw(TEXT), prompt=draw(TEXT), answer=draw(TEXT), task=draw(st.sampled_from(["countdown", "math"]))
    )
    size = draw(st.integers(1, 3))
    small = st.integers(0, 2**31 - 1)
    rollouts = [
        Rollout(
            problem_id=problem.id,
            group=number,
            index=index,
            prompt_tokens=draw(INT32),
            completion=Completion(
                tokens=draw(INT32),
                text=draw(TEXT),
                logp_raw=draw(FLOAT32),
                logp_behaviour=draw(FLOAT32),
                stop_reason=draw(st.sampled_from(StopReason)),
            ),
            policy_version=draw(small),
            phase=draw(small),
            step=draw(small),
            logp_proximal=draw(st.none() | FLOAT32),
        )
        for index in range(size)
    ]
    judgements = [Judgement(draw(st.sampled_from(Verdict)), draw(st.none() | TEXT), draw(TEXT)) for _ in range(size)]
    return Group(problem=problem, rollouts=tuple(rollouts), judgements=tuple(judgements))


BATCHES = st.integers(0, 3).flatmap(lambda size: st.tuples(*(groups(number) for number in range(size))))


def plain(value: object) -> object:
    """``value`` as builtins that compare: arrays as their type and bytes, so that every bit counts."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.tobytes()
    if dataclasses.is_dataclass(value):
        return type(value), [plain(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return type(value), value


def a_group(**changes: object) -> Group:
    logp = np.array([-0.5, -1.25], np.float32)
    completion = {"tokens": np.array([3, 4], np.int32), "text": "hi", "logp_raw": logp, "logp_behaviour": logp}
    rollout = Rollout(
        problem_id="p",
        group=5,
        index=0,
        prompt_tokens=np.array([1, 2], np.int32),
        completion=Completion(**completion | {"stop_reason": StopReason.EOS} | changes),
        policy_version=1,
        phase=2,
        step=12,
    )
    problem = Problem(id="p", prompt="ask", answer="7", task="math")
    return Group(problem=problem, rollouts=(rollout,), judgements=(Judgement(Verdict.CORRECT, "7", "equal"),))


@settings(max_examples=30)
@given(BATCHES)
def test_rollouts_come_back_bit_for_bit(batch: tuple[Group, ...]) -> None:
    with TemporaryDirectory() as folder:
        writer = RolloutWriter(Path(folder, "rollouts"))
        path = writer.write(12, batch)
        assert path.name == "step-000012.parquet"
        assert plain(writer.read(12)) == plain(batch)
        assert writer.steps() == [12]


@settings(max_examples=30)
@given(BATCHES)
def test_columns_without_texts_are_those_of_the_whole_groups(batch: tuple[Group, ...]) -> None:
    with TemporaryDirectory() as folder:
        found = read_group_columns(RolloutWriter(Path(folder)).write(12, batch))
    assert [(group.problem_id, group.group) for group in found] == [
        (group.problem.id, group.rollouts[0].group) for group in batch
    ]
    for ours, group in zip(found, batch, strict=True):
        assert list(ours.verdict) == [judgement.verdict for judgement in group.judgements]
        for name in ("index", "step", "prompt_tokens"):
            assert plain(list(getattr(ours, name))) == plain([getattr(one, name) for one in group.rollouts])
        for name in ("tokens", "logp_raw"):
            assert plain(list(getattr(ours, name))) == plain([getattr(one.completion, name) for one in group.rollouts])


def test_a_flipped_bit_is_found_where_nothing_is_read(tmp_path: Path) -> None:
    path = RolloutWriter(tmp_path).write(0, [a_group(text="not among the columns")])
    whole = path.read_bytes()
    with pq.ParquetFile(path) as file:
        row_group = file.metadata.row_group(0)
        columns = [row_group.column(i) for i in range(row_group.num_columns)]
    text = next(column for column in columns if column.path_in_schema == "text")
    flipped = bytearray(whole)
    flipped[text.data_page_offset + text.total_compressed_size - 1] ^= 4
    path.write_bytes(flipped)
    with pytest.raises(RunError, match=r"step-000000\.parquet cannot be read as Parquet: it is not what was written"):
        read_group_columns(path)


def test_a_batch_of_the_usual_size_comes_back(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    batch = []
    for number in range(16):
        (rollout,), (judgement,) = (group := a_group()).rollouts, group.judgements
        logp = generator.normal(size=(8, 700)).astype(np.float32)
        tokens = generator.integers(0, 150_000, (8, 700), dtype=np.int32)
        rollouts = tuple(
            dataclasses.replace(
                rollout,
                group=number,
                index=index,
                completion=dataclasses.replace(rollout.completion, tokens=tokens[index], logp_raw=logp[index]),
            )
            for index in range(8)
        )
        batch.append(dataclasses.replace(group, rollouts=rollouts, judgements=(judgement,) * 8))
    path = RolloutWriter(tmp_path).write(0, batch)
    assert plain(read_rollouts(path)) == plain(batch)


def test_a_stored_step_is_never_overwritten(tmp_path: Path) -> None:
    writer = RolloutWriter(tmp_path)
    path = writer.write(0, [a_group()])
    before = path.read_bytes()
    with pytest.raises(RunError, match="never overwritten"):
        writer.write(0, [a_group(text="other")])
    assert path.read_bytes() == before


def test_arrays_that_come_back_may_be_handed_to_torch(tmp_path: Path) -> None:
    path = RolloutWriter(tmp_path).write(0, [a_group()])
    (group,) = read_rollouts(path)
    logp = torch.from_numpy(group.rollouts[0].completion.logp_raw)  # warns of arrays that cannot be written to
    assert logp.tolist() == [-0.5, -1.25]


def test_half_of_a_surrogate_pair_becomes_the_replacement_character(tmp_path: Path) -> None:
    # U+1F600 is the pair D83D DE00; a pair that stands whole, as JSON escapes leave it, is that character.
    path = RolloutWriter(tmp_path).write(0, [a_group(text="a\x00\ud83db \ud83d\ude00 é")])
    (group,) = read_rollouts(path)
    assert group.rollouts[0].completion.text == "a\x00\ufffdb \U0001f600 é"


def test_other_tools_read_the_plain_columns(tmp_path: Path) -> None:
    path = RolloutWriter(tmp_path).write(0, [a_group()])
    (row,) = pq.read_table(path).to_pylist()
    assert row == {
        "problem_id": "p",
        "task": "math",
        "prompt": "ask",
        "gold": "7",
        "group": 5,
        "index": 0,
        "step": 12,
        "phase": 2,
        "policy_version": 1,
        "text": "hi",
        "stop_reason": "eos",
        "verdict": "correct",
        "extracted": "7",
        "reason": "equal",
        "prompt_tokens": [1, 2],
        "tokens": [3, 4],
        "logp_raw": [-0.5, -1.25],
        "logp_behaviour": [-0.5, -1.25],
    }


def a_sample(**changes: object) -> EvalSample:
    values = {"problem_id": "p", "index": 3, "text": "it is 7", "verdict": Verdict.CORRECT, "extracted": "7"}
    rest = {"reason": "", "num_tokens": 4, "mean_logp": -0.25, "stop_reason": StopReason.LENGTH}
    whose = {"benchmark": "sums", "gold": "7", "verifier": "by hand"}
    return EvalSample(**values | rest | whose | changes)


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -9])
@pytest.mark.parametrize("read", [read_rollouts, read_group_columns])
def test_a_damaged_file_is_named(tmp_path: Path, cut: int, read: Callable[[Path], object]) -> None:
    path = RolloutWriter(tmp_path).write(0, [a_group()])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RunError, match=r"step-000000\.parquet cannot be read as Parquet: "):
        read(path)


def test_a_file_of_another_kind_and_a_missing_one_are_named(tmp_path: Path) -> None:
    samples = Samples(tmp_path / "samples.parquet", tmp_path / "parts")
    samples.add([a_sample()])
    samples.merge({})
    with pytest.raises(RunError, match=r"samples\.parquet: no column task, prompt"):
        read_rollouts(tmp_path / "samples.parquet")
    with pytest.raises(RunError, match=r"samples\.parquet: no column group, step, prompt_tokens"):
        read_group_columns(tmp_path / "samples.parquet")
    with pytest.raises(RunError, match=r"gone\.parquet does not exist"):
        read_rollouts(tmp_path / "gone.parquet")


@pytest.mark.parametrize("read", [read_rollouts, read_group_columns])
def test_a_verdict_of_no_known_name_is_named(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = RolloutWriter(tmp_path).write(0, [a_group()])
    table = pq.read_table(path)
    column = table.schema.get_field_index("verdict")
    write_table(path, table.set_column(column, "verdict", [["excellent"]]), replace=True)
    with pytest.raises(RunError, match=r"step-000000\.parquet holds a row that is no rollout: 'excellent'"):
        read(path)


def test_demonstrations_come_back(tmp_path: Path) -> None:
    demo = Demonstration(
        problem_id="p",
        step=12,
        group=5,
        index=0,
        mean_logp=-0.1,
        sum_logp=-float("inf"),
        score=-0.1,
        reward=0.0,
        reason="lowest half of the negatives",
        rank=0,
    )
    writer = DemoWriter(tmp_path / "demos")
    path = writer.write(2, [demo, dataclasses.replace(demo, index=1, rank=1)])
    assert path.name == "irl-002.parquet"
    assert writer.read(2) == [demo, dataclasses.replace(demo, index=1, rank=1)]
    assert writer.numbers() == [2]
    with pytest.raises(RunError, match="never overwritten"):
        writer.write(2, [])


def test_samples_come_back_and_say_whether_they_are_correct(tmp_path: Path) -> None:
    samples = [
        a_sample(),
        a_sample(index=4, verdict=Verdict.UNPARSABLE, extracted=None, text="\x00"),
        a_sample(index=5, verdict=Verdict.TIMED_OUT),
    ]
    path = tmp_path / "samples.parquet"
    store = Samples(path, tmp_path / "parts")
    store.add(samples)
    store.merge({})
    assert read_samples(path) == samples
    assert pq.read_table(path)["correct"].to_pylist() == [True, False, None]


def test_an_evaluation_is_complete_once_its_summary_is_there(tmp_path: Path) -> None:
    evals = EvalWriter(tmp_path / "evals")
    evals.add(100, [a_sample(index=0, text="of an evaluation that was cut off")])
    assert evals.steps() == []
    # Another process goes on, and draws what is lacking.
    evals = EvalWriter(tmp_path / "evals")
    assert evals.keys(100, "sums") == {("p", 0)}
    evals.add(100, [a_sample(index=1)])
    assert evals.merge(100, "sums", ["p"]).num_rows == 2
    summary = dataclasses.replace(summarise([2], [2], [1, 4]), greedy_logp=-0.25)
    evals.finish(100, summary.to_json_object())
    assert evals.steps() == [100]
    assert [(sample.index, sample.text) for sample in evals.samples(100)] == [
        (0, "of an evaluation that was cut off"),
        (1, "it is 7"),
    ]
    assert evals.record(100)["pass_at"]["4"]["mean"] is None
    assert evals.summary(100).avg.mean == 1.0
    assert evals.summary(100).greedy_logp == -0.25
    assert math.isnan(evals.summary(100).pass_at[4].mean)
    for again in (
        lambda: evals.finish(100, {}),
        lambda: evals.add(100, [a_sample()]),
        lambda: evals.merge(100, "sums", []),
    ):
        with pytest.raises(RunError, match="never overwritten"):
            again()
    assert len(evals.samples(100)) == 2


def test_judging_again_changes_what_another_verifier_judged_and_nothing_else(tmp_path: Path) -> None:
    samples = Samples(tmp_path / "samples.parquet", tmp_path / "parts")
    before = [
        a_sample(problem_id="p", index=0, text="yes", verifier="old"),
        a_sample(problem_id="p", index=1, text="no", verifier="new"),
        a_sample(problem_id="q", index=0, text="not asked for", verifier="old"),
        a_sample(problem_id="p", index=0, text="elsewhere", verifier="old", benchmark="other"),
    ]
    samples.add(before)
    given: list[tuple[list[str], list[str]]] = []

    def judged(problem_ids: list[str], texts: list[str]) -> list[Judgement]:
        given.append((problem_ids, texts))
        return [Judgement(Verdict.WRONG, extracted="yes?", reason="because") for _ in texts]

    assert samples.rejudge(before[0].benchmark, ["p"], "new", judged) == 1
    assert given == [(["p"], ["yes"])]
    again = dataclasses.replace(before[0], verdict=Verdict.WRONG, extracted="yes?", reason="because", verifier="new")
    samples.merge({})
    assert {repr(one) for one in read_samples(samples.path)} == {repr(one) for one in [again, *before[1:]]}
    assert samples.rejudge(before[0].benchmark, ["p"], "new", judged) == 0
    assert len(given) == 1
