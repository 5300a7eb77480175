"""The prompts of a benchmark for a model, and the wording they are put in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.evaluation.benchmarks import Benchmark
from unsqueeze.evaluation.settings import EvalSettings
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.served import ServedModel
from unsqueeze.rollout.stops import undeclared_turn_end
from unsqueeze.rollout.types import Sampling
from unsqueeze.tasks.prompts import PromptBuilder
from unsqueeze.tasks.styles import Wording, find_style, wording
from unsqueeze.tasks.turns import named_tokens
from unsqueeze.verify.verdict import Verifier

MOST_TOKENS = 4096
"""The longest response by default, where the model's context leaves more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The prompts of a benchmark as its model takes them, how it is sampled, and what is written down of both."""

    prompts: Sequence[Any]
    sampling: Sampling
    record: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A benchmark with the prompts of its problems, how to sample, and who judges.

    A prompt is what the model is given: token ids, or for a server a text or a chat.
    """

    benchmark: Benchmark
    prompts: Sequence[Any]
    sampling: Sampling
    verifier: Verifier
    verifier_name: str


def wording_for(model: str, chat_template: object, benchmark: Benchmark, settings: EvalSettings) -> tuple[str, Wording]:
    """Return how problems are put to a model, and its name: as its run did, as given, or as fits family and task."""
    if settings.wording is not None:
        return "run", settings.wording
    style = find_style(settings.style, model, chat_template)
    used = wording(style, benchmark.asks)
    template = used.template if settings.template is None else settings.template
    return style, replace(used, template=template, system=used.system if settings.system is None else settings.system)


def questions_of_tokens(benchmark: Benchmark, settings: EvalSettings, *, model: str, policy: Policy) -> Questions:
    """Return the token ids of every problem. UserError where they do not suit the model."""
    tokenizer, context = policy.tokenizer, policy.context
    style, used = wording_for(model, tokenizer.chat_template, benchmark, settings)
    prompts = known_prompts(benchmark, PromptBuilder(tokenizer=tokenizer, wording=used))
    longest = max(map(len, prompts))
    room = MOST_TOKENS if context is None else context - longest
    given = settings.max_tokens
    if room < 1 or (given is not None and context is not None and given > room):
        raise UserError(
            f"the longest prompt of {benchmark.name} has {longest} tokens and the model's context is {context}; "
            f"{'leave out long problems' if room < 1 else f'max_tokens is {given}, give at most {room}'}."
        )
    most = benchmark.task.longest_answer or MOST_TOKENS
    sampling = settings.sampling(
        min(room, most) if given is None else given, named_tokens(settings.end_tokens, tokenizer)
    )
    return Questions(
        prompts=prompts,
        sampling=sampling,
        record=record_of(style, used, sampling, settings, undeclared_turn_end(policy.model, tokenizer)),
    )


def questions_of_text(benchmark: Benchmark, settings: EvalSettings, *, served: ServedModel) -> Questions:
    """Return the text of every problem for a server: a chat, unless the style is ``plain``.

    The server applies its chat template, so that a response cannot be opened for the model. Half of the server's
    context is left to the response, since the tokens of a prompt are counted there.
    """
    model, context = served.name, served.reported.context
    style, used = wording_for(model, True, benchmark, settings)
    if used.mode == "chat":
        used = replace(used, opening="")
    most = benchmark.task.longest_answer or MOST_TOKENS
    room = most if context is None else max(1, min(most, context // 2))
    sampling = served.ending(
        settings.sampling(room if settings.max_tokens is None else settings.max_tokens), settings.end_tokens
    )
    return Questions(
        prompts=[used.prompt(problem.prompt) for problem in benchmark.problems],
        sampling=sampling,
        record=record_of(style, used, sampling, settings, served.turn_end),
    )


def record_of(
    style: str, used: Wording, sampling: Sampling, settings: EvalSettings, turn_end: str | None
) -> dict[str, Any]:
    """Return what is written down of a wording, and of what ends a response: the texts and tokens that were given, and
    the end of a turn where the model does not declare it.
    """
    ends = {"stop": list(settings.stop), "end_tokens": list(settings.end_tokens), "turn_end": turn_end}
    return {
        "prompt_style": style,
        "mode": used.mode,
        "template": used.template,
        "system": used.system,
        "opening": used.opening,
        "max_tokens": sampling.max_tokens,
        **{name: value for name, value in ends.items() if value},
    }


def known_prompts(benchmark: Benchmark, builder: PromptBuilder) -> list[list[int]]:
    """Return the tokens of every problem. UserError naming one that the model's tokenizer has no tokens for."""
    prompts = [builder.tokens(problem) for problem in benchmark.problems]
    for problem, tokens in zip(benchmark.problems, prompts, strict=True):
        if builder.holds_unknown(problem, tokens):
            raise UserError(
                f"problem {problem.id} of {benchmark.name} holds text that the model's tokenizer has no token for; "
                "use a model that knows it."
            )
    return prompts
