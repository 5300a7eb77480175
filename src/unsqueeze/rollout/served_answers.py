"""What the answer of an OpenAI-compatible server means. Whatever it holds, it is read or refused in one sentence."""

import math
from collections.abc import Mapping
from typing import Any

from unsqueeze.errors import RunError, UserError
from unsqueeze.rollout.replicas import brief
from unsqueeze.rollout.types import Answer, StopReason

_LARGEST_COUNT = 2**31 - 1
_ROUNDING_NATS = 1e-3
"""By so much a log-prob of 0 may come out above it where a softmax was computed in few bits."""
_LOWEST_NATS = -1e30


def answer_of(reply: Mapping[str, Any]) -> Answer:
    """The one choice of a reply. UserError where the reply has none, RunError where it holds what cannot be.

    A server that parts a model's reasoning from its answer gets them put together again, in ``<think>`` tags. ``STOP``
    is a stop string, where the server says so (vLLM does); every other end but the token limit counts as the model's.
    """
    choice = only_choice(reply)
    logprobs = token_logprobs(choice.get("logprobs"))
    usage = reply.get("usage")
    counted = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
    return Answer(
        text=_utf8(_text(choice)),
        stop_reason=stop_reason(choice),
        num_tokens=counted if is_count(counted) else None if logprobs is None else len(logprobs),
        mean_logp=math.fsum(logprobs) / len(logprobs) if logprobs else None,
    )


def is_count(value: object) -> bool:
    """Tell whether a server's value is a number of tokens."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST_COUNT


def only_choice(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one choice of a reply to a request for one. UserError where it has none."""
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise UserError(f"the server's answer has no choices: {brief(dict(reply))[:200]}; is it OpenAI-compatible?")
    return choices[0]


def token_logprobs(given: Any) -> list[float] | None:
    """The log-probs of the drawn tokens in the two forms there are (completions, chat); None where one is missing.

    RunError for a number that is no log-prob.
    """
    if not isinstance(given, Mapping):
        return None
    content = given.get("content")
    values: Any = given.get("token_logprobs")
    if isinstance(content, list):
        values = [token.get("logprob") if isinstance(token, Mapping) else None for token in content]
    if not isinstance(values, list) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    ):
        return None
    # Compared before they are converted: JSON's whole numbers have no largest one.
    wrong = next((value for value in values if not _LOWEST_NATS <= value <= _ROUNDING_NATS), None)
    if wrong is not None:
        raise RunError(
            f"a server's answer has a log-prob of {brief(wrong)[:40]}, and log-probs are finite and at most 0: it gives"
            " something else under that name, or the model's weights are not finite."
        )
    return [min(0.0, float(value)) for value in values]


def stop_reason(choice: Mapping[str, Any]) -> StopReason:
    if choice.get("finish_reason") == "length":
        return StopReason.LENGTH
    return StopReason.STOP if isinstance(choice.get("stop_reason"), str) else StopReason.EOS


def _text(choice: Mapping[str, Any]) -> str:
    message = choice.get("message")
    if not isinstance(message, Mapping):
        return _read(choice.get("text"))
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    try:
        content = _read(message.get("content"))
        return f"<think>{_read(reasoning)}</think>{content}" if isinstance(reasoning, str | list) else content
    except RecursionError:
        raise RunError("a server's answer is nested too deeply to be read as text.") from None


def _read(content: Any) -> str:
    """The text of a message, which may come in parts. RunError for something else."""
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list):
        return "".join(map(_read_part, content))
    raise RunError(f"a server's answer is no text: {brief(content)[:100]}; is it OpenAI-compatible?")


def _read_part(part: Any) -> str:
    if not isinstance(part, Mapping):
        return _read(part if isinstance(part, str) else {"part": part})
    if part.get("type") == "thinking":
        return f"<think>{_read(part.get('thinking'))}</think>"
    return _read(part.get("text", part))


def _utf8(text: str) -> str:
    """The text with surrogate pairs joined and halves of them replaced, which JSON can spell and no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
