"""A base model whose chat template ends turns with a token it does not declare: from training to demonstrations."""

import json
from pathlib import Path
from typing import Any

import pytest

import unsqueeze as uq
from look_alikes import FAMILIES, talkative
from unsqueeze.errors import UserError
from unsqueeze.evaluation.measured import differing_settings, measured_by
from unsqueeze.interop.demonstrations import TokenDemonstration, read_demonstrations
from unsqueeze.policy.batch import Row
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Completion, StopReason
from unsqueeze.tasks.countdown import make_problem
from unsqueeze.training import irl_phase

TOKENIZER = FAMILIES["Qwen2.5-Math base"].tokenizer()
END, SEVEN = TOKENIZER.convert_tokens_to_ids(["<|im_end|>", "7"])
ENDS = {TOKENIZER.convert_tokens_to_ids(mark) for mark in ("<eos>", "<|endoftext|>", "<|im_end|>")}
PROBLEM = make_problem([2, 3, 4], 9)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "base"
    talkative(TOKENIZER, "<|im_end|>", "7").save_pretrained(path)
    TOKENIZER.save_pretrained(path)
    return path


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Completion]:
    """Everything that the engine of this process gives."""
    seen: list[Completion] = []
    generate = HfEngine.generate

    def noting(self, prompts, n, sampling, **more):
        groups = generate(self, prompts, n, sampling, **more)
        seen.extend(one for group in groups for one in group)
        return groups

    monkeypatch.setattr(HfEngine, "generate", noting)
    return seen


def settings(model: Path, **rollout: Any) -> dict[str, Any]:
    return {
        "name": "tiny",
        "seed": 3,
        "threads": 1,
        "model": {"path": str(model)},
        "data": {"kind": "countdown", "num_train": 4, "num_test": 2},
        "prompt": {"mode": "chat"},
        "rollout": {"max_tokens": 32, **rollout},
        "rl": {"steps": 1, "prompts_per_step": 4, "group_size": 4, "learning_rate": 1e-4},
        "irl": {"every_steps": 1, "k": 2, "steps": 1, "learning_rate": 1e-4},
        "evaluation": {"n": 2},
    }


