"""Problems from JSON Lines files: what is read, what is drawn, and what is refused with file, line and field."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import problem_set
from unsqueeze.errors import UserError
from unsqueeze.tasks.files import load_file_problems
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.records import plain


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    return path


def test_a_file_is_read_in_its_order(tmp_path: Path) -> None:
    path = write(
        tmp_path / "sums.jsonl",
        {"id": "a", "problem": " 1 + 1? ", "answer": "2", "source": "ignored"},
        "",
        {"problem": "Half of 1?", "answer": 0.5},
        {"id": 7, "problem": "π?", "answer": "\\pi"},
    )
    assert load_file_problems(path) == [
        Problem(id="a", prompt="1 + 1?", answer="2", task="math"),
        Problem(id="sums:3", prompt="Half of 1?", answer="0.5", task="math"),
        Problem(id="7", prompt="π?", answer="\\pi", task="math"),
    ]


def test_fields_may_have_other_names(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"question": "1 + 1?", "gold": "2", "problem": "not this"})
    problems = load_file_problems(path, reader=plain("question", "gold"))
    assert [(p.prompt, p.answer) for p in problems] == [("1 + 1?", "2")]


GOOD = {"id": "a", "problem": "1 + 1?", "answer": "2"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"problem": "1', r"line 2: not valid JSON \(Unterminated string.*column 13\)"),
        ("[" * 100_000, r"line 2: not valid JSON \(nested too deep\)"),
        ("[1, 2]", "line 2: a JSON list"),
        ({"id": "b", "answer": "2"}, "line 2: the field 'problem' is missing; it has 'id', 'answer'"),
        ({"problem": "1 + 1?", "id": "b"}, "line 2: the field 'answer' is missing"),
        ({}, "line 2: the field 'problem' is missing; it has none"),
        ({"problem": "1 + 1?", "answer": " "}, "line 2: the field 'answer' is empty"),
        ({"problem": "", "answer": "2"}, "line 2: the field 'problem' is empty"),
        ({"problem": "1 + 1?", "answer": None}, "line 2: the field 'answer' is null"),
        ({"problem": "1 + 1?", "answer": float("nan")}, "line 2: the field 'answer' is nan"),
        ({"problem": "1 + 1?", "answer": True}, "line 2: the field 'answer' is a bool"),
        ({"problem": ["1 + 1?"], "answer": "2"}, "line 2: the field 'problem' is a list"),
        (GOOD, "line 2: the id 'a' was used before, on line 1"),
    ],
)
def test_a_line_that_is_no_problem_is_named(tmp_path: Path, line: object, message: str) -> None:
    path = write(tmp_path / "bad.jsonl", GOOD, line)
    with pytest.raises(UserError, match=f"bad.jsonl, {message}"):
        load_file_problems(path)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jsonl: the problem file cannot be read: No such file"):
        load_file_problems(tmp_path / "gone.jsonl")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        load_file_problems(tmp_path)
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes('{"problem": "é"}'.encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.jsonl: the problem file is not UTF-8"):
        load_file_problems(latin)
    with pytest.raises(UserError, match=r"empty\.jsonl: the file holds no problem"):
        load_file_problems(write(tmp_path / "empty.jsonl", "", "  "))


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ten")
    return write(folder / "ten.jsonl", *({"problem": f"{i}?", "answer": i} for i in range(10)))


def test_a_limit_stops_reading_there(ten: Path, tmp_path: Path) -> None:
    assert [p.answer for p in load_file_problems(ten, limit=3)] == ["0", "1", "2"]
    broken = write(tmp_path / "tail.jsonl", GOOD, "not JSON")
    assert len(load_file_problems(broken, limit=1)) == 1  # the line after is never parsed
    assert len(load_file_problems(ten, limit=99)) == 10


@settings(max_examples=30)
@given(size=st.integers(1, 10), seed=st.integers(0, 1000))
def test_a_subset_is_seeded_distinct_and_in_order(ten: Path, size: int, seed: int) -> None:
    subset = load_file_problems(ten, subset_size=size, seed=seed)
    assert subset == load_file_problems(ten, subset_size=size, seed=seed)
    answers = [int(p.answer) for p in subset]
    assert answers == sorted(set(answers))
    assert len(answers) == size


def test_a_subset_is_uniform(ten: Path) -> None:
    # 600 subsets of 3 of 10: each problem is expected 180 times, standard deviation sqrt(600 * 0.3 * 0.7) = 11.
    counts = Counter(p.answer for seed in range(600) for p in load_file_problems(ten, subset_size=3, seed=seed))
    assert len(counts) == 10
    assert all(180 - 50 < count < 180 + 50 for count in counts.values())


def test_sizes_that_cannot_be_are_refused(ten: Path) -> None:
    with pytest.raises(UserError, match="a subset of 11 problems was asked for and the file holds 10"):
        load_file_problems(ten, subset_size=11)
    with pytest.raises(UserError, match="limit is 0"):
        load_file_problems(ten, limit=0)
    with pytest.raises(UserError, match="subset_size is -1"):
        load_file_problems(ten, subset_size=-1)


@pytest.mark.parametrize(("name", "num_problems"), [("brumo_2025", 30), ("gsm8k_test", 1319)])
def test_real_sets(name: str, num_problems: int) -> None:
    problems = load_file_problems(problem_set(name))
    assert len(problems) == num_problems
    assert len(load_file_problems(problem_set(name), subset_size=16, seed=1)) == 16
