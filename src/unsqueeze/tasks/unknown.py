"""Text that a tokenizer has no token for."""

from collections.abc import Sequence
from typing import Any


def holds_unknown(tokenizer: Any, text: str, ids: Sequence[int]) -> bool:
    """Tell whether ``ids``, the tokens of ``text``, hold the unknown token where the text does not name it itself.

    In many tokenizers (GPT-2, OPT, Pythia, OLMo-2) the unknown token is also that which begins or ends a text, and
    nothing is unknown to their bytes. So it is counted in the tokens that the text has without any put around it.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown not in ids:
        return False
    alone = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return alone.count(unknown) > text.count(str(tokenizer.unk_token))
