"""Which problems the model can be asked: all of those that are not left out for their length, or none is trained on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import UserError
from unsqueeze.policy.policy import Policy
from unsqueeze.progress import Progress, Silent
from unsqueeze.tasks.prompts import PromptBuilder
from unsqueeze.tasks.task import Data

_TOGETHER = 500
"""Problems whose prompts are tokenized together."""
_MOST_NAMED = 3
"""Problems that a message names."""


def fitting(
    recipe: Recipe,
    policy: Policy,
    prompts: PromptBuilder,
    data: Data,
    progress: Progress = Silent(),  # noqa: B008 - stateless
) -> Data:
    """The problems whose prompts have at most ``data.max_prompt_tokens``, with the others counted in ``dropped``.

    UserError, counting the problems and naming the first, where prompts leave no room for their responses, hold text
    that the tokenizer has no token for, or tokens that the model does not know, and where a set has nothing left.
    """
    whole = [each for problems in data.sets().values() for each in problems]
    tokens: dict[str, list[int]] = {}
    with progress.work("prompts", len(whole)) as advance:
        for start in range(0, len(whole), _TOGETHER):
            some = whole[start : start + _TOGETHER]
            tokens.update(zip((each.id for each in some), prompts.tokens_of(some), strict=True))
            advance(len(some))
    if recipe.data.max_prompt_tokens is not None:
        data = _without_long(data, tokens, recipe.data.max_prompt_tokens)
    kept = [each for problems in data.sets().values() for each in problems]
    strange = [each.id for each in kept if prompts.holds_unknown(each, tokens[each.id])]
    if strange:
        raise UserError(
            f"{_named(strange, len(kept))} text that the tokenizer of {recipe.model.path!r} has no token for; change "
            f"the problems (data), or use a model that knows them."
        )
    _check_vocabulary(recipe, policy, {each.id: max(tokens[each.id]) for each in kept})
    _check_context(recipe, policy, {each.id: len(tokens[each.id]) for each in kept})
    return data


def _without_long(data: Data, tokens: Mapping[str, Sequence[int]], most: int) -> Data:
    kept = {name: [each for each in problems if len(tokens[each.id]) <= most] for name, problems in data.sets().items()}
    for name, problems in data.sets().items():
        if problems and not kept[name]:
            shortest = min(len(tokens[each.id]) for each in problems)
            raise UserError(
                f"data.max_prompt_tokens is {most}, and the shortest prompt of the {len(problems)} {name} problems has "
                f"{shortest} tokens; raise it to at least that, or use other problems."
            )
    gone = Counter({name: len(problems) - len(kept[name]) for name, problems in data.sets().items()})
    return replace(
        data,
        train=kept["training"],
        test=kept["test"],
        validation=kept["validation"],
        dropped=+(Counter(data.dropped) + gone),
    )


def _check_vocabulary(recipe: Recipe, policy: Policy, largest: Mapping[str, int]) -> None:
    worst = max(largest, key=largest.__getitem__)
    if largest[worst] >= policy.vocabulary:
        raise UserError(
            f"problem {worst} has the token id {largest[worst]}, and the model {recipe.model.path!r} knows 0 to "
            f"{policy.vocabulary - 1}: its tokenizer and the model do not belong together, or the model was not given "
            f"rows for the tokens that were added (resize_token_embeddings)."
        )


def _check_context(recipe: Recipe, policy: Policy, lengths: Mapping[str, int]) -> None:
    context, response = policy.context, recipe.rollout.max_tokens
    if context is None:
        return
    room = context - response
    long = [name for name, length in lengths.items() if length > room]
    if not long:
        return
    longest = max(lengths.values())
    lower = f"lower rollout.max_tokens to at most {context - longest}" if context > longest else "shorten the problems"
    leave = f", or leave those problems out with data.max_prompt_tokens={room}" if room > 0 else ""
    raise UserError(
        f"{_named(long, len(lengths))} a prompt that leaves no room for a response: rollout.max_tokens is {response}, "
        f"the model's context is {context} tokens, and the longest prompt has {longest}; {lower}{leave}."
    )


def _named(ids: Sequence[str], whole: int) -> str:
    """``ids``, as what has something: "problem a has", or "3 of 9 problems (a, b, c and 2 more) have"."""
    if len(ids) == 1:
        return f"problem {ids[0]} has"
    more = f" and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else ""
    return f"{len(ids)} of {whole} problems ({', '.join(ids[:_MOST_NAMED])}{more}) have"
