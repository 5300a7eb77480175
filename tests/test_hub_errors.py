"""What a person reads where the hub gives nothing: a reason and a way out, and one line of its client's retries."""

import logging

import pytest
from huggingface_hub import errors

from unsqueeze.hub_errors import REASONS, hub_reason, one_line_of_retries


def test_the_reasons_are_those_of_errors_that_the_client_has() -> None:
    assert set(REASONS) - {"ConnectError"} <= set(dir(errors))


def test_the_reason_is_found_behind_what_loaders_make_of_it() -> None:
    outer = OSError("We couldn't connect to 'https://huggingface.co'")
    outer.__cause__ = errors.LocalEntryNotFoundError("a long text of the client's own")
    assert "cannot be reached" in str(hub_reason(outer))
    assert "connect once, or give a path" in str(hub_reason(outer))
    assert hub_reason(ValueError("no JSON")) is None


def test_retries_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    client = logging.getLogger("huggingface_hub.utils._http")
    with caplog.at_level(logging.WARNING), one_line_of_retries():
        client.addHandler(caplog.handler)
        for number in range(1, 6):
            client.warning("'%s' thrown while requesting HEAD https://huggingface.co/x", "[Errno -2]")
            client.warning(f"Retrying in 1s [Retry {number}/5].")
        client.removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {
        "The Hugging Face hub does not answer; trying again for up to a minute."
    }
