"""`unsqueeze eval` and `diagnose` of a model behind a server."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from openai_server import Reply, choice, serving
from unsqueeze.errors import UserError
from unsqueeze.evaluation import draw
from unsqueeze.evaluation.benchmarks import Where, load_benchmarks
from unsqueeze.rollout.replicas import Replicas
from unsqueeze.rollout.served import Ask, ServedModel
from unsqueeze.rollout.served_answers import answer_of, stop_reason, token_logprobs
from unsqueeze.rollout.types import Sampling, StopReason

NAME = "tiny"
MODELS = [{"id": NAME, "root": "/models/tiny", "max_model_len": 40}]


def evaluation(out: Path, *urls: str, more: tuple[str, ...] = (), n: int = 4, limit: int = 3) -> list[str]:
    servers = [part for url in urls for part in ("--server", url)]
    return [
        "eval",
        NAME,
        *servers,
        "--task",
        "countdown",
        "--n",
        str(n),
        "--limit",
        str(limit),
        "--out",
        str(out),
        *more,
    ]


def rows_of(out: Path) -> list[dict[str, Any]]:
    return pq.read_table(out / "samples.parquet").to_pylist()


def speak(path: str, body: dict[str, Any]) -> Reply:
    """The same words for the same seed."""
    chat = path.endswith("/chat/completions")
    logprobs = [-0.5, -1.5] if "logprobs" in body else None
    return 200, choice(f"sample {body['seed']}", logprobs, chat=chat)


def test_samples_are_asked_for_stored_and_added_to(command, tmp_path: Path):
    out = tmp_path / "out"
    with serving(speak, models=MODELS, version="0.32.0") as one, serving(speak, models=MODELS) as other:
        with_password = one.url.replace("http://", "http://me:secret@")
        code, printed, err = command(*evaluation(out, with_password, other.url, more=("--top-k", "5")))
        assert code == 0, err
        assert "countdown" in printed
        assert one.asked
        assert other.asked
        asked = one.bodies("/v1/chat/completions") + other.bodies("/v1/chat/completions")
        # The first draws one token, to see whether the model answers.
        tried, drawn = [b for b in asked if b["max_tokens"] == 1], [b for b in asked if b["max_tokens"] != 1]
        assert len(tried) == 1
        assert len(drawn) == 12
        problems = load_benchmarks(["countdown"], Where(data_dir=tmp_path, limit=3))[0].problems
        assert {b["messages"][0]["content"] for b in drawn} == {problem.prompt for problem in problems}
        assert len({b["seed"] for b in drawn}) == 12
        assert {(b["model"], b["n"], b["max_tokens"], b["temperature"], b["top_p"], b["top_k"]) for b in drawn} == {
            (NAME, 1, 20, 0.7, 1.0, 5)  # half of the context of 40
        }

        rows = rows_of(out)
        assert [(row["problem_id"], row["index"]) for row in rows] == [(p.id, i) for p in problems for i in range(4)]
        assert {(row["num_tokens"], row["mean_logp"], row["stop_reason"]) for row in rows} == {(3, -1.0, "eos")}
        told = json.loads((out / "eval.json").read_text())
        assert (told["served_model"], told["served_root"], told["server_version"]) == (NAME, "/models/tiny", "0.32.0")
        assert told["servers"] == [one.url, other.url]
        assert "secret" not in (out / "eval.json").read_text() + (out / "summary.json").read_text() + err

        # A larger n adds, on whichever replicas there are now; the same one draws nothing.
        code, _, err = command(*evaluation(out, other.url, more=("--top-k", "5"), n=6))
        assert code == 0, err
        assert "6 samples were drawn now" in err
        assert [row for row in rows_of(out) if row["index"] < 4] == rows
        code, _, err = command(*evaluation(out, other.url, more=("--top-k", "5"), n=6))
        assert "0 samples were drawn now" in err


def test_an_interrupted_evaluation_keeps_what_came_in_and_goes_on(
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    monkeypatch.setattr(draw, "STORED_AFTER_S", 0.0)

    def until_seven(path: str, body: dict[str, Any]) -> Reply:
        return speak(path, body) if len(server.asked) <= 7 else (400, {"message": "tired"})

    with serving(speak) as server:
        assert command(*evaluation(whole, server.url, more=("--prompt-style", "plain", "--max-rows", "2")))[0] == 0
    with serving(until_seven) as server:
        code, _, err = command(*evaluation(cut, server.url, more=("--prompt-style", "plain", "--max-rows", "1")))
        assert code == 2
        assert "400: tired" in err
        assert not (cut / "summary.json").exists()
        server.script = speak
        code, _, err = command(
            *evaluation(
                cut,
                server.url,
                more=(
                    "--prompt-style",
                    "plain",
                ),
            )
        )
        assert code == 0, err
        # Seven requests were answered, one of them to try the server out.
        assert "6 samples were drawn now" in err
        assert server.bodies("/v1/completions")[1]["prompt"] == load_prompt(tmp_path)
        assert server.bodies("/v1/completions")[1]["logprobs"] == 1
    # A sample has its own seed, whenever it is drawn.
    assert rows_of(cut) == rows_of(whole)


def load_prompt(folder: Path) -> str:
    return load_benchmarks(["countdown"], Where(data_dir=folder, limit=1))[0].problems[0].prompt


def test_without_log_probs_nothing_is_invented(command, tmp_path: Path):
    def stubborn(path: str, body: dict[str, Any]) -> Reply:
        if "logprobs" in body:
            return 400, {"error": {"message": "logprobs are not supported"}}
        said = choice(f"{body['seed']}", chat=True)
        del said["usage"]
        return 200, said

    with serving(stubborn) as server:
        code, printed, err = command(*evaluation(tmp_path / "out", server.url))
        assert code == 0, err
        assert "countdown: 12 samples" in printed
        assert "tokens on average" not in printed
        assert {(row["num_tokens"], row["mean_logp"]) for row in rows_of(tmp_path / "out")} == {(None, None)}
        assert json.loads((tmp_path / "out" / "summary.json").read_text())["mean_tokens"] is None
        code, printed, err = command(
            "diagnose", NAME, "--server", server.url, "--task", "countdown", "--limit", "2", "--n", "2"
        )
        assert code == 0, err
        assert "does not give entropy and the log-prob of greedy answers" in err
        assert "–, –, –" in printed


def test_diagnose_measures_what_a_server_tells(command, tmp_path: Path):
    with serving(speak, models=MODELS) as server:
        out = tmp_path / "d.json"
        flags = ["--task", "countdown", "--limit", "2", "--n", "3", "--out", str(out)]
        code, printed, err = command("diagnose", NAME, "--server", server.url, *flags)
        assert code == 0, err
        assert "does not give entropy:" in err
        assert "-1.0000" in printed
        found = json.loads(out.read_text())
        assert found["servers"] == [server.url]
        result = found["tasks"]["countdown"]
        assert (result["greedy_logp"], result["entropy"], result["tokens_mean"]) == (-1.0, None, 3.0)
        greedy = [body for body in server.bodies("/v1/chat/completions") if body["temperature"] == 0]
        assert len(greedy) == 2


def refused(path: str, body: dict[str, Any]) -> Reply:
    return 400, {"message": "As of transformers v4.44, default chat template is no longer allowed"}


def test_another_model_is_not_mixed_in_and_mistakes_are_told_before_anything_is_written(command, tmp_path: Path):
    out, other = tmp_path / "out", tmp_path / "other"
    with serving(speak, models=MODELS) as server:
        assert command(*evaluation(out, server.url))[0] == 0
        server.models = [{"id": NAME, "root": "/models/other"}]
        code, _, err = command(*evaluation(out, server.url))
        assert code == 2
        assert 'served_root "/models/tiny", and "/models/other"' in err
        code, _, err = command("eval", "countdown-0.4m", *evaluation(out)[2:])
        assert code == 2
        assert "weights null" in err or "hub_name" in err
        with serving(speak, models=MODELS) as different:
            code, _, err = command(*evaluation(other, server.url, different.url))
            assert code == 2
            assert "mean different things by 'tiny'" in err
        server.models = [{"id": "big"}]
        code, _, err = command(*evaluation(other, server.url))
        assert code == 2
        assert "has no model 'tiny'; it has: big" in err
    with serving(refused) as server:
        code, _, err = command(*evaluation(other, server.url))
        assert code == 2
        assert "A model without a chat template is asked with the prompt style plain" in err
        code, _, err = command(*evaluation(other, server.url, more=("--prompt-style", "plain", "--system", "x")))
        assert code == 2
        assert "a system message needs a chat" in err
    assert not other.exists()


def test_what_answers_mean():
    answer = answer_of(choice("so", [-1.0, -2.0]))
    assert (answer.text, answer.stop_reason, answer.num_tokens, answer.mean_logp) == ("so", StopReason.EOS, 3, -1.5)
    told = {"message": {"content": "4", "reasoning_content": "2 and 2"}, "finish_reason": "length"}
    answer = answer_of({"choices": [told]})
    assert answer.text == "<think>2 and 2</think>4"
    assert (answer.stop_reason, answer.num_tokens, answer.mean_logp) == (StopReason.LENGTH, None, None)
    assert stop_reason({"finish_reason": "stop", "stop_reason": "\n"}) is StopReason.STOP
    assert stop_reason({"finish_reason": "stop", "stop_reason": None}) is StopReason.EOS
    assert token_logprobs({"token_logprobs": [-1, None]}) is None
    assert token_logprobs({"content": [{"logprob": -1}, {"logprob": -0.25}]}) == [-1.0, -0.25]
    for reply in ({}, {"choices": []}, {"choices": ["x"]}, {"choices": None}):
        with pytest.raises(UserError, match="has no choices"):
            answer_of(reply)


def test_requests_leave_out_what_is_at_its_default():
    with serving(speak, models=MODELS) as server:
        served = ServedModel.connect(Replicas([server.url]), NAME)
    path, body = served.request(Ask("x", 2**40 + 7), Sampling(max_tokens=9, stop=("\n",), min_tokens=2))
    assert path == "/completions"
    assert body == {
        "model": NAME,
        "n": 1,
        "max_tokens": 9,
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": 7,
        "min_tokens": 2,
        "stop": ["\n"],
        "prompt": "x",
        "logprobs": 1,
    }
