"""Texts that are texts: JSON can spell half of a surrogate pair, which no tokenizer and no file of ours takes."""


def is_utf8(text: str) -> bool:
    """Tell whether UTF-8 can hold ``text``."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
