"""Problem sets by name: in a data directory, in their own formats, from the hub's library, and where they are not."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from unsqueeze.config.data_settings import DataSettings
from unsqueeze.errors import UserError
from unsqueeze.evaluation.benchmarks import Where, hub_commits, load_benchmark, own_benchmark
from unsqueeze.tasks.hub import HubSource, parse_source
from unsqueeze.tasks.known import KNOWN, find_known
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.records import gpqa, gsm8k, mmlu, option_order
from unsqueeze.tasks.task import Data, task_named


def load(settings: DataSettings) -> Data:
    return task_named(settings.kind).load(settings)


def write(path: Path, *records: Mapping[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


MMLU = {"question": "2 + 2 is", "subject": "elementary", "choices": ["3", "5", "4", "22"], "answer": 2}
GPQA = {
    "Record ID": "rec1",
    "Question": "Which one?",
    "Correct Answer": "right",
    "Incorrect Answer 1": "wrong one",
    "Incorrect Answer 2": "wrong two",
    "Incorrect Answer 3": "wrong three",
}
GSM8K = {"question": "How many?", "answer": "First 1,000 + 200 = 1,200.\n#### 1,200"}


def test_own_formats_in_the_data_directory(tmp_path: Path):
    write(tmp_path / "mmlu.jsonl", MMLU, MMLU | {"answer": "D", "question": "2 + 20 is"})
    write(tmp_path / "gsm8k_test.jsonl", GSM8K)
    write(tmp_path / "gpqa_diamond.jsonl", GPQA)
    where = Where(data_dir=tmp_path)

    first, second = load_benchmark("MMLU", where).problems
    assert first.prompt == "2 + 2 is\n\nA. 3\nB. 5\nC. 4\nD. 22"
    assert (first.answer, second.answer, first.id) == ("C", "D", "mmlu:1")

    grade_school = load_benchmark("gsm8k", where)
    assert (grade_school.name, grade_school.problems[0].answer, grade_school.asks) == ("gsm8k", "1200", "math")

    diamond = load_benchmark("gpqa", where)
    (problem,) = diamond.problems
    assert (diamond.name, diamond.asks, problem.id) == ("gpqa_diamond", "choice", "rec1")
    lines = dict(line.split(". ", 1) for line in problem.prompt.splitlines()[2:])
    assert lines[problem.answer] == "right"
    assert sorted(lines.values()) == ["right", "wrong one", "wrong three", "wrong two"]
    # The recorded order: 0 is the right one, 1 to 3 the wrong ones as they stand in the record.
    options = ["right", "wrong one", "wrong two", "wrong three"]
    assert [options[int(place)] for place in diamond.option_orders["rec1"]] == list(lines.values())


def test_known_names_also_take_plain_problems_and_answers(tmp_path: Path):
    write(tmp_path / "mmlu.jsonl", {"id": "a", "problem": "Q\n\nA. x\nB. y", "answer": "B"})
    benchmark = load_benchmark("mmlu", Where(data_dir=tmp_path))
    assert (benchmark.problems[0].prompt, benchmark.problems[0].answer) == ("Q\n\nA. x\nB. y", "B")
    assert (benchmark.asks, benchmark.option_orders) == ("choice", {})


def test_options_stand_in_every_place_equally_often():
    orders = [option_order(f"problem {i}", 4) for i in range(4000)]
    counts = [sum(order.index(0) == place for order in orders) for place in range(4)]
    # 1,000 each expected, with a standard deviation of 27.
    assert all(abs(count - 1000) < 140 for count in counts)
    assert option_order("problem 7", 4) == orders[7]


@pytest.mark.parametrize(
    ("reader", "record", "words"),
    [
        (mmlu, MMLU | {"answer": 4}, "answer' is 4; it must be a letter A to D"),
        (mmlu, MMLU | {"answer": "E"}, "answer' is 'E'"),
        (mmlu, MMLU | {"choices": "A"}, "'choices' must be a list"),
        (gsm8k, GSM8K | {"answer": "1200"}, "no '####'"),
        (gpqa, GPQA | {"Correct Answer": ""}, "'Correct Answer' is empty"),
        (gpqa, {"Question": "?"}, "'Correct Answer' is missing"),
    ],
)
def test_a_record_that_is_no_question_says_so(reader, record: Mapping[str, object], words: str):
    with pytest.raises(UserError, match=f"here: .*{words}"):
        reader(record, "here", "id")


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The library takes OWNER/NAME from the current folder before it asks the hub: no network, and nothing replaced."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


def test_a_set_of_the_hub_and_its_fields(local_hub: Path):
    write(local_hub / "owner/sums/train.jsonl", {"q": "1 + 1?", "gold": 2}, {"q": "1 + 2?", "gold": 3})
    where = Where(data_dir=local_hub, problem_field="q", answer_field="gold")
    benchmark = load_benchmark("hub:owner/sums:train", where)
    assert (benchmark.name, benchmark.source) == ("sums", "hub:owner/sums:train")
    assert [(p.id, p.prompt, p.answer) for p in benchmark.problems] == [
        ("sums:0", "1 + 1?", "2"),
        ("sums:1", "1 + 2?", "3"),
    ]
    # The content is what tells data apart: the same problems have the same hash, others another.
    assert load_benchmark("hub:owner/sums:train", where).sha256 == benchmark.sha256
    # Fewer problems are the same data.
    one = load_benchmark("hub:owner/sums:train", replace(where, limit=1))
    assert (one.problems, one.sha256) == (benchmark.problems[:1], benchmark.sha256)
    with pytest.raises(UserError, match="hub:owner/sums:train@main: a folder on this machine was read"):
        load_benchmark("hub:owner/sums:train@main", where)
    with pytest.raises(UserError, match="hub:owner/sums:train, row 0: the field 'problem' is missing"):
        load_benchmark("hub:owner/sums:train", Where(data_dir=local_hub))
    with pytest.raises(UserError, match=r"hub:owner/sums:test cannot be had from the hub .*test"):
        load_benchmark("hub:owner/sums:test", where)


def test_a_known_set_from_the_hub_by_its_fields(local_hub: Path):
    write(local_hub / "MathArena/aime_2025/train.jsonl", {"problem_idx": 1, "problem": "Find 70.", "answer": 70})
    benchmark = load_benchmark("aime25", Where(data_dir=local_hub / "none"))
    assert (benchmark.name, benchmark.source) == ("aime_2025", "hub:MathArena/aime_2025:train")
    assert [(p.id, p.answer) for p in benchmark.problems] == [("aime_2025:1", "70")]


@pytest.fixture
def cached_hub(local_hub: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A cache as the library leaves it of a data set of the hub, without a connection to that; the commit it is of."""
    import datasets

    commit = "0123456789abcdef0123456789abcdef01234567"
    write(local_hub / "openai/gsm8k/train.jsonl", GSM8K, GSM8K | {"question": "2 + 2?", "answer": "It is #### 4"})
    write(local_hub / "openai/gsm8k/test.jsonl", GSM8K | {"question": "3 + 3?", "answer": "It is #### 6"})
    made = datasets.load_dataset("openai/gsm8k", split="train").cache_files[0]["filename"]
    versions = local_hub / "cache/openai___gsm8k/main/0.0.0"
    versions.mkdir(parents=True)
    Path(made).parent.rename(versions / commit)
    info = versions / commit / "dataset_info.json"
    info.write_text(info.read_text().replace('"config_name": "default"', '"config_name": "main"'))
    (local_hub / "elsewhere").mkdir()
    monkeypatch.chdir(local_hub / "elsewhere")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    return commit


