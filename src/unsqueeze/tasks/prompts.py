"""From a problem to the tokens a model is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from unsqueeze.errors import UserError
from unsqueeze.tasks.problem import Problem

PromptMode = Literal["plain", "chat"]
PLAIN_TEMPLATE = "{problem}"
MATH_TEMPLATE = "{problem}\n\nPlease reason step by step, and put your final answer within \\boxed{}."
_PLACE = "{problem}"


class PromptTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here."""

    chat_template: Any

    def __call__(self, text: str, *, add_special_tokens: bool) -> Any: ...

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class PromptBuilder:
    """Wraps problems for one tokenizer.

    ``plain``: ``template`` with the problem in it, and the special tokens that the tokenizer itself puts around a text
    (a beginning-of-sequence token where the model was trained with one, nothing where it was not).
    ``chat``: the same text as the user's turn of the tokenizer's chat template, after an optional ``system`` message,
    up to where the assistant begins to speak. The chat template brings all special tokens.

    ``{problem}`` in ``template`` is the only place that is filled; other braces, as in LaTeX, stay as they are.
    """

    tokenizer: PromptTokenizer = field(repr=False)
    mode: PromptMode = "plain"
    template: str = PLAIN_TEMPLATE
    system: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("plain", "chat"):
            raise UserError(f"prompt: mode is {self.mode!r}; it must be 'plain' or 'chat'.")
        if _PLACE not in self.template:
            raise UserError(f"prompt: the template {self.template!r} has no place {_PLACE} for the problem.")
        if self.mode == "plain" and self.system is not None:
            raise UserError("prompt: a system message needs mode 'chat'; put its text into the template instead.")
        if self.mode == "chat" and not self.tokenizer.chat_template:
            raise UserError(
                "prompt: mode is 'chat', and this model's tokenizer has no chat template; "
                "use mode 'plain' (the problem as it is), or a model tuned for chat."
            )

    def text(self, problem: Problem) -> str:
        """The words put to the model, before any chat template."""
        return self.template.replace(_PLACE, problem.prompt)

    def tokens(self, problem: Problem) -> list[int]:
        """The token ids put to the model. Raises UserError where the tokenizer's chat template fails or gives none."""
        ids = self._chat_ids(problem) if self.mode == "chat" else self._plain_ids(problem)
        if not ids:
            raise UserError(f"prompt: problem {problem.id} gives no tokens; check its text and the prompt template.")
        return ids

    def _plain_ids(self, problem: Problem) -> list[int]:
        return _as_ids(self.tokenizer(self.text(problem), add_special_tokens=True))

    def _chat_ids(self, problem: Problem) -> list[int]:
        messages = [{"role": "user", "content": self.text(problem)}]
        if self.system is not None:
            messages.insert(0, {"role": "system", "content": self.system})
        try:
            encoded = self.tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True)
        except Exception as error:  # a chat template is a program of the model's author, and may raise anything
            raise UserError(f"prompt: the tokenizer's chat template failed on problem {problem.id}: {error}") from error
        return _as_ids(encoded)


def _as_ids(encoded: Any) -> list[int]:
    """Token ids from a plain list or from a BatchEncoding, which is what transformers 5 gives."""
    ids = encoded["input_ids"] if isinstance(encoded, Mapping) or hasattr(encoded, "input_ids") else encoded
    return [int(token) for token in ids]
