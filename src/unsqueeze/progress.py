"""Progress of long work, as a person is shown it, and requests to stop it."""

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any, Protocol

from unsqueeze.errors import Interrupted, LostProcessError

Advance = Callable[[int], None]
Handler = Callable[[int, FrameType | None], Any] | int | None


class Progress(Protocol):
    """Display of long work for a person. The command line's implementation draws; ``Silent`` does not."""

    def work(self, label: str, total: int) -> AbstractContextManager[Advance]:
        """A piece of work of ``total`` units; call what is yielded with the number of units done."""
        ...

    def step(self, record: Mapping[str, Any]) -> None:
        """An optimizer step is done, and the record is its line of metrics; or a part of an evaluation is judged."""
        ...

    def gauge(self, greedy_logp: float) -> None:
        """The mean log-prob of greedy answers was measured (nats per token)."""
        ...

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


class Silent:
    """Shows nothing; for tests and for use from other programs."""

    @contextmanager
    def work(self, label: str, total: int) -> Iterator[Advance]:
        yield lambda count: None

    def step(self, record: Mapping[str, Any]) -> None: ...

    def gauge(self, greedy_logp: float) -> None: ...

    def say(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...


class StopRequest:
    """Ctrl-C and SIGTERM as a wish that is granted at the next safe point; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self) -> None:
        """Ask to stop; from another thread, too."""
        self.asked = True

    def check(self) -> None:
        """Raise Interrupted if the user has asked to stop. The processes of a run call this together."""
        if self.asked:
            raise Interrupted

    def check_alone(self) -> None:
        """Raise likewise inside of work that each process does by itself, and after which they agree."""
        self.check()

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """Another process that is gone, or does not answer, after the user asked to stop has stopped: Interrupted."""
        try:
            yield
        except LostProcessError as error:
            if self.asked:
                raise Interrupted from error
            raise

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Take SIGINT and SIGTERM over for the duration."""
        before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, self._afterwards(handler))

    def _afterwards(self, handler: Handler) -> Handler:
        """Return what a signal does once nobody listens any more; it was done by ``handler`` before."""
        return handler

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
