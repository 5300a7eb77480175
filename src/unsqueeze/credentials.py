"""Names and passwords in URLs, which no record and no message keeps."""

import re

_USERINFO = re.compile(r"://(?:(?!://).)*@", re.DOTALL)
"""From a scheme to the last ``@`` before the next: an unescaped password may hold anything."""


def without_credentials(text: str) -> str:
    """Return a text, such as a URL, an argument or a message, without what stands before the ``@`` of its URLs."""
    return _USERINFO.sub("://", text)