def test_a_run_ends_with_the_turn_and_learns_to_end_there(
    base: Path, drawn: list[Completion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    learned: list[Row] = []
    updates = irl_phase.irl_updates

    def noting(policy, settings, demonstrations, **more):
        learned.extend(demonstrations)
        return updates(policy, settings, demonstrations, **more)

    monkeypatch.setattr(irl_phase, "irl_updates", noting)
    trained = uq.train(settings(base), run=tmp_path / "run", verifier=lambda problem, response: len(response) % 2 == 0)
    # Rollouts, evaluations, greedy answers, watched prompts.
    assert len(drawn) > 50
    assert any(one.tokens[-1] == END for one in drawn)
    assert all(ENDS.isdisjoint(one.tokens[:-1].tolist()) for one in drawn)
    assert json.loads((trained.run.path / "run.json").read_text())["end_tokens"] == [
        "<eos>",
        "<|endoftext|>",
        "<|im_end|>",
    ]
    assert any(row.tokens[-1] == END for row in learned)

    # What select writes and irl reads of them are the same tokens, the end included.
    out = tmp_path / "demos.jsonl"
    uq.select(trained.run.path, out=out)
    by_ids = tokens_of(read(out))
    assert by_ids == [row.tokens.tolist() for row in learned]
    whole = [line for line in map(json.loads, out.read_text().splitlines()) if line["stop_reason"] == "eos"]
    from_text = tokens_of(read(out, from_text=True))
    assert len(from_text) == len(by_ids) > len(whole) > 0
    for ids, text in zip(by_ids, from_text, strict=True):
        # The text alone does not tell which end it was: that of a turn, as the model was asked for one.
        assert (text[-1] == END) is (ids[-1] in ENDS)


def read(path: Path, **more: Any) -> list[TokenDemonstration]:
    return read_demonstrations(str(path), TOKENIZER, context=256, vocabulary=len(TOKENIZER), **more).read


def tokens_of(demonstrations: list[TokenDemonstration]) -> list[list[int]]:
    return [one.tokens.tolist() for one in demonstrations]


def test_demonstrations_in_words_end_as_they_were_asked_for(tmp_path: Path):
    chat, eos = [{"role": "user", "content": "2 + 2?"}], TOKENIZER.eos_token_id
    written = TOKENIZER.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    lines: list[tuple[dict[str, Any], int | None]] = [
        ({"messages": [*chat, {"role": "assistant", "content": "4"}]}, END),
        ({"prompt": chat, "completion": "4"}, END),
        ({"prompt": written, "completion": "4"}, END),  # the chat written out, as other trainers keep it
        ({"prompt": written, "completion": "4<|im_end|>"}, END),
        ({"prompt": "2 + 2 =", "completion": "4"}, eos),
        ({"prompt": "2 + 2 =", "completion": "4<|im_end|>"}, END),
        ({"prompt": written, "completion": "4", "stop_reason": "length"}, None),
    ]
    path = tmp_path / "demos.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line, _ in lines))
    four = TOKENIZER("4")["input_ids"]
    assert tokens_of(read(path)) == [[*four, *([] if end is None else [end])] for _, end in lines]
    # A model without a row for the token cannot be taught it.
    small = read_demonstrations(str(path), TOKENIZER, context=256, vocabulary=END, skip_bad=True)
    assert small.read[0].tokens.tolist() == [*four, eos]


def test_an_end_token_that_is_the_unknown_one_too_is_learned_from(tmp_path: Path):
    """Vocabularies of bytes know every text, and often name the end of the text for what is unknown."""
    tokenizer = FAMILIES["OLMo 2"].tokenizer()
    tokenizer.unk_token = "<|endoftext|>"
    path = tmp_path / "demos.jsonl"
    path.write_text('{"prompt": "2 + 2 =", "completion": "4"}\n')
    [one] = read_demonstrations(str(path), tokenizer, context=None, vocabulary=len(tokenizer)).read
    assert one.tokens.tolist() == [*tokenizer("4")["input_ids"], tokenizer.eos_token_id]


@pytest.mark.parametrize("style", ["chat", "qwen-math", "plain"])
def test_an_evaluation_ends_with_the_turn_however_it_is_asked(base: Path, drawn: list[Completion], style: str):
    done = uq.evaluate(str(base), [PROBLEM], n=16, max_tokens=32, prompt_style=style)
    assert done.record["settings"]["own"]["turn_end"] == "<|im_end|>"
    assert any(one.tokens[-1] == END for one in drawn)
    assert all(ENDS.isdisjoint(one.tokens[:-1].tolist()) for one in drawn)
    ended = {len(one.tokens) for one in drawn if one.stop_reason is StopReason.EOS}
    assert ended & set(done.samples["num_tokens"].to_pylist())


def test_end_tokens_are_given_travel_and_are_compared(base: Path, drawn: list[Completion], tmp_path: Path, command):
    plain = uq.evaluate(str(base), [PROBLEM], n=2, max_tokens=32, out=tmp_path / "plain")
    drawn.clear()
    (tmp_path / "own.jsonl").write_text(json.dumps({"problem": "2 + 2?", "answer": "4"}) + "\n")
    flags = [str(base), "--task", str(tmp_path / "own.jsonl"), "--n", "16", "--max-tokens", "32", "--end-token", "7"]
    code, _, err = command("eval", *flags, "--out", str(tmp_path / "eval"))
    assert code == 0, err
    code, _, err = command("diagnose", *flags, "--out", str(tmp_path / "diagnosis.json"))
    assert code == 0, err
    for file, task in (("eval/summary.json", "own"), ("diagnosis.json", "own")):
        assert json.loads((tmp_path / file).read_text())["settings"][task]["end_tokens"] == ["7"]
    assert any(one.tokens[-1] == SEVEN for one in drawn)
    assert all((ENDS | {SEVEN}).isdisjoint(one.tokens[:-1].tolist()) for one in drawn)
    told = list(differing_settings(measured_by(plain), measured_by(tmp_path / "eval")))
    assert 'end_tokens [] and ["7"]' in told

    drawn.clear()
    recipe = settings(base, end_tokens=["7"]) | {"irl": None}
    run = uq.train(recipe, run=tmp_path / "run", verifier=lambda problem, response: len(response) % 2 == 0).run
    assert json.loads((run.path / "run.json").read_text())["end_tokens"][-1] == "7"
    assert measured_by(str(run.path))["end_tokens"] == ["7"]
    uq.load_model(str(run.path)).sample([PROBLEM], 4, max_tokens=32)
    found = uq.diagnose(str(run.path), [PROBLEM], n=4)
    assert found.record["settings"]["own"]["end_tokens"] == ["7"]
    assert all((ENDS | {SEVEN}).isdisjoint(one.tokens[:-1].tolist()) for one in drawn)


def test_a_text_that_is_no_token_is_refused_before_anything_is_written(base: Path, tmp_path: Path, command):
    with pytest.raises(UserError, match=r"the end token '<.im_ende.>' is no token"):
        uq.train(settings(base, end_tokens=["<|im_ende|>"]), run=tmp_path / "run")
    (tmp_path / "demos.jsonl").write_text('{"prompt": "2", "completion": "4"}\n')
    for name, more in (
        ("eval", ["--task", "countdown"]),
        ("diagnose", ["--task", "countdown"]),
        ("irl", ["--demos", str(tmp_path / "demos.jsonl")]),
    ):
        out = tmp_path / f"{name}.out"
        code, _, err = command(name, str(base), *more, "--end-token", "<|im_ende|>", "--out", str(out))
        assert code == 2
        assert "the end token '<|im_ende|>' is no token of the model's vocabulary" in err
        assert not out.exists()
    assert not (tmp_path / "run").exists()
