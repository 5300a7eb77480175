"""The Hugging Face hub as a person meets it: one line while it does not answer, one sentence where it gives nothing."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

REASONS = {
    "GatedRepoError": "the hub gives it only after its conditions are accepted there and a login (hf auth login)",
    "RepositoryNotFoundError": "the hub has nothing of that name, or it is private and needs a login (hf auth login)",
    "RevisionNotFoundError": "the hub has no such revision of it",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set and this machine's cache has it not; unset it once, or give a path",
    "LocalEntryNotFoundError": "the hub cannot be reached, and no cache here has it; connect once, or give a path",
    "ConnectError": "the hub cannot be reached; connect once, or give a path",
}
"""What errors of the hub's client mean, by their names: it is not loaded where nothing is asked of it."""

_CLIENT = "huggingface_hub.utils._http"


def hub_reason(error: BaseException) -> str | None:
    """Say in a clause why the hub gave nothing, and the way out; None where the error has another cause."""
    names: set[str] = set()
    seen: BaseException | None = error
    while seen is not None:
        names |= {kind.__name__ for kind in type(seen).__mro__}
        seen = seen.__cause__ or seen.__context__
    return next((reason for name, reason in REASONS.items() if name in names), None)


@contextmanager
def one_line_of_retries() -> Iterator[None]:
    """Replace what the hub's client says of each of its tries by one line at the first."""
    told = False

    def only_the_first(record: logging.LogRecord) -> bool:
        nonlocal told
        if told:
            return False
        told, record.args = True, None
        record.msg = "The Hugging Face hub does not answer; trying again for up to a minute."
        return True

    logger = logging.getLogger(_CLIENT)
    logger.addFilter(only_the_first)
    try:
        yield
    finally:
        logger.removeFilter(only_the_first)
