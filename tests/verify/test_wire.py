"""Messages between workers, in whatever pieces a pipe gives them."""

from typing import Any

import pytest

from unsqueeze.verify.wire import Decoder, encode

MESSAGES: list[Any] = [{"answer": "½"}, [], "two", {"deep": [1, [2.5, None]]}]


@pytest.mark.parametrize("size", [1, 3, 7, 1 << 16])
def test_messages_come_whole_and_once_from_pieces_of_any_size(size: int) -> None:
    sent = b"".join(map(encode, MESSAGES))
    decoder = Decoder()
    pieces = [decoder.feed(sent[place : place + size]) for place in range(0, len(sent), size)]
    assert all(isinstance(piece, list) for piece in pieces)
    assert [message for piece in pieces for message in piece] == MESSAGES
    assert decoder.feed(b"") == []
