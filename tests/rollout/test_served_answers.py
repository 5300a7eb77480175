"""Answers of servers that no server should give: read, or refused in one sentence; and responses that never end."""

import json
import math
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from openai_server import Reply, choice, serving
from unsqueeze.errors import RunError, UnsqueezeError, UserError
from unsqueeze.rollout.replicas import Patience, Replicas, Request
from unsqueeze.rollout.served import Ask, ServedModel
from unsqueeze.rollout.served_answers import answer_of, token_logprobs
from unsqueeze.rollout.types import Sampling

QUICK = Patience(first_wait_s=0.01, longest_wait_s=0.02, attempts=3)


def said(content: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **more}}]}


@pytest.mark.parametrize("count", [True, -1, 2**31, 10**400, 2.5, "3", None, [3], float("inf")])
def test_a_count_that_is_none_is_left_to_the_log_probs(count: Any):
    reply = choice("so", [-1.0, -2.0]) | {"usage": {"completion_tokens": count}}
    assert answer_of(reply).num_tokens == 2
    assert answer_of(choice("so") | {"usage": {"completion_tokens": count}}).num_tokens is None
    assert answer_of(choice("so") | {"usage": count}).num_tokens is None


@pytest.mark.parametrize("value", [0.5, 0.0011, math.inf, -math.inf, math.nan, 10**400, -(10**400), 1e39, -1e39])
@pytest.mark.parametrize("chat", [False, True])
def test_what_is_no_log_prob_is_refused(value: float, chat: bool):
    with pytest.raises(RunError, match="log-probs are finite and at most 0"):
        answer_of(choice("so", [-1.0, value], chat=chat))


@pytest.mark.parametrize("given", [None, True, "−1", [], {}, {"content": [None]}, {"content": [{"logprob": True}]}])
def test_log_probs_that_are_not_there_are_none(given: Any):
    assert token_logprobs(given) is None
    assert token_logprobs({"token_logprobs": [-1.0, given]}) is None


def test_a_log_prob_of_rounding_is_zero():
    assert token_logprobs({"token_logprobs": [0.0004, -0.5, 0]}) == [0.0, -0.5, 0.0]


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (said(None), ""),
        (said([]), ""),
        (said([{"type": "text", "text": "4"}, {"type": "text", "text": "2"}]), "42"),
        (said(["4", "2"]), "42"),
        (
            said([{"type": "thinking", "thinking": [{"type": "text", "text": "so"}]}, {"text": "4"}]),
            "<think>so</think>4",
        ),
        (said("4", reasoning_content=[{"text": "so"}]), "<think>so</think>4"),
        (said("4", reasoning={"tokens": 3}), "4"),
        (said("\ud83d\ude00 \ud800"), "😀 \ufffd"),
        ({"choices": [{"text": [{"text": "4"}]}]}, "4"),
        ({"choices": [{"text": None, "message": 3}]}, ""),
    ],
)
def test_content_is_read_as_text(reply: dict[str, Any], text: str):
    assert answer_of(reply).text == text
    text.encode()


def nested(depth: int, inner: Any = "4") -> Any:
    for _ in range(depth):
        inner = [{"type": "thinking", "thinking": inner}]
    return inner


@pytest.mark.parametrize("content", [5, True, {"text": "4"}, [5], [None], [{"type": "image_url"}], [[]], nested(900)])
def test_content_that_is_no_text_is_refused(content: Any):
    with pytest.raises(RunError, match=r"no text|too deeply"):
        answer_of(said(content))


@pytest.mark.parametrize("root", [["a"], {"a": 1}, 5, None, True])
def test_an_odd_description_of_the_model_is_passed_over(root: Any):
    models = [{"id": "tiny", "root": root, "max_model_len": length} for length in [True, 10**400, -5, "8"]]
    for model in models:
        with serving(lambda path, body: (200, choice("x")), models=[model], version="0.32") as server:
            reported = ServedModel.connect(Replicas([server.url], patience=QUICK), "tiny").reported
            assert (reported.root, reported.context, reported.version) == (None, None, "0.32")


@pytest.mark.parametrize("listed", [None, 5, [None], [5], {"a": 1}, [{"name": "x"}], [["id"]]])
def test_a_list_of_models_that_is_none_is_said(listed: Any):
    with serving(lambda path, body: (200, {})) as server:
        server.gets["/v1/models"] = lambda: {"data": listed}
        with pytest.raises(UserError, match="something else than models"):
            ServedModel.connect(Replicas([server.url], patience=QUICK), "tiny")


