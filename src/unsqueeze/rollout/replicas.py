"""Many requests to the replicas of one server, each tried again where that may help.

A request goes to the replica with the fewest under way. A replica that fails (no connection, 408, 429, 5xx) rests for
a time that doubles with every failure of the request, and the request goes to one that does not rest. What no repeat
can cure (401, 404, another 4xx) is an error at once.
"""

import queue
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import anyio
import httpx2
from anyio.from_thread import start_blocking_portal

from unsqueeze.credentials import without_credentials
from unsqueeze.errors import RunError, UserError
from unsqueeze.rollout.api_key import API_KEY, api_key, without_key

_TICK_S = 0.5
_ATTEMPTS_AT_ALL = 3
_LARGEST_PORT = 65535
_MAY_PASS = {408, 409, 425, 429}
_MOST_BYTES = 16 * 2**20
_BYTES_PER_TOKEN = 4096
"""A token with its text, its bytes as numbers and its log-prob in JSON takes some hundred bytes."""
_OF_THE_WIRE = ("content-encoding", "content-length", "transfer-encoding")
"""Headers of how a response was sent, which are not true of what it holds."""
_COMING_UP = {408, 425, 429, 502, 503, 504}
"""What a server that is starting or busy, or what stands before it, answers to anything at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Patience with a server, and how often to ask again: by default for about a minute of failures."""

    timeout_s: float = 1800.0
    attempts: int = 8
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise UserError(f"a response may take {self.timeout_s:g} s; give more than 0 (--request-timeout).")

    def wait_s(self, attempt: int) -> float:
        """Seconds to rest after failure number ``attempt``, from 0: doubling, up to a bound, spread by chance."""
        return min(self.longest_wait_s, self.first_wait_s * 2.0**attempt) * random.uniform(0.5, 1.0)


class Request(NamedTuple):
    """A JSON object for a path of the server, such as ``/completions``."""

    path: str
    body: dict[str, Any]


