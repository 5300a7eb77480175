"""Problems that are too long, or that the model does not know: counted, named, and left out where that is asked for."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tiny_models import BYTE_VOCABULARY, byte_tokenizer, tiny_llama
from unsqueeze.config.load import check_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import UserError
from unsqueeze.progress import Advance, Silent
from unsqueeze.training import fitting as fitting_module
from unsqueeze.training.arms import check_arms
from unsqueeze.training.setup import data_info, load_parts

CONTEXT = 64
LENGTHS = {"train": [9, 60, 9, 61, 40, 62, 9, 63], "test": [9, 60], "validation": [9]}
"""Bytes of each problem's text, which are the tokens of its prompt."""


@pytest.fixture
def recipe(tmp_path: Path):
    """Makes the recipe, with settings of ``data`` and others on top."""
    folder = tmp_path / "model"
    byte_tokenizer().save_pretrained(folder)
    tiny_llama(BYTE_VOCABULARY, context=CONTEXT).save_pretrained(folder)
    data = {"kind": "jsonl"}
    for name, lengths in LENGTHS.items():
        path = tmp_path / f"{name}.jsonl"
        rows = [
            {"id": f"{name}-{i}", "problem": f"{name[:2]}{i}".ljust(length, "?"), "answer": "1"}
            for i, length in enumerate(lengths)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        data[f"{name}_path"] = str(path)

    def make(*, max_tokens: int = 8, **changes: Any) -> Recipe:
        raw = {
            "name": "long",
            "model": {"path": str(folder)},
            "data": data | changes,
            "rollout": {"max_tokens": max_tokens},
            "rl": {"prompts_per_step": 2, "steps": 2},
            "verify": {"workers": 1},
        }
        return check_recipe(raw, "test")

    return make


def test_all_that_do_not_fit_are_counted_and_the_first_named(recipe) -> None:
    # 64 - 8 = 56 tokens for a prompt: of 11 problems, 60, 61, 62, 63 and 60 are longer.
    with pytest.raises(
        UserError,
        match=r"5 of 11 problems \(train-1, train-3, train-5 and 2 more\) have a prompt .* rollout.max_tokens is 8, "
        r"the model's context is 64 tokens, and the longest prompt has 63; lower rollout.max_tokens to at most 1, or "
        r"leave those problems out with data.max_prompt_tokens=56\.",
    ):
        load_parts(recipe())
    with pytest.raises(UserError, match=r"problem train-7 has a prompt .*data.max_prompt_tokens=62\."):
        load_parts(recipe(max_tokens=2))
    with pytest.raises(UserError, match=r"to at most 1\.$"):  # no prompt at all would fit
        load_parts(recipe(max_tokens=CONTEXT))


def test_those_that_are_left_out_are_counted_by_set(recipe) -> None:
    parts = load_parts(recipe(max_prompt_tokens=56))
    assert [each.id for each in parts.data.train] == ["train-0", "train-2", "train-4", "train-6"]
    assert [each.id for each in parts.data.test] == ["test-0"]
    assert parts.data.dropped == {"training": 4, "test": 1}
    info = data_info(parts.data)
    assert (info["num_train"], info["num_test"], info["num_validation"]) == (4, 1, 1)
    assert info["num_dropped"] == {"training": 4, "test": 1}
    # What is given to another arm, loaded already, is counted once.
    assert load_parts(recipe(max_prompt_tokens=56), data=parts.data).data.dropped == parts.data.dropped


def test_nothing_is_left_out_without_the_setting(recipe) -> None:
    info = data_info(load_parts(recipe(max_tokens=1)).data)
    assert (info["num_train"], info["num_dropped"]) == (8, None)


def test_it_is_said_at_the_start(recipe, tmp_path: Path) -> None:
    arm = check_arms({"one": recipe(max_prompt_tokens=56)}, {"one": tmp_path / "run"})["one"]
    assert "data.max_prompt_tokens is 56, which leaves out 4 of 8 training problems" in arm.left_out
    assert "data.max_prompt_tokens is 56, which leaves out 1 of 2 test problems" in arm.left_out


@pytest.mark.parametrize(
    ("most", "words"),
    [
        (8, "data.max_prompt_tokens is 8, and the shortest prompt of the 8 training problems has 9 tokens"),
        (9, "rl.prompts_per_step is 4, but there are only 3 training problems"),
    ],
)
def test_too_few_are_not_trained_on(recipe, most: int, words: str) -> None:
    given = recipe(max_prompt_tokens=most)
    with pytest.raises(UserError, match=words):
        load_parts(given.model_copy(update={"rl": given.rl.model_copy(update={"prompts_per_step": 4})}))


class Counts(Silent):
    """Keeps what is said of pieces of work."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, list[int]]] = []

    @contextmanager
    def work(self, label: str, total: int) -> Iterator[Advance]:
        done: list[int] = []
        self.seen.append((label, total, done))
        yield done.append


def test_progress_is_told_of_every_prompt(recipe, monkeypatch) -> None:
    monkeypatch.setattr(fitting_module, "_TOGETHER", 4)
    counts = Counts()
    load_parts(recipe(max_prompt_tokens=56), progress=counts)
    assert counts.seen == [("prompts", 11, [4, 4, 3])]
