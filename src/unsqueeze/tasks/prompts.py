"""Turn a problem into the tokens a model is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from unsqueeze.errors import UserError
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.styles import AS_IT_IS, Wording
from unsqueeze.tasks.unknown import holds_unknown


class PromptTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here."""

    chat_template: Any

    def __call__(self, text: Any, *, add_special_tokens: bool) -> Any: ...

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class PromptBuilder:
    """Wraps problems for one tokenizer, in a wording.

    ``plain``: the wording's ``template`` with the problem in it, and the special tokens that the tokenizer itself puts
    around a text (a beginning-of-sequence token where the model was trained with one, nothing where it was not).
    ``chat``: the same text as the user's turn of the tokenizer's chat template, after an optional ``system`` message,
    up to where the assistant begins to speak. The chat template brings all special tokens. ``opening`` follows, unless
    the chat template ends with it already.

    ``{problem}`` in the template is the only place that is filled; other braces, as in LaTeX, stay as they are.
    """

    tokenizer: PromptTokenizer = field(repr=False)
    wording: Wording = AS_IT_IS

    def __post_init__(self) -> None:
        if self.wording.mode == "chat" and not self.tokenizer.chat_template:
            raise UserError(
                "prompt: mode is 'chat', and this model's tokenizer has no chat template; "
                "use mode 'plain' (the problem as it is), or a model tuned for chat."
            )

    def tokens(self, problem: Problem) -> list[int]:
        """The token ids put to the model. Raises UserError where the tokenizer's chat template fails or gives none."""
        ids = self._chat_ids(problem) if self.wording.mode == "chat" else self._plain_ids(problem)
        if not ids:
            raise UserError(f"prompt: problem {problem.id} gives no tokens; check its text and the prompt template.")
        return ids

    def tokens_of(self, problems: Sequence[Problem]) -> list[list[int]]:
        """``tokens`` of each, rendered and tokenized together, which is faster.

        UserError as there, naming the problem.
        """
        if self.wording.mode == "chat" and not self.wording.opening:
            chats = [self.wording.messages(problem.prompt) for problem in problems]
            try:
                encoded = self.tokenizer.apply_chat_template(chats, tokenize=True, add_generation_prompt=True)
            except Exception:  # a chat template may raise anything; one by one, the problem is named
                for problem in problems:
                    self.tokens(problem)
                raise
            found = _rows(encoded)
        elif self.wording.mode == "plain":
            texts = [self._text(problem) for problem in problems]
            encoded = self.tokenizer(texts, add_special_tokens=True)
            pairs = zip(texts, _rows(encoded), strict=True)
            found = [_without_added_end(self.tokenizer, text, ids) for text, ids in pairs]
        else:
            return [self.tokens(problem) for problem in problems]
        return [ids or self.tokens(problem) for problem, ids in zip(problems, found, strict=True)]

    def holds_unknown(self, problem: Problem, ids: Sequence[int]) -> bool:
        """Tell whether the problem, whose prompt has these ``ids``, holds text that the tokenizer has no token for."""
        if getattr(self.tokenizer, "unk_token_id", None) not in ids:
            return False  # without rendering the text
        return holds_unknown(self.tokenizer, self._text(problem), ids)

    def _text(self, problem: Problem) -> str:
        """The prompt as text; of a chat without the ``opening``, which the template may have."""
        if self.wording.mode == "chat":
            return str(self._rendered(problem, tokenize=False))
        return self.wording.text(problem.prompt) + self.wording.opening

    def _plain_ids(self, problem: Problem) -> list[int]:
        return plain_ids(self.tokenizer, self._text(problem))

    def _chat_ids(self, problem: Problem) -> list[int]:
        ids = as_ids(self._rendered(problem, tokenize=True))
        opening = self.wording.opening
        if opening and not self._text(problem).rstrip().endswith(opening.rstrip()):
            ids += as_ids(self.tokenizer(opening, add_special_tokens=False))
        return ids

    def _rendered(self, problem: Problem, *, tokenize: bool) -> Any:
        try:
            return self.tokenizer.apply_chat_template(
                self.wording.messages(problem.prompt), tokenize=tokenize, add_generation_prompt=True
            )
        except Exception as error:  # a chat template is a program of the model's author, and may raise anything
            raise UserError(f"prompt: the tokenizer's chat template failed on problem {problem.id}: {error}") from error


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text that is to be gone on with: the tokenizer's own special tokens are around it, but for an end
    token behind it, which some tokenizers put there since they were trained with (``add_eos_token``).
    """
    return _without_added_end(tokenizer, text, as_ids(tokenizer(text, add_special_tokens=True)))


def _without_added_end(tokenizer: Any, text: str, ids: list[int]) -> list[int]:
    end = getattr(tokenizer, "eos_token_id", None)
    if not ids or ids[-1] != end or as_ids(tokenizer(text, add_special_tokens=False))[-1:] == [end]:
        return ids
    return ids[:-1]


def _rows(encoded: Any) -> list[list[int]]:
    """Token ids of several texts, as ``as_ids`` has those of one."""
    several = encoded["input_ids"] if isinstance(encoded, Mapping) or hasattr(encoded, "input_ids") else encoded
    return [[int(token) for token in ids] for ids in several]


def as_ids(encoded: Any) -> list[int]:
    """Token ids from a plain list or from a BatchEncoding, which is what transformers 5 gives."""
    ids = encoded["input_ids"] if isinstance(encoded, Mapping) or hasattr(encoded, "input_ids") else encoded
    return [int(token) for token in ids]
