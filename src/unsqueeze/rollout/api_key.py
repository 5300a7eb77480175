"""The key that servers are sent: read from the environment, checked before anything is sent, and never shown."""

import os

from unsqueeze.errors import UserError

API_KEY = "UNSQUEEZE_API_KEY"
"""The environment variable of the key; it is never stored."""
_SECRET_LENGTH = 4
"""Shorter ones are no secrets, and parts of words."""


def api_key() -> str | None:
    """Return the key without the spaces and line ends around it, which files of secrets have; None where there is none.

    UserError, which does not repeat it, for one that no header can hold.
    """
    key = os.environ.get(API_KEY, "").strip()
    wrong = next((place for place, each in enumerate(key) if not "!" <= each <= "~"), None)
    if wrong is None:
        return key or None
    kind = {" ": "a space"}.get(key[wrong], "" if key[wrong].isascii() else "a character that is not ASCII")
    raise UserError(
        f"the environment variable {API_KEY} holds {kind or 'a control character, such as a line end,'} at place "
        f"{wrong + 1} of {len(key)}. A key is printable ASCII without spaces: more than the key is in it, or something "
        "else; set it to the key alone."
    )


def without_key(text: str) -> str:
    """Return a text without the key, which some servers repeat."""
    key = os.environ.get(API_KEY, "").strip()
    return text.replace(key, f"[{API_KEY}]") if len(key) >= _SECRET_LENGTH else text