class RefusedError(UserError):
    """The server answered that the request is wrong. ``status`` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class TooLongError(RunError):
    """The server answered with more than what was asked for can take. No repeat will change that."""


class _Replica:
    def __init__(self, url: str) -> None:
        self.url = url
        self.under_way = 0
        self.rests_until = 0.0


class Replicas:
    """The servers at ``urls``, asked as one; at most ``concurrency`` requests are under way over all of them."""

    def __init__(self, urls: Sequence[str], *, concurrency: int = 64, patience: Patience | None = None) -> None:
        if not urls:
            raise UserError("no server was named; give the URL of one, such as http://localhost:8000/v1.")
        if concurrency < 1:
            raise UserError(f"server: {concurrency} requests at a time; it must be at least 1.")
        self._replicas = [_Replica(base_url(url)) for url in urls]
        self._concurrency = concurrency
        self._patience = patience or Patience()
        self._key = api_key()

    @property
    def names(self) -> list[str]:
        """The URLs without credentials, for records and messages."""
        return [without_credentials(replica.url) for replica in self._replicas]

    def stream(
        self, requests: Sequence[Request], *, on_tick: Callable[[], None] | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """The place and the answer of every request, as they come in. Leaving the iteration gives the others up.

        ``on_tick`` is called about twice a second while nothing comes. RunError when a request failed too often,
        UserError when the server refuses it.
        """
        done: queue.SimpleQueue[tuple[int, dict[str, Any] | BaseException]] = queue.SimpleQueue()
        with start_blocking_portal() as portal:
            sending = portal.start_task_soon(self._send_all, requests, done.put)
            try:
                for _ in requests:
                    place, answer = _take(done, on_tick)
                    if isinstance(answer, BaseException):
                        sending.cancel()
                        yield from _whole(done)
                        raise answer
                    yield place, answer
            finally:
                sending.cancel()

    def send_to_all(self, method: str, path: str, body: dict[str, Any] | None = None) -> list[httpx2.Response]:
        """One request to every replica at once, their answers in order, whatever status they have.

        ``path`` starts at the API's base; one that starts with ``//`` starts at the server's root. RunError where a
        replica cannot be reached.
        """

        async def send() -> list[httpx2.Response | RunError]:
            async with self._client() as client, anyio.create_task_group() as group:
                answers: list[Any] = [None] * len(self._replicas)

                async def one(place: int, url: str) -> None:
                    answers[place] = await self._persist(client, method, url, body)

                for place, replica in enumerate(self._replicas):
                    at_root = path.startswith("//")
                    url = str(httpx2.URL(replica.url).join(path[1:])) if at_root else replica.url + path
                    group.start_soon(one, place, url)
            return answers

        responses = []
        for answer in anyio.run(send):
            if isinstance(answer, RunError):
                raise answer
            responses.append(answer)
        return responses

    async def _send_all(
        self, requests: Sequence[Request], put: Callable[[tuple[int, dict[str, Any] | BaseException]], None]
    ) -> None:
        room = anyio.Semaphore(self._concurrency)

        async def one(place: int, request: Request) -> None:
            try:
                put((place, await self._answer(client, request)))
            except Exception as error:  # noqa: BLE001 (raised where the answers are read)
                put((place, error))
            finally:
                room.release()

        async with self._client() as client, anyio.create_task_group() as group:
            for place, request in enumerate(requests):
                await room.acquire()
                group.start_soon(one, place, request)

    async def _answer(self, client: httpx2.AsyncClient, request: Request) -> dict[str, Any]:
        failure = ""
        for attempt in range(self._patience.attempts):
            replica, rest_s = self._next()
            await anyio.sleep(rest_s)
            wait_s = self._patience.wait_s(attempt)
            replica.under_way += 1
            try:
                response = await self._send(client, "POST", replica.url + request.path, request.body)
                if response.status_code < 400:
                    answer = json_object(response)
                    if answer is not None:
                        return answer
                    failure = f"{without_credentials(replica.url)} answered with something that is no JSON object"
                else:
                    failure = describe(response)
                    if not may_pass(response.status_code):
                        raise refusal(response)
                    wait_s = max(wait_s, _retry_after(response))
            except httpx2.RequestError as error:
                failure = f"{without_credentials(replica.url)}: {_words(error)}"
            finally:
                replica.under_way -= 1
            replica.rests_until = max(replica.rests_until, time.monotonic() + wait_s)
        raise RunError(f"the server failed {self._patience.attempts} times in a row; the last time, {failure}.")

    def _next(self) -> tuple[_Replica, float]:
        """The replica that is awake first, of those the one with the least to do; and the seconds until then."""
        now = time.monotonic()
        rests_s = [max(0.0, replica.rests_until - now) for replica in self._replicas]
        place = min(range(len(rests_s)), key=lambda place: (rests_s[place], self._replicas[place].under_way))
        return self._replicas[place], rests_s[place]

    async def _persist(
        self, client: httpx2.AsyncClient, method: str, url: str, body: dict[str, Any] | None
    ) -> httpx2.Response | RunError:
        rest_s = 0.0
        for attempt in range(self._patience.attempts):
            await anyio.sleep(rest_s)
            rest_s = self._patience.wait_s(attempt)
            try:
                response = await self._send(client, method, url, body)
            except TooLongError as error:
                return error
            except httpx2.RequestError as error:
                failure = _words(error)
                if attempt + 1 < _ATTEMPTS_AT_ALL:
                    continue
                break
            if response.status_code not in _COMING_UP or attempt + 1 == self._patience.attempts:
                return response
            rest_s = max(rest_s, _retry_after(response))
        return RunError(
            f"the server {without_credentials(url)} cannot be reached ({failure}); check that it runs, and its address."
        )

    async def _send(
        self, client: httpx2.AsyncClient, method: str, url: str, body: dict[str, Any] | None
    ) -> httpx2.Response:
        """Send one request and take the whole response in. ``ReadTimeout`` where that takes longer than patience lasts,
        however steadily it trickles in; TooLongError where it is longer than what was asked for can be.
        """
        most = most_bytes(body)
        with anyio.move_on_after(self._patience.timeout_s):
            async with client.stream(method, url, json=body) as response:
                content = bytearray()
                async for part in response.aiter_bytes():
                    content += part
                    if len(content) > most:
                        raise TooLongError(
                            f"{without_credentials(url)} answered with more than {most / 2**20:.0f} MB, more than "
                            "what was asked for can take; the rest was not read. Is it an OpenAI-compatible server?"
                        )
                headers = {name: value for name, value in response.headers.items() if name not in _OF_THE_WIRE}
                return httpx2.Response(
                    response.status_code, headers=headers, content=bytes(content), request=response.request
                )
        raise httpx2.ReadTimeout(f"the response was not there within {self._patience.timeout_s:g} s")

    def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(self._patience.timeout_s, connect=10.0, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=self._concurrency),
        )


def most_bytes(body: dict[str, Any] | None) -> int:
    """The most bytes that an answer to a request may have: what its tokens can take at their longest spelling, with
    log-probs, and some for all else.
    """
    tokens = (body or {}).get("max_tokens")
    return _MOST_BYTES + (_BYTES_PER_TOKEN * tokens if isinstance(tokens, int) else 0)


def base_url(text: str) -> str:
    """The base of the API without a slash at its end; ``/v1`` where only a host was given. UserError for no URL."""
    try:
        url = httpx2.URL(text.strip())
    except (httpx2.InvalidURL, UnicodeError):  # its words may repeat a part of the password
        url = httpx2.URL("")
    shown = repr(text.strip().rpartition("@")[2])
    if url.scheme not in ("http", "https") or not url.host:
        hint = " In a name or password write %2F for /, %3F for ?, %23 for # and %40 for @." if "@" in text else ""
        raise UserError(f"server {shown} is no URL of a server; give one such as http://localhost:8000/v1.{hint}")
    if url.port is not None and not 0 < url.port <= _LARGEST_PORT:
        raise UserError(f"server {shown} has port {url.port}; ports go from 1 to {_LARGEST_PORT}.")
    path = url.path.rstrip("/") or "/v1"
    return str(url.copy_with(path=path, query=None, fragment=None))


def may_pass(status: int) -> bool:
    """Tell whether the same request may succeed later: the server is busy, starting, or in trouble of its own."""
    return status in _MAY_PASS or status >= 500


def refusal(response: httpx2.Response) -> RefusedError:
    """Return the error for an answer that no repeat will change."""
    status = response.status_code
    if status in (401, 403):
        known = "the key in" if api_key() else "no key, for there is none in"
        message = f"{describe(response)}; it was sent {known} the environment variable {API_KEY}."
    elif status == 404:
        message = f"{describe(response)}; check the address (an API base ends with /v1) and the name of the model."
    else:
        message = f"{describe(response)}."
    return RefusedError(message, status)


def describe(response: httpx2.Response) -> str:
    """The server, the status and the server's own words, on one line."""
    said = json_object(response) or {}
    error = said.get("error", said)
    words = (error.get("message") or error.get("detail")) if isinstance(error, dict) else error
    text = without_key(" ".join(brief(words or response.text).split()))[:300].rstrip(".")
    where = without_credentials(str(response.request.url))
    return f"{where} answered {response.status_code}" + (f": {text}" if text else "")


