"""A model behind an OpenAI-compatible server: what it is asked, and what its answers mean.

Chats go to ``/chat/completions``, where the server applies its own template; texts go to ``/completions``. Every
sample is a request of its own, with its own seed: it can be repeated, moved to another replica and counted alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import httpx2

from unsqueeze.errors import RunError, UserError
from unsqueeze.rollout.replicas import RefusedError, Replicas, Request, describe, json_object, may_pass, refusal
from unsqueeze.rollout.served_answers import answer_of, is_count
from unsqueeze.rollout.served_turns import ServerTokenizer
from unsqueeze.rollout.types import Answer, Sampling
from unsqueeze.seeds import derive_seed

Chat = list[dict[str, str]]
"""Messages with ``role`` and ``content``."""
ServerPrompt = str | Chat

_SEED_BITS = 31
_NO_LOGPROBS = (400, 422, 501)


@dataclass(frozen=True, slots=True)
class Ask:
    """One sample to be drawn. ``seed`` is cut to what every server takes."""

    prompt: ServerPrompt
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """Facts that the replicas report of the model: its path or hub name (vLLM's ``root``), context, and their version.

    ``is_vllm``: all of them are vLLM, which takes more settings than others.
    """

    root: str | None
    context: int | None
    version: str | None
    is_vllm: bool


class ServedModel:
    """A model by the name its servers know it by. Gives answers as text; log-probs where the servers give them."""

    def __init__(self, replicas: Replicas, name: str, reported: Reported) -> None:
        self.replicas = replicas
        self.name = name
        self.reported = reported
        self._with_logprobs = True
        self._tokenizer = ServerTokenizer(replicas, name) if reported.is_vllm else None

    @property
    def gives_logprobs(self) -> bool:
        """Tell whether log-probs are asked for; ``try_out`` finds out. A server may still leave them out of its
        answers.
        """
        return self._with_logprobs

    @cached_property
    def _turn_end(self) -> tuple[int, str] | None:
        return None if self._tokenizer is None else self._tokenizer.turn_end()

    @property
    def turn_end(self) -> str | None:
        """The token that ends the assistant's turn in the model's chat template, where the servers tell (vLLM does)."""
        return None if self._turn_end is None else self._turn_end[1]

    def ending(self, sampling: Sampling, end_tokens: Sequence[str]) -> Sampling:
        """Return the sampling with further end tokens, given by their texts; to servers that take none, as stop texts.

        UserError for a text that is not one token, where the servers tell.
        """
        if self._tokenizer is None:
            return replace(sampling, stop=(*sampling.stop, *end_tokens))
        return replace(sampling, end_ids=tuple(map(self._tokenizer.token, end_tokens)))

    @classmethod
    def connect(cls, replicas: Replicas, name: str | None) -> "ServedModel":
        """Ask every replica for its models. UserError where one does not have ``name``, or they have different ones.

        None stands for the only model of the first replica.
        """
        found: list[dict[str, Any]] = []
        for where, response in zip(replicas.names, replicas.send_to_all("GET", "/models"), strict=True):
            if response.status_code in (404, 405, 501):  # a server that keeps no list
                found.append({})
                continue
            if may_pass(response.status_code):
                raise RunError(f"{describe(response)}, however often it was asked; is it still starting?")
            if response.status_code >= 400:
                raise refusal(response)
            models = _models(response)
            if name is None and len(models) == 1:
                name = next(iter(models))
            if name not in models:
                there = ", ".join(map(str, models)) or "none"
                which = "more than one model, or none; name one" if name is None else f"no model {name!r}"
                raise UserError(f"the server {where} has {which}; it has: {there}.")
            found.append(models[name])
        if name is None:
            raise UserError(f"the server {replicas.names[0]} does not say which models it has; name one.")
        roots = [root if isinstance(root := model.get("root"), str) else None for model in found]
        if len(set(roots)) > 1:
            raise UserError(
                f"the servers mean different things by {name!r}: "
                f"{', '.join(f'{root} at {where}' for root, where in zip(roots, replicas.names, strict=True))}."
            )
        contexts = [model["max_model_len"] for model in found if is_count(model.get("max_model_len"))]
        return cls(
            replicas,
            name,
            Reported(
                root=roots[0],
                context=min(contexts, default=None),
                version=_version(replicas),
                is_vllm=all(model.get("owned_by") == "vllm" for model in found),
            ),
        )

    def try_out(self, prompt: ServerPrompt, sampling: Sampling) -> None:
        """Draw one token, to find out whether the model answers in this way, and whether log-probs can be had.

        UserError where it does not.
        """
        one = replace(sampling, max_tokens=1, min_tokens=0)
        try:
            list(self.answers([Ask(prompt, 0)], one))
        except RefusedError as error:
            if not self._with_logprobs or error.status not in _NO_LOGPROBS:
                raise
            self._with_logprobs = False
            try:
                list(self.answers([Ask(prompt, 0)], one))
            except RefusedError:
                raise error from None  # log-probs were not the reason

    def answers(
        self, asks: Sequence[Ask], sampling: Sampling, *, on_tick: Callable[[], None] | None = None
    ) -> Iterator[tuple[int, Answer]]:
        """The place and the answer of every ask, as they come in; see ``Replicas.stream``."""
        requests = [self.request(ask, sampling) for ask in asks]
        for place, reply in self.replicas.stream(requests, on_tick=on_tick):
            yield place, answer_of(reply)

    def generate(
        self,
        prompts: Sequence[ServerPrompt],
        n: int,
        sampling: Sampling,
        *,
        seeds: Sequence[int],
        on_finished: Callable[[int], None] | None = None,
    ) -> list[list[Answer]]:
        """``n`` answers a prompt, in the order of the prompts: what ``Engine.generate`` is for token ids."""
        asks = [
            Ask(prompt, derive_seed(seed, index))
            for prompt, seed in zip(prompts, seeds, strict=True)
            for index in range(n)
        ]
        answers: dict[int, Answer] = {}
        tell = on_finished or (lambda count: None)
        for place, answer in self.answers(asks, sampling, on_tick=lambda: tell(0)):
            answers[place] = answer
            tell(1)
        return [[answers[place * n + index] for index in range(n)] for place in range(len(prompts))]

    def request(self, ask: Ask, sampling: Sampling) -> Request:
        """The JSON object for one sample. What is at its default, and not everywhere known, is left out."""
        body: dict[str, Any] = {
            "model": self.name,
            "n": 1,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": ask.seed % (1 << _SEED_BITS),
        }
        if self.reported.is_vllm:
            # What is not named comes from the model's generation config, which often cuts and penalises.
            body |= {"top_k": sampling.top_k, "min_p": 0.0, "repetition_penalty": 1.0}
            # The model's own end tokens end its responses there anyway.
            end_ids = [*([] if self._turn_end is None else [self._turn_end[0]]), *sampling.end_ids]
            body |= {"stop_token_ids": end_ids} if end_ids else {}
        elif sampling.top_k:
            body["top_k"] = sampling.top_k
        if sampling.min_tokens:
            body["min_tokens"] = sampling.min_tokens
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if isinstance(ask.prompt, str):
            return Request(
                "/completions", body | {"prompt": ask.prompt} | ({"logprobs": 1} if self._with_logprobs else {})
            )
        return Request(
            "/chat/completions", body | {"messages": ask.prompt} | ({"logprobs": True} if self._with_logprobs else {})
        )


def _models(response: httpx2.Response) -> dict[str, dict[str, Any]]:
    """The models of a server by their names. UserError where that is not what it sent."""
    try:
        return {str(model["id"]): model for model in response.json()["data"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"{response.request.url.host} answered /models with something else than models; is this the address of an "
            "OpenAI-compatible API (it ends with /v1)?"
        ) from None


def _version(replicas: Replicas) -> str | None:
    """Return what ``/version`` says, where there is one (vLLM); replicas of different versions are all named."""
    said = set()
    for response in replicas.send_to_all("GET", "//version"):
        version = (json_object(response) or {}).get("version") if response.status_code == 200 else None
        if isinstance(version, str):
            said.add(version)
    return ", ".join(sorted(said)) or None
