"""What a page holds of rollouts: which, where tokens stand, advantages as training took them, why L2TE chose."""

import base64
import gzip
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import unsqueeze as uq
from report_parts import HOSTILE, mathematics, with_hostile_words
from tiny_models import byte_tokenizer
from unsqueeze.plain_json import dumps
from unsqueeze.report import page
from unsqueeze.report import rollouts as module
from unsqueeze.report.gather import gather
from unsqueeze.report.packing import FIRST_CODE, LEVELS, length_codes, logp_codes
from unsqueeze.report.page import render
from unsqueeze.report.pieces import Pieces
from unsqueeze.report.rollouts import Packed, _evaluations, packed, spread
from unsqueeze.store.rollouts import read_rollouts
from unsqueeze.store.table import read_table
from unsqueeze.training.estimating import estimator_of
from unsqueeze.training.rl_rows import trained_rollouts


def unpacked(found: Packed, name: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(found.blocks[name])))


def inside(found: Packed, **wanted: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The groups of which all of ``wanted`` is said, each with what is in its block."""
    return [
        (group, unpacked(found, group["block"])["groups"][group["place"]])
        for group in found.groups
        if all(group[name] == value for name, value in wanted.items())
    ]


def test_every_rollout_is_there_with_what_is_stored_of_it(arms: Path) -> None:
    found = packed(gather([str(arms)]))
    assert found.left_out == []
    problems = list(found.problems)
    for step in range(1, 6):
        shown = inside(found, run="sps", kind="rollouts", step=step)
        stored = read_rollouts(arms / "sps" / "rollouts" / f"step-{step:06d}.parquet")
        assert len(shown) == len(stored) == 4
        for (about, content), group in zip(shown, stored, strict=True):
            assert problems[about["problem"]] == (group.problem.task, group.problem.id)
            assert content["text"] == [each.completion.text for each in group.rollouts]
            assert [module.VERDICTS[each.verdict] for each in group.judgements] == content["verdict"]
            assert content["extracted"] == [each.extracted for each in group.judgements]
            assert content["mean_logp"] == [round(each.completion.mean_logp, 4) for each in group.rollouts]


def test_advantages_are_those_that_training_took(arms: Path) -> None:
    run = uq.open_run(arms / "grpo")
    found = packed(gather([str(arms / "grpo")]))
    estimator = estimator_of(run.recipe.rl)
    for step in run.rollout_steps:
        groups = read_rollouts(arms / "grpo" / "rollouts" / f"step-{step:06d}.parquet")
        trained = trained_rollouts(groups, run.recipe.rl, estimator, max_tokens=run.recipe.rollout.max_tokens)
        wanted = {(each.rollout.group, each.rollout.index): each.advantage for each in trained}
        for (_, content), group in zip(inside(found, kind="rollouts", step=step), groups, strict=True):
            shown = zip(group.rollouts, content["advantage"], strict=True)
            for rollout, value in shown:
                assert value == pytest.approx(wanted.get((rollout.group, rollout.index), 0.0), abs=1e-4)


def test_what_l2te_chose_is_marked_with_its_reason(arms: Path) -> None:
    found = packed(gather([str(arms / "sps")]))
    demos = uq.open_run(arms / "sps").demonstrations().to_pylist()
    marked = sum(len(content["chosen"]) for _, content in inside(found, kind="rollouts"))
    assert marked == len({(demo["step"], demo["group"], demo["index"]) for demo in demos}) > 0
    reasons = {words for _, content in inside(found, kind="rollouts") for words in content["chosen"].values()}
    assert all(any(demo["reason"] in words for demo in demos) for words in reasons)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_tokens_of_bytes_stand_for_whole_characters(text: str) -> None:
    tokenizer = byte_tokenizer()
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    lengths = Pieces(tokenizer.backend_tokenizer).lengths([*tokens, tokenizer.eos_token_id], text)
    assert lengths is not None
    assert sum(lengths) == len(text)
    assert all(0 <= each <= 1 for each in lengths)


def test_tokens_of_another_text_say_nothing() -> None:
    tokenizer = byte_tokenizer()
    assert Pieces(tokenizer.backend_tokenizer).lengths(tokenizer("abc")["input_ids"], "abcdef") is None


@given(st.lists(st.floats(-20, 0.01), max_size=20))
def test_log_probs_survive_as_one_character_each(logp: list[float]) -> None:
    codes = logp_codes(logp)
    assert len(codes) == len(logp)
    for value, code in zip(logp, codes, strict=True):
        share = (ord(code) - FIRST_CODE) / LEVELS
        # √(x/16) is rounded to 1/90, so x is within 2·√(16x)·(1/180) + 16/180² of itself.
        x = min(max(-value, 0.0), 16.0)
        assert abs(16 * share**2 - x) <= 2 * np.sqrt(16 * x) / 180 + 16 / 180**2 + 1e-9


def test_lengths_that_have_no_character_are_left_out() -> None:
    assert length_codes([0, 90]) == "#}"
    assert length_codes([91]) == length_codes(None) == ""


@given(st.integers(1, 60), st.integers(2, 20))
def test_steps_are_spread_evenly_however_many_are_taken(count: int, taken: int) -> None:
    steps = list(range(10, 10 + count))
    order = spread(steps)
    assert sorted(order) == steps
    first = sorted(order[:taken])
    if 2 < len(first) < count:
        assert max(b - a for a, b in pairwise(first)) <= 4 * (count - 1) / (len(first) - 1)


def test_what_does_not_fit_is_said(arms: Path) -> None:
    few = packed(gather([str(arms / "grpo")]), most=20)
    assert {group["step"] for group in few.groups if group["kind"] == "rollouts"} == {1, 5}
    assert any("the rollouts of 3 of 5 steps" in said for said in few.left_out)
    none = packed(gather([str(arms / "grpo")]), room=10)
    assert none.groups == []
    assert any("the samples of 4 of 4 problems" in said for said in none.left_out)
    assert any(
        re.fullmatch(r"all samples of \d further evaluations: there is no room left\.", said) for said in none.left_out
    )
    assert any("grpo: all rollouts; there is no room left" in said for said in none.left_out)


def test_nothing_is_read_once_something_did_not_fit(arms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report, read = gather([str(arms / "grpo"), str(arms / "sps")]), []
    whole = packed(report)
    monkeypatch.setattr(module, "read_table", lambda path, schema: read.append(path) or read_table(path, schema))
    monkeypatch.setattr(module, "pieces_of", lambda *given: pytest.fail("a tokenizer was loaded for nothing"))
    found = packed(report, room=whole.size // 50)
    assert found.is_full
    assert len(read) < len(_evaluations(report))


def test_the_size_counts_what_the_page_will_hold(arms: Path) -> None:
    found = packed(gather([str(arms)]))
    assert "rollout-index" in found.blocks
    texts = [*found.prompts.values(), *found.golds.values()]
    held = sum(map(len, [*found.blocks.values(), *map(dumps, found.groups), *map(dumps, texts)]))
    assert held <= found.size <= 1.5 * held
    assert not found.is_full


def test_a_damaged_file_is_named_and_the_others_are_shown(arms: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(arms / "sps", run)
    (run / "rollouts" / "step-000003.parquet").write_bytes(b"no")
    (run / "demos" / "irl-001.parquet").write_bytes(b"no")
    found = packed(gather([str(run)]))
    assert {group["step"] for group in found.groups if group["kind"] == "rollouts"} == {1, 2, 4, 5}
    assert any("step 3" in said for said in found.left_out)
    assert any("what L2TE chose" in said for said in found.left_out)


def test_hostile_words_are_kept_whole(arms: Path, tmp_path: Path) -> None:
    run = with_hostile_words(arms / "sps", tmp_path / "hostile")
    shown = inside(packed(gather([str(run)])), kind="rollouts", step=1)
    assert [content["text"] for _, content in shown] == [HOSTILE] * 4


def test_a_run_of_mathematics(tmp_path: Path) -> None:
    run = mathematics(tmp_path)
    report = gather([str(run)])
    before = report.sides[0].runs[0].before
    assert before is not None
    stored = json.loads((run / "evals" / "step-000000.json").read_bytes())
    assert before.summary.to_json_object() == {name: stored[name] for name in before.summary.to_json_object()}
    assert before.summary.avg.mean == pytest.approx(3 / 5)  # of five answers said in turn three are right
    (about, content), *_ = inside(packed(report), kind="rollouts", step=1)
    assert about["right"] == 3
    assert all(content["pieces"][:3])
    assert sum(ord(code) - FIRST_CODE for code in content["pieces"][0]) == len(content["text"][0])


def test_rollouts_get_the_room_that_the_rest_of_the_page_leaves(arms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = gather([str(arms)])
    whole = render(report)
    assert b"no room left" not in whole
    rollouts = packed(report).size
    monkeypatch.setattr(page, "LEAST_BYTES", 0)
    # Half of the rollouts fit: everything else needs what it needs, and what is kept free for texts.
    monkeypatch.setattr(page, "MOST_OF_PAGE", len(whole) - rollouts // 2 + page._ROOM_OF_TEXT)
    narrow = render(report)
    assert len(narrow) < len(whole) - rollouts // 4
    assert len(narrow) > len(whole) - rollouts
    assert b"no room left" in narrow
    monkeypatch.setattr(page, "MOST_OF_PAGE", 0)
    assert b"all samples of" in render(report)


def test_texts_that_do_not_fit_are_counted() -> None:
    found = Packed(room=30)
    assert found.problem("sums", "a", "7", "1 + 6 = ?") == 0
    assert found.problem("sums", "b", "8", "x" * 100) == 1
    assert found.problem("sums", "b", "8", "x" * 100) == 1  # in another evaluation
    assert (found.golds, found.prompts, len(found.texts_left_out)) == ({0: "7", 1: "8"}, {0: "1 + 6 = ?"}, 1)
    assert found.size <= found.room
