"""End tokens of a model behind vLLM servers, which have its tokenizer: asked for by ``/tokenize``."""

import re
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.rollout.replicas import Replicas, json_object
from unsqueeze.rollout.served_answers import is_count
from unsqueeze.tasks.turns import Chat, find_turn_end

_MARK = re.compile(r"[<\[]\S+[>\]]")
"""Tokens that are no text, as tokenizers write them; which ones are special a server does not tell."""


class ServerTokenizer:
    """The tokenizer of the model that replicas know by ``name``, as far as they tell."""

    def __init__(self, replicas: Replicas, name: str) -> None:
        self._replicas = replicas
        self._name = name
        self._texts: dict[int, str] = {}

    def turn_end(self) -> tuple[int, str] | None:
        """Return the token that ends the assistant's turn in the server's chat template, with its text.

        None where there is no template, or the server does not tell.
        """
        found = find_turn_end(self._render, self._is_mark, ())
        return None if found is None else (found, self._texts[found])

    def token(self, text: str) -> int:
        """Return the token of that text. UserError where it is not one token, or the server does not tell."""
        tokens = self._tokens({"prompt": text, "add_special_tokens": False})
        if len(tokens) != 1:
            raise UserError(
                f"the end token {text!r} is no token of the vocabulary of {self._name}, where it becomes {len(tokens)} "
                f"tokens; a text of several tokens is a stop text (--stop)."
            )
        return tokens[0]

    def _render(self, chat: Chat) -> list[int]:
        return self._tokens({"messages": chat, "add_generation_prompt": False})

    def _is_mark(self, token: int) -> bool:
        return _MARK.fullmatch(self._texts[token]) is not None

    def _tokens(self, what: dict[str, Any]) -> list[int]:
        body = {"model": self._name, "return_token_strs": True, **what}
        response = self._replicas.send_to_all("POST", "//tokenize", body)[0]
        said = json_object(response) or {}
        tokens, texts = said.get("tokens"), said.get("token_strs")
        if not (
            isinstance(tokens, list)
            and isinstance(texts, list)
            and len(tokens) == len(texts)
            and all(map(is_count, tokens))
            and all(isinstance(text, str) for text in texts)
        ):
            raise UserError(
                f"the server {self._replicas.names[0]} does not say what tokens a text has (status "
                f"{response.status_code} of /tokenize); leave --end-token out, or give its text as --stop."
            )
        self._texts.update(zip(tokens, texts, strict=True))
        return tokens
