"""A response ends with the assistant's turn, in every engine: no invented turn, no answer of the user's."""

from pathlib import Path
from typing import Any

import pytest

from look_alikes import FAMILIES, talkative
from openai_server import OpenAiServer, Reply, choice, serving
from unsqueeze.errors import UserError
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.replicas import Replicas
from unsqueeze.rollout.scripted import Line, ScriptedEngine
from unsqueeze.rollout.served import Ask, ServedModel
from unsqueeze.rollout.types import Completion, Sampling, StopReason
from unsqueeze.rollout.vllm_server import VllmServerEngine
from unsqueeze.seeds import prompt_seeds
from vllm_double import VllmDouble, serving_vllm

TOKENIZER = FAMILIES["Qwen2.5-Math base"].tokenizer()
PLAIN = FAMILIES["Qwen2.5-Math base"].tokenizer()
PLAIN.chat_template = None
END, OPEN = (TOKENIZER.convert_tokens_to_ids(mark) for mark in ("<|im_end|>", "<|im_start|>"))
PROMPT = TOKENIZER("2 + 2?")["input_ids"]
SAMPLING = Sampling(max_tokens=40)


def draw(engine: Any, sampling: Sampling = SAMPLING, n: int = 16) -> list[Completion]:
    return engine.generate([PROMPT], n, sampling, seeds=prompt_seeds(0, 1))[0]


def cut_at(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens


def test_hf_ends_where_the_turn_does():
    model = talkative(TOKENIZER, "<|im_end|>")
    free, ended = draw(HfEngine(model, PLAIN)), draw(HfEngine(model, TOKENIZER))
    assert any(END in one.tokens[:-1] for one in free)  # there is something to end
    assert [one.tokens.tolist() for one in ended] == [cut_at(one.tokens.tolist(), END) for one in free]
    for one in ended:
        if END in one.tokens:
            assert one.stop_reason is StopReason.EOS
            assert one.text == TOKENIZER.decode(one.tokens[:-1], skip_special_tokens=True)
            assert len(one.logp_raw) == len(one.tokens)
    # The same token by name, where there is no template to tell.
    named = draw(HfEngine(model, PLAIN), Sampling(max_tokens=40, end_ids=(END,)))
    assert [one.tokens.tolist() for one in named] == [one.tokens.tolist() for one in ended]
    # And it may not be drawn before a response may end.
    late = draw(HfEngine(model, TOKENIZER), Sampling(max_tokens=40, min_tokens=30))
    assert all(END not in one.tokens[:29] for one in late)


def test_vllm_servers_end_where_the_turn_does(tmp_path: Path):
    policy, double = Weights(talkative(TOKENIZER, "<|im_end|>")), VllmDouble(talkative(PLAIN, "<|im_end|>"), PLAIN)
    with serving_vllm(double) as server:
        engine = VllmServerEngine(Replicas([server.url]), None, policy.model, TOKENIZER, folder=tmp_path / "w")
        engine.sync(policy)
        drawn = draw(engine, Sampling(max_tokens=40, end_ids=(7,)))
        engine.close()
        asked = server.bodies("/v1/completions")
    assert all({END, 7} <= set(body["stop_token_ids"]) for body in asked)
    assert any(one.tokens[-1] == END for one in drawn)
    assert all(not {END, 7} & set(one.tokens[:-1].tolist()) for one in drawn)


class Weights:
    """The part of a policy that an engine takes weights from."""

    version = 0

    def __init__(self, model: Any) -> None:
        self.model = model

    def exported_weights(self):
        return self.model.state_dict().items()


SAID = "4<|im_end|>\n<|im_start|>user\nAnd \\boxed{5}?"


def test_the_scripted_engine_ends_as_the_others_do():
    [one] = draw(ScriptedEngine(TOKENIZER, [SAID]), n=1)
    assert (one.text, one.tokens.tolist(), one.stop_reason) == (
        "4",
        [*TOKENIZER("4")["input_ids"], END],
        StopReason.EOS,
    )
    # What is not said to end ends as a turn does; without a template as the tokenizer says.
    [one] = draw(ScriptedEngine(TOKENIZER, ["4"]), n=1)
    assert one.tokens[-1] == END
    [one] = draw(ScriptedEngine(PLAIN, ["4"]), n=1)
    assert one.tokens[-1] == TOKENIZER.eos_token_id
    sampling = Sampling(max_tokens=40, stop=("=",), end_ids=tuple(TOKENIZER("7")["input_ids"]))
    stopped, named = draw(ScriptedEngine(PLAIN, ["2 = 2", Line("2 7 2", logp=(-1.0, -2.0, -3.0))]), sampling, n=2)
    assert (stopped.text, stopped.stop_reason) == ("2 ", StopReason.STOP)
    assert (named.text, named.stop_reason, named.logp_raw.tolist()) == ("2 ", StopReason.EOS, [-1.0, -2.0, -3.0])


VLLM = [{"id": "math", "owned_by": "vllm", "max_model_len": 100}]


def tokenizing(path: str, body: dict[str, Any]) -> Reply:
    """vLLM's /tokenize, of this tokenizer."""
    if path != "/tokenize":
        return 200, choice("4", chat="messages" in body)
    assert (body["model"], body["return_token_strs"]) == ("math", True)
    if "messages" in body:
        assert body["add_generation_prompt"] is False
        ids = TOKENIZER.apply_chat_template(body["messages"], tokenize=True, return_dict=True)["input_ids"]
    else:
        ids = TOKENIZER(body["prompt"], add_special_tokens=body["add_special_tokens"])["input_ids"]
    return 200, {"tokens": ids, "token_strs": TOKENIZER.convert_ids_to_tokens(ids), "count": len(ids)}


def request_of(server: OpenAiServer, names: tuple[str, ...] = ()) -> tuple[dict[str, Any], ServedModel]:
    served = ServedModel.connect(Replicas([server.url]), "math")
    return served.request(Ask("x", 0), served.ending(SAMPLING, names)).body, served


def test_a_vllm_server_tells_how_a_turn_ends_and_is_asked_to_end_there():
    with serving(tokenizing, models=VLLM) as server:
        body, served = request_of(server, ("<|im_start|>", "7"))
        assert served.turn_end == "<|im_end|>"
        assert body["stop_token_ids"] == [END, OPEN, *TOKENIZER("7")["input_ids"]]
        assert "stop" not in body
        with pytest.raises(UserError, match=r"'<.im_ende.>' is no token of .* math, where it becomes 11"):
            served.ending(SAMPLING, ("<|im_ende|>",))


def test_a_vllm_server_without_a_template_or_a_tokenizer_to_ask():
    def silent(path: str, body: dict[str, Any]) -> Reply:
        return (400, {"message": "no chat template"}) if path == "/tokenize" else (200, choice("4"))

    with serving(silent, models=VLLM) as server:
        body, served = request_of(server)
        assert served.turn_end is None
        assert "stop_token_ids" not in body
        with pytest.raises(UserError, match=r"does not say what tokens a text has \(status 400 of /tokenize\)"):
            served.ending(SAMPLING, ("<|im_end|>",))


def test_another_server_gets_end_tokens_as_stop_texts():
    with serving(tokenizing, models=[{"id": "math"}]) as server:
        body, served = request_of(server, ("<|im_end|>",))
        assert served.turn_end is None
        assert body["stop"] == ["<|im_end|>"]
        assert "stop_token_ids" not in body
        assert not server.bodies("/tokenize")