def test_the_commit_that_was_read_is_known_and_held_to(cached_hub: str, tmp_path: Path):
    where = Where(data_dir=tmp_path / "none")
    benchmark = load_benchmark("hub:openai/gsm8k:main:test", where)
    # A known set is read in its own format.
    assert [(p.id, p.prompt, p.answer) for p in benchmark.problems] == [("gsm8k:main:0", "3 + 3?", "6")]
    assert hub_commits([benchmark]) == {"gsm8k:main": cached_hub}
    assert load_benchmark(f"hub:openai/gsm8k:main:test@{cached_hub}", where).sha256 == benchmark.sha256
    named = load_benchmark(f"hub:gsm8k@{cached_hub}", where)
    assert (named.name, named.source) == ("gsm8k", f"hub:openai/gsm8k:main:test@{cached_hub}")
    other = "f" * 40
    with pytest.raises(UserError, match=f"@{other}: the hub cannot be asked, .* holds commit {cached_hub}"):
        load_benchmark(f"hub:openai/gsm8k:main:test@{other}", where)
    with pytest.raises(
        UserError, match=r"hub:openai/none:test cannot be had from the hub: .*connect once, or give a path"
    ):
        load_benchmark("hub:openai/none:test", where)
    # Fields that are named are taken as they are.
    plainly = load_benchmark("hub:openai/gsm8k:main:test", replace(where, problem_field="question"))
    assert plainly.problems[0].answer == "It is #### 6"


