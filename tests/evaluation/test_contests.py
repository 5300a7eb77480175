"""The five contests of the paper, from their real files, through the whole of `unsqueeze eval`."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data import problem_set
from tiny_models import BYTE_VOCABULARY, byte_tokenizer, tiny_llama
from unsqueeze.store.table import write_table

CONTESTS = ("aime_2024", "aime_2025", "brumo_2025", "hmmt_feb_2025", "hmmt_nov_2025")
CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def golds() -> dict[str, list[str]]:
    lines = {name: problem_set(name).read_text(encoding="utf-8").splitlines() for name in CONTESTS}
    return {name: [json.loads(line)["answer"] for line in texts] for name, texts in lines.items()}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that has a token for every byte."""
    folder = tmp_path_factory.mktemp("models") / "bytes"
    tiny_llama(BYTE_VOCABULARY, context=8192).save_pretrained(folder)
    byte_tokenizer(CHAT).save_pretrained(folder)
    return folder


class Evaluation:
    """`unsqueeze eval` on all contests, one short sample a problem; its samples can be replaced by an answer sheet."""

    def __init__(self, command: Any, model: Path, out: Path) -> None:
        tasks = [part for name in CONTESTS for part in ("--task", name)]
        folder = ["--data-dir", str(problem_set(CONTESTS[0]).parent)]
        self.out = out
        self._command = command
        self._arguments = ["eval", str(model), *tasks, *folder, "--n", "1", "--max-tokens", "4", "--out", str(out)]

    def run(self, *more: str) -> tuple[str, dict[str, Any]]:
        """What it says of samples, and the summary."""
        code, _, said = self._command(*self._arguments, *more)
        assert code == 0, said
        return said, json.loads((self.out / "summary.json").read_text())

    def samples(self) -> Rows:
        return pq.read_table(self.out / "samples.parquet").to_pylist()

    def hand_in(self, sheet: dict[str, list[str]]) -> None:
        """Store these answers as the samples, by a judge of another name: the command has to judge them itself."""
        table = pq.read_table(self.out / "samples.parquet")
        answers = [answer for name in CONTESTS for answer in sheet[name]]
        for column, values in (("text", answers), ("verifier", ["nobody"] * len(answers))):
            place = table.schema.get_field_index(column)
            table = table.set_column(place, table.schema.field(place), pa.array(values, pa.string()))
        write_table(self.out / "samples.parquet", table, replace=True)


def boxed(answer: str) -> str:
    return f"Adding up gives $x = 17$ at first. So the answer is $\\boxed{{{answer}}}$."


@pytest.mark.usefixtures("shared_workers")
def test_all_load_prompt_sample_and_score_and_answer_sheets_score_what_they_must(
    command: Any, golds: dict[str, list[str]], model: Path, tmp_path: Path
):
    evaluation = Evaluation(command, model, tmp_path / "out")
    said, summary = evaluation.run()
    assert "150 samples were drawn now" in said
    assert [(name, part["n_problems"]) for name, part in summary["benchmarks"].items()] == [
        (name, 30) for name in CONTESTS
    ]
    assert {settings["prompt_style"] for settings in summary["settings"].values()} == {"chat"}
    rows = evaluation.samples()
    assert [(row["benchmark"], row["gold"]) for row in rows] == [
        (name, gold) for name in CONTESTS for gold in golds[name]
    ]
    assert {row["num_tokens"] for row in rows} <= {1, 2, 3, 4}
    assert summary["num_not_judged"] == 0

    # Every gold answer: all right, wherever answers may stand.
    sheet = {name: [boxed(gold) for gold in golds[name]] for name in CONTESTS}
    for credit in ("boxed", "anywhere"):
        evaluation.hand_in(sheet)
        said, summary = evaluation.run("--credit", credit)
        assert "0 samples were drawn now" in said
        assert {name: part["avg"] for name, part in summary["benchmarks"].items()} == dict.fromkeys(CONTESTS, 1.0)
    # Bare, without a box, where answers count anywhere.
    evaluation.hand_in(golds)
    assert evaluation.run("--credit", "anywhere")[1]["avg"] == 1.0

    # The answers of the next problem: right where the two problems have equal answers, and nowhere else.
    nexts = {name: golds[name][1:] + golds[name][:1] for name in CONTESTS}
    chance = {name: sum(map(str.__eq__, golds[name], nexts[name])) / 30 for name in CONTESTS}
    for credit in ("boxed", "anywhere"):
        evaluation.hand_in({name: [boxed(answer) for answer in nexts[name]] for name in CONTESTS})
        _, summary = evaluation.run("--credit", credit)
        assert {name: part["avg"] for name, part in summary["benchmarks"].items()} == chance
        assert summary["num_not_judged"] == 0
