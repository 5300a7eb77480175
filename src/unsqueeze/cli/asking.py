"""What ``eval`` and ``diagnose`` ask a model: the words around each problem, how to sample, and who judges."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unsqueeze.cli.model_options import COUNTDOWN_MAX_TOKENS, MOST_TOKENS, LoadedModel, Questions, Wishes
from unsqueeze.errors import UserError
from unsqueeze.evaluation.benchmarks import Benchmark
from unsqueeze.evaluation.resumable import Asked
from unsqueeze.rollout.types import Sampling
from unsqueeze.tasks.prompts import PromptBuilder
from unsqueeze.tasks.styles import StyleName, Wording, find_style, wording

if TYPE_CHECKING:
    from unsqueeze.cli.server_options import ServedSource
    from unsqueeze.evaluation.tallying import LazyVerifier
    from unsqueeze.verify.extract import Credit
    from unsqueeze.verify.verdict import Verifier


def asked_of(
    source: "LoadedModel | ServedSource",
    benchmark: Benchmark,
    wishes: Wishes,
    drawn: Mapping[str, Any],
    math_verifier: "LazyVerifier",
    credit: "Credit",
) -> tuple[Asked, dict[str, Any]]:
    """A benchmark ready to be sampled (``drawn``: temperature and cuts), and what makes its samples what they are."""
    put = source.questions(benchmark, wishes)
    sampling = Sampling(max_tokens=put.max_tokens, **drawn)
    source.try_out(benchmark, put, sampling)
    verifier, verifier_name = verifier_of(benchmark, math_verifier, credit)
    settings = {
        "source": benchmark.source,
        "sha256": benchmark.sha256,
        **put.record,
        "max_tokens": put.max_tokens,
    }
    if orders := benchmark.option_orders:
        settings["option_orders"] = orders
    asked = Asked(
        benchmark=benchmark, prompts=put.prompts, sampling=sampling, verifier=verifier, verifier_name=verifier_name
    )
    return asked, settings


def questions_to(loaded: LoadedModel, benchmark: Benchmark, wishes: Wishes) -> Questions:
    """The token ids of every problem. UserError where they do not suit the model."""
    tokenizer = loaded.policy.tokenizer
    style, used = wording_for(loaded.path, tokenizer.chat_template, benchmark, wishes)
    prompts = prompts_of(loaded, benchmark, PromptBuilder(tokenizer=tokenizer, wording=used))
    longest = max_tokens_of(loaded, benchmark, prompts, wishes.max_tokens)
    return Questions(prompts=prompts, max_tokens=longest, record=record_of(style, used))


def wording_for(model: str, chat_template: object, benchmark: Benchmark, wishes: Wishes) -> tuple[StyleName, Wording]:
    """How the problems of a benchmark are put to a model: as wished, or as fits its family and the task."""
    style = find_style(wishes.style, model, chat_template)
    used = wording(style, benchmark.asks)
    template = used.template if wishes.template is None else wishes.template
    return style, replace(used, template=template, system=used.system if wishes.system is None else wishes.system)


def record_of(style: StyleName, used: Wording) -> dict[str, Any]:
    """What is written down of it."""
    return {
        "prompt_style": style,
        "mode": used.mode,
        "template": used.template,
        "system": used.system,
        "opening": used.opening,
    }


def prompts_of(loaded: LoadedModel, benchmark: Benchmark, builder: PromptBuilder) -> list[list[int]]:
    """The tokens of every problem. UserError naming one that the model's tokenizer has no tokens for."""
    prompts = [builder.tokens(problem) for problem in benchmark.problems]
    unknown = loaded.policy.tokenizer.unk_token_id
    for problem, tokens in zip(benchmark.problems, prompts, strict=True):
        if unknown is not None and unknown in tokens:
            raise UserError(
                f"problem {problem.id} of {benchmark.name} holds text that the model's tokenizer has no token for; "
                "use a model that knows it."
            )
    return prompts


def max_tokens_of(
    loaded: LoadedModel, benchmark: Benchmark, prompts: Sequence[Sequence[int]], given: int | None
) -> int:
    """The longest response: as given, or what fits. UserError where the context has no room."""
    longest = max(map(len, prompts))
    room = MOST_TOKENS if loaded.context is None else loaded.context - longest
    if room < 1 or (given is not None and loaded.context is not None and given > room):
        raise UserError(
            f"the longest prompt of {benchmark.name} has {longest} tokens and the model's context is {loaded.context}; "
            f"{'leave out long problems' if room < 1 else f'give --max-tokens of at most {room}'}."
        )
    if given is not None:
        return given
    return min(room, COUNTDOWN_MAX_TOKENS if benchmark.kind == "countdown" else MOST_TOKENS)


def verifier_of(benchmark: Benchmark, math_verifier: "LazyVerifier", credit: "Credit") -> "tuple[Verifier, str]":
    """Who judges a benchmark, and a name that changes when verdicts might."""
    from importlib import metadata

    from unsqueeze.verify.countdown import CountdownVerifier

    if benchmark.kind == "countdown":
        return CountdownVerifier(), "countdown"
    if benchmark.kind == "reasoning_gym":
        return math_verifier.gym_verifier(), f"reasoning-gym {metadata.version('reasoning-gym')}, credit {credit}"
    return math_verifier, f"math-verify {metadata.version('math-verify')}, credit {credit}"