def test_a_recipe_trains_on_data_sets_of_the_hub(cached_hub: str, tmp_path: Path):
    source = "hub:openai/gsm8k:main"
    paths = {"train_path": f"{source}:train@{cached_hub}", "test_path": f"{source}:test"}
    data = load(DataSettings(kind="hub", **paths, num_train=None, num_test=None))
    ids = [[problem.id for problem in problems] for problems in (data.train, data.test)]
    # Those of the test set are called as `unsqueeze eval` calls them; none is called like another.
    assert ids == [["gsm8k:main:train:0", "gsm8k:main:train:1"], ["gsm8k:main:0"]]
    assert data.hub_commits == dict.fromkeys(paths.values(), cached_hub)
    assert data.sha256[paths["test_path"]] == load_benchmark(paths["test_path"], Where(data_dir=tmp_path)).sha256
    some = load(DataSettings(kind="hub", **paths, num_train=1, num_test=1, num_validation=1))
    assert sorted(problem.id for problem in (*some.train, *some.validation)) == ids[0]
    assert some.sha256 == data.sha256
    # A file beside a data set.
    write(tmp_path / "test.jsonl", {"problem": "4 + 4?", "answer": "8"})
    mixed = load(
        DataSettings(kind="hub", **paths | {"test_path": str(tmp_path / "test.jsonl")}, num_test=None, num_train=None)
    )
    assert [problem.answer for problem in mixed.test] == ["8"]
    assert list(mixed.hub_commits) == [paths["train_path"]]
    with pytest.raises(UserError, match="a subset of 9 problems was asked for"):
        load(DataSettings(kind="hub", **paths, num_train=9))
    for kind, words in (("jsonl", "set it to hub"), ("countdown", "set it to hub")):
        with pytest.raises(ValidationError, match=words):
            DataSettings(kind=kind, **paths)
    with pytest.raises(ValidationError, match="hub:OWNER/NAME"):
        DataSettings(kind="hub", train_path="train.jsonl", test_path="test.jsonl")


def test_without_file_and_network_one_sentence_says_what_to_put_where(local_hub: Path):
    with pytest.raises(UserError) as caught:
        load_benchmark("hmmt-feb-2025", Where(data_dir=Path("data")))
    message = str(caught.value)
    for words in ("put its problems at data/hmmt_feb_2025.jsonl", "hub:MathArena/hmmt_feb_2025:train cannot be had"):
        assert words in message
    assert "\n" not in message


def test_sources_by_hand():
    assert parse_source("hub:openai/gsm8k:main:test") == HubSource("openai/gsm8k", "main", "test")
    assert parse_source("hub:a/b:train@abc") == HubSource("a/b", None, "train", "abc")
    for text in ("hub:gsm8k:test", "hub:a/b", "hub:a/b:c:d:e", "hub:"):
        with pytest.raises(UserError, match="write a hub data set as hub:OWNER/NAME"):
            parse_source(text)
    for known in KNOWN:
        assert parse_source(str(known.hub)) == known.hub


def test_names_and_aliases_are_unambiguous():
    names = [name for known in KNOWN for name in (known.name, *known.aliases)]
    assert len(set(names)) == len(names)
    assert find_known("HMMT-Nov-2025") is find_known("hmmt_nov25")
    assert find_known("mmlu_sample") is None


def test_the_list_of_tasks_needs_no_model(command):
    code, printed, _ = command("eval", "--list-tasks")
    assert code == 0
    for known in KNOWN:
        assert known.name in printed
        assert known.hub.path in printed


def test_own_problems_have_ids_of_their_own():
    problems = [Problem(id=name, prompt="?", answer="1", task="math") for name in ("a", "b", "a")]
    with pytest.raises(UserError, match="own: 1 id is given to several problems, such as 'a'"):
        own_benchmark("own", problems, "given")