def json_object(response: httpx2.Response) -> dict[str, Any] | None:
    """Return the JSON object that was answered; None where it is something else, or nested too deeply to be read."""
    try:
        value = response.json()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def brief(value: object) -> str:
    """What a server said, whatever it is, as text."""
    try:
        return str(value)
    except RecursionError:
        return "something nested very deeply"


def _words(error: httpx2.RequestError) -> str:
    """What went wrong with a request, in the library's words where they are not about headers, which hold the key."""
    name = type(error).__name__
    sent = isinstance(error, httpx2.LocalProtocolError)
    return name if sent else without_key(without_credentials(f"{name} {error}")).rstrip()


def _retry_after(response: httpx2.Response) -> float:
    """The seconds a server asks to wait, at most two minutes; 0 where it asks for none (or gives a date)."""
    try:
        return min(120.0, max(0.0, float(response.headers.get("retry-after", "0"))))
    except ValueError:
        return 0.0


def _whole(done: "queue.SimpleQueue[Any]") -> Iterator[tuple[int, dict[str, Any]]]:
    """The answers that have come in and were not taken."""
    while True:
        try:
            place, answer = done.get_nowait()
        except queue.Empty:
            return
        if not isinstance(answer, BaseException):
            yield place, answer


def _take(done: "queue.SimpleQueue[Any]", on_tick: Callable[[], None] | None) -> Any:
    while True:
        try:
            return done.get(timeout=_TICK_S)
        except queue.Empty:
            if on_tick is not None:
                on_tick()
