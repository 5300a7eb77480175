"""Requests to servers: retries, replicas, limits, and what a person is told."""

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest

from openai_server import Reply, serving
from unsqueeze.errors import RunError, UserError
from unsqueeze.rollout import replicas as replicas_room
from unsqueeze.rollout.api_key import API_KEY
from unsqueeze.rollout.replicas import Patience, RefusedError, Replicas, Request, _words, base_url

QUICK = Patience(first_wait_s=0.01, longest_wait_s=0.02, attempts=4)
NOWHERE = "http://127.0.0.1:9/v1"


def requests(count: int) -> list[Request]:
    return [Request("/completions", {"number": number}) for number in range(count)]


def echo(path: str, body: dict[str, Any]) -> Reply:
    return 200, {"number": body["number"]}


def test_every_request_is_answered_once_within_the_limit():
    def slowly(path: str, body: dict[str, Any]) -> Reply:
        time.sleep(0.02)
        return echo(path, body)

    with serving(slowly) as one, serving(slowly) as other:
        replicas = Replicas([one.url, other.url], concurrency=4, patience=QUICK)
        answers = dict(replicas.stream(requests(20)))
        assert answers == {number: {"number": number} for number in range(20)}
        # The one with less to do is asked: of four at a time two each.
        assert one.most_at_once <= 3
        assert other.most_at_once <= 3
        assert min(len(one.asked), len(other.asked)) >= 5
        assert len(one.asked) + len(other.asked) == 20


def test_what_may_pass_is_tried_again_on_a_replica_that_works():
    failures = iter([(503, {"error": "loading"}), (429, {"error": {"message": "slow down"}}), (0, None), (200, [1])])
    lock = threading.Lock()

    def at_first(path: str, body: dict[str, Any]) -> Reply:
        with lock:
            return next(failures, None) or echo(path, body)

    with serving(at_first) as server:
        answers = dict(Replicas([server.url], patience=Patience(first_wait_s=0.01, attempts=6)).stream(requests(3)))
        assert sorted(answers) == [0, 1, 2]
    with serving(echo) as server:
        replicas = Replicas([NOWHERE, server.url], patience=QUICK)
        assert len(dict(replicas.stream(requests(10)))) == 10
        assert len(server.asked) == 10