@contextmanager
def answering(*pieces: bytes, pause_s: float = 0.0) -> Iterator[str]:
    """A server that gives everyone the same bytes, piece by piece, until it is told to end."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer(connection: socket.socket) -> None:
            with connection:
                connection.recv(1 << 16)
                try:
                    for piece in pieces:
                        connection.sendall(piece)
                        if over.wait(pause_s):
                            return
                except OSError:
                    return

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        finally:
            over.set()
            server.shutdown(socket.SHUT_RDWR)


def http(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


DEEP = b"[" * 200_000 + b"]" * 200_000


@pytest.mark.parametrize(
    "response",
    [
        http(b'{"choices": ' + DEEP + b"}"),
        http(b'{"error": ' + DEEP + b"}", "400 Bad Request"),
        http(b'{"choices": [{"text": "x", "logprobs": {"token_logprobs": [' + b"9" * 5000 + b"]}}]}"),
        http(b'{"choices": [{"text": "x", "logprobs": {"token_logprobs": [1e400]}}]}'),
        http(b'{"choices": [{"text": "x", "logprobs": {"token_logprobs": [NaN]}}]}'),
        http(b"\xff\xfe\x00"),
        http(b""),
        http(b"[]"),
        http(b"null"),
        http(b"{}", "302 Found"),
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n{",
        b"HTTP/1.1 999 \r\n\r\n",
        b"no HTTP at all\r\n\r\n",
        b"",
    ],
)
def test_no_answer_ends_in_a_traceback(response: bytes):
    with answering(response) as url:
        replicas = Replicas([url], patience=QUICK)
        with pytest.raises(UnsqueezeError):
            ServedModel.connect(replicas, "tiny")
        with pytest.raises(UnsqueezeError):
            [answer_of(reply) for _, reply in replicas.stream([Request("/completions", {})])]


def test_a_response_that_trickles_in_is_given_up():
    """Byte for byte, so that no single read waits; the whole would take an hour."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    with answering(head, *[b" "] * 100_000, pause_s=0.036) as url:
        replicas = Replicas([url], patience=Patience(timeout_s=0.3, attempts=2, first_wait_s=0.01))
        with pytest.raises(RunError, match=r"failed 2 times in a row; .*was not there within 0\.3 s"):
            list(replicas.stream([Request("/completions", {})]))
        with pytest.raises(RunError, match=r"cannot be reached \(ReadTimeout.*within 0\.3 s"):
            replicas.send_to_all("GET", "/models")


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, math.nan])
def test_a_time_that_is_none_is_refused(timeout_s: float):
    with pytest.raises(UserError, match="give more than 0"):
        Patience(timeout_s=timeout_s)


@pytest.mark.parametrize("status", [b"503 Service Unavailable", b"429 Too Many Requests", b"502 Bad Gateway"])
def test_a_server_that_is_starting_is_asked_again(status: bytes):
    with serving(lambda path, body: (200, choice("x")), models=[{"id": "tiny"}]) as server:
        server.statuses["/v1/models"] = iter([int(status[:3])] * 2)
        assert ServedModel.connect(Replicas([server.url], patience=QUICK), "tiny").name == "tiny"
        server.statuses["/v1/models"] = iter([int(status[:3])] * 3)
        with pytest.raises(RunError, match="however often it was asked; is it still starting"):
            ServedModel.connect(Replicas([server.url], patience=QUICK), "tiny")


def test_what_came_in_before_a_failure_is_given_out(monkeypatch: pytest.MonkeyPatch):
    refuse = threading.Event()
    came_in: list[int] = []
    send_all = Replicas._send_all

    async def noting(self: Replicas, requests: Any, put: Callable[[tuple[int, Any]], None]) -> None:
        def put_and_note(answer: tuple[int, Any]) -> None:
            put(answer)
            came_in.append(answer[0])

        await send_all(self, requests, put_and_note)

    monkeypatch.setattr(Replicas, "_send_all", noting)

    def script(path: str, body: dict[str, Any]) -> Reply:
        if body["seed"] == 0:
            refuse.wait(30)
            return 400, {"message": "no"}
        return 200, choice("x")

    with serving(script, models=[{"id": "tiny"}]) as server:
        replicas = Replicas([server.url], concurrency=4, patience=QUICK)
        served = ServedModel.connect(replicas, "tiny")
        answers = served.answers([Ask("p", seed) for seed in (0, 1, 2, 3)], Sampling(max_tokens=1))
        got = [next(answers)[0]]
        # The refusal comes while the consumer is at its first answer, and the others are there by then.
        while len(came_in) < 3:
            threading.Event().wait(0.01)
        refuse.set()
        with pytest.raises(UserError, match="400: no"):
            got.extend(place for place, _ in answers)
        assert sorted(got) == [1, 2, 3]


def test_deep_json_is_deep():
    """The case above is one that Python's reader cannot read."""
    with pytest.raises(RecursionError):
        json.loads(DEEP)