@pytest.mark.parametrize(
    ("asked", "rest_s"),
    [("30", 30.0), ("0.5", 0.5), ("500", 120.0), ("inf", 120.0), ("-3", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)
def test_a_server_says_how_long_it_wants_to_be_left_alone(
    asked: str, rest_s: float | None, monkeypatch: pytest.MonkeyPatch
):
    """For two minutes at most; where it says nothing that can be read, our own patience decides. No clock runs here."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def busy_at_first(request: httpx2.Request) -> httpx2.Response:
        if len(slept) == 1:
            return httpx2.Response(429, headers={"Retry-After": asked}, json={})
        return httpx2.Response(200, json={"number": 0})

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(busy_at_first))
    monkeypatch.setattr(Replicas, "_client", lambda self: client)
    monkeypatch.setattr("unsqueeze.rollout.replicas.anyio.sleep", sleep)
    monkeypatch.setattr("unsqueeze.rollout.replicas.time", SimpleNamespace(monotonic=lambda: 1000.0))
    assert list(Replicas([NOWHERE], patience=QUICK).stream(requests(1))) == [(0, {"number": 0})]
    first, second = slept
    assert first == 0
    assert second == rest_s if rest_s is not None else second <= QUICK.longest_wait_s


def test_a_server_that_stays_down_ends_with_its_last_words():
    with (
        serving(lambda path, body: (500, {"error": {"message": "out of  memory"}})) as server,
        pytest.raises(RunError, match=r"failed 4 times in a row; .*/v1/completions answered 500: out of memory\."),
    ):
        list(Replicas([server.url], patience=QUICK).stream(requests(2)))
    assert len(server.asked) >= 4
    with pytest.raises(RunError, match=r"http://127\.0\.0\.1:9/v1: ConnectError"):
        list(Replicas(["http://me:secret@127.0.0.1:9"], patience=QUICK).stream(requests(1)))
    with pytest.raises(RunError, match=r"127\.0\.0\.1:9/v1/models cannot be reached \(ConnectError.*check that it"):
        Replicas([NOWHERE], patience=QUICK).send_to_all("GET", "/models")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, f"no key, for there is none in the environment variable {API_KEY}"),
        (404, "name of the model"),
        (400, "no"),
    ],
)
def test_what_cannot_pass_is_said_at_once(status: int, words: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(API_KEY, raising=False)
    with serving(lambda path, body: (status, {"message": "no"})) as server:
        with pytest.raises(RefusedError, match=f"answered {status}: no") as caught:
            list(Replicas([server.url], patience=QUICK).stream(requests(1)))
        assert words in str(caught.value)
        assert caught.value.status == status
        assert len(server.asked) == 1


def test_the_key_is_sent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(API_KEY, "sesame")
    with serving(echo) as server:
        list(Replicas([server.url], patience=QUICK).stream(requests(1)))
        assert server.asked[0][2]["Authorization"] == "Bearer sesame"


@pytest.mark.parametrize("around", ["{}\n", "  {}", "{}\r\n", "\t{} "])
def test_a_key_is_sent_without_what_a_file_of_secrets_has_around_it(around: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(API_KEY, around.format("sesame"))
    with serving(echo) as server:
        list(Replicas([server.url], patience=QUICK).stream(requests(1)))
        assert server.asked[0][2]["Authorization"] == "Bearer sesame"


def test_a_blank_key_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(API_KEY, " \n")
    with serving(echo) as server:
        list(Replicas([server.url], patience=QUICK).stream(requests(1)))
        assert "Authorization" not in server.asked[0][2]


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("open\nsesame", "a control character, such as a line end, at place 5 of 11"),
        ("open\x7fsesame", "a control character, such as a line end, at place 5 of 11"),
        ("open sesame", "a space at place 5 of 11"),
        ("open\u2028sesame", "a character that is not ASCII at place 5 of 11"),
    ],
)
def test_a_key_that_no_header_can_hold_is_refused_without_being_repeated(
    key: str, said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(API_KEY, key)
    with pytest.raises(UserError, match=said) as caught:
        Replicas([NOWHERE])
    assert API_KEY in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_key_that_the_server_repeats_is_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(API_KEY, "sesame\n")
    with (
        serving(lambda path, body: (401, {"message": "x" * 295 + " sesame is no key"})) as server,
        pytest.raises(RefusedError, match="the key in the environment variable") as caught,
    ):
        list(Replicas([server.url], patience=QUICK).stream(requests(1)))
    assert "sesa" not in str(caught.value)


def test_the_words_of_the_library_about_what_was_sent_are_left_out():
    assert _words(httpx2.LocalProtocolError("Illegal header value b'Bearer sesame '")) == "LocalProtocolError"
    assert _words(httpx2.ConnectError("All attempts failed")) == "ConnectError All attempts failed"


@pytest.mark.parametrize(
    "url", ["http://me:ge/heim@h/v1", "http://me:ge#heim@h", "me:geheim@h:80", "ftp://me:ge@heim@h"]
)
def test_a_url_that_is_none_is_refused_without_its_password(url: str):
    with pytest.raises(UserError, match=r"is no URL of a server; .* write %2F for /") as caught:
        base_url(url)
    assert "heim" not in str(caught.value)


def endless(sent: list[int], lead: bytes) -> Iterator[bytes]:
    """JSON that never ends, a KB at a time."""
    yield lead
    while True:
        sent[0] += 1024
        yield b"x" * 1024


def test_an_answer_without_an_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch):
    """What is read is bounded by the tokens that were asked for; it is said at once, and not tried again."""
    monkeypatch.setattr(replicas_room, "_MOST_BYTES", 2**20)
    sent = [0]
    with serving(lambda path, body: (200, endless(sent, b'{"choices": [{"text": "'))) as server:
        replicas = Replicas([server.url], patience=QUICK)
        with pytest.raises(RunError, match=r"answered with more than 3 MB.*the rest was not read"):
            list(replicas.stream([Request("/completions", {"max_tokens": 512})]))
        assert len(server.asked) == 1
        assert sent[0] < 50 * 2**20  # what the system's buffers hold beyond the 3 MB
        server.gets["/v1/models"] = lambda: endless(sent, b'{"data": "')
        with pytest.raises(RunError, match="more than 1 MB"):
            replicas.send_to_all("GET", "/models")


def test_a_long_answer_of_many_tokens_is_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replicas_room, "_MOST_BYTES", 1000)
    logprobs = [{"token": "\u00e9" * 8, "bytes": [195, 169] * 8, "logprob": -0.123456, "top_logprobs": []}] * 200
    with serving(lambda path, body: (200, {"content": logprobs})) as server:
        asked = Request("/chat/completions", {"max_tokens": 200})
        (answer,) = dict(Replicas([server.url], patience=QUICK).stream([asked])).values()
        assert answer == {"content": logprobs}


def test_leaving_gives_up_what_is_under_way():
    slow, answered = threading.Event(), []

    def script(path: str, body: dict[str, Any]) -> Reply:
        if body["number"]:
            slow.wait(60)
            answered.append(body["number"])
        return echo(path, body)

    with serving(script) as server:
        ticks = []

        def tick() -> None:
            ticks.append(1)
            raise KeyboardInterrupt

        stream = Replicas([server.url], concurrency=2, patience=QUICK).stream(requests(50), on_tick=tick)
        assert next(stream)[0] == 0
        with pytest.raises(KeyboardInterrupt):
            next(stream)
        assert not answered
        assert len(server.asked) <= 3
        slow.set()


def test_urls():
    assert base_url("http://host:8000") == base_url(" http://host:8000/v1/ ") == "http://host:8000/v1"
    assert base_url("https://a:b@host/api/v2?x=1") == "https://a:b@host/api/v2"
    for text in ("host:8000", "ftp://host", "", "http://"):
        with pytest.raises(UserError, match="is no URL"):
            base_url(text)
    for text in ("http://h:0/", "http://u:geheim@h:99999/v1"):
        with pytest.raises(UserError, match="ports go from 1 to 65535") as caught:
            base_url(text)
        assert "geheim" not in str(caught.value)
    with pytest.raises(UserError, match="no server was named"):
        Replicas([])
