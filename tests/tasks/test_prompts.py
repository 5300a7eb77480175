"""From a problem to tokens: plain and chat mode on real tokenizers, built here."""

import pytest
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from unsqueeze.errors import UserError
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.prompts import PromptBuilder, plain_ids
from unsqueeze.tasks.styles import MATH_TEMPLATE, Wording

PROBLEM = Problem(id="p", prompt="What is \\frac{4}{2} ?", answer="2", task="math")
CHAT = (
    "{% for m in messages %}<|{{ m.role }}|> {{ m.content }} <|end|> {% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
WORDS = [
    "<s>",
    "<unk>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "What",
    "is",
    "\\frac{4}{2}",
    "?",
    "Be",
    "Q:",
]


def tokenizer(*, bos: bool = False, chat_template: str | None = CHAT) -> PreTrainedTokenizerFast:
    """One token a word; with ``bos`` it puts <s> before every text, as Llama's does."""
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", chat_template=chat_template)


def words(ids: list[int]) -> str:
    return " ".join(WORDS[i] for i in ids)


def test_plain_is_the_problem_with_the_tokenizers_own_special_tokens() -> None:
    assert words(PromptBuilder(tokenizer=tokenizer()).tokens(PROBLEM)) == "What is \\frac{4}{2} ?"
    assert words(PromptBuilder(tokenizer=tokenizer(bos=True)).tokens(PROBLEM)) == "<s> What is \\frac{4}{2} ?"


def test_a_template_fills_its_place_and_no_other_brace() -> None:
    builder = PromptBuilder(tokenizer=tokenizer(), wording=Wording(template="Q: {problem} \\frac{4}{2}"))
    assert words(builder.tokens(PROBLEM)) == "Q: What is \\frac{4}{2} ? \\frac{4}{2}"
    assert MATH_TEMPLATE.replace("{problem}", "X") == (
        "X\n\nPlease reason step by step, and put your final answer within \\boxed{}."
    )


def test_an_end_token_that_the_tokenizer_puts_behind_a_text_is_no_part_of_a_prompt() -> None:
    """As in fine-tunes of Mistral whose tokenizer was saved with ``add_eos_token``; what the text itself says stays."""
    ending = tokenizer()
    ending.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A <|end|>", special_tokens=[("<s>", 0), ("<|end|>", WORDS.index("<|end|>"))]
    )
    ending.eos_token = "<|end|>"
    assert words(plain_ids(ending, "What is")) == "<s> What is"
    assert words(plain_ids(ending, "What <|end|>")) == "<s> What <|end|> <|end|>"
    assert words(PromptBuilder(tokenizer=ending).tokens(PROBLEM)) == "<s> What is \\frac{4}{2} ?"


@pytest.mark.parametrize("bos", [False, True])
def test_chat_opens_the_assistants_turn_and_adds_nothing_of_its_own(bos: bool) -> None:
    # A tokenizer that puts <s> before every text must not do so here: the chat template brings all special tokens.
    builder = PromptBuilder(tokenizer=tokenizer(bos=bos), wording=Wording(mode="chat"))
    assert words(builder.tokens(PROBLEM)) == "<|user|> What is \\frac{4}{2} ? <|end|> <|assistant|>"


def test_chat_with_a_system_message_and_a_template() -> None:
    builder = PromptBuilder(tokenizer=tokenizer(), wording=Wording(mode="chat", template="Q: {problem}", system="Be"))
    assert words(builder.tokens(PROBLEM)) == (
        "<|system|> Be <|end|> <|user|> Q: What is \\frac{4}{2} ? <|end|> <|assistant|>"
    )


def test_tokens_are_plain_integers() -> None:
    for asked in (Wording(mode="plain"), Wording(mode="chat")):
        ids = PromptBuilder(tokenizer=tokenizer(), wording=asked).tokens(PROBLEM)
        assert type(ids) is list
        assert {type(token) for token in ids} == {int}


def test_a_missing_chat_template_says_what_to_do() -> None:
    with pytest.raises(UserError, match="no chat template; use mode 'plain'"):
        PromptBuilder(tokenizer=tokenizer(chat_template=None), wording=Wording(mode="chat"))
    PromptBuilder(tokenizer=tokenizer(chat_template=None)).tokens(PROBLEM)  # plain mode asks for none


def test_a_chat_template_that_fails_is_the_users_to_mend() -> None:
    broken = tokenizer(chat_template="{{ raise_exception('no system role') }}")
    builder = PromptBuilder(tokenizer=broken, wording=Wording(mode="chat"))
    with pytest.raises(UserError, match="chat template failed on problem p: no system role"):
        builder.tokens(PROBLEM)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "poem"}, "mode is 'poem'"),
        ({"template": "no place"}, "has no place"),
        ({"mode": "plain", "system": "Be"}, "needs a chat"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        PromptBuilder(tokenizer=tokenizer(), wording=Wording(**settings))  # type: ignore[arg-type]


def test_a_prompt_without_tokens_is_refused() -> None:
    empty = Problem(id="void", prompt=" ", answer="2", task="math")
    with pytest.raises(UserError, match="problem void gives no tokens"):
        PromptBuilder(tokenizer=tokenizer()).tokens(empty)


SEVERAL = [Problem(id=f"p{n}", prompt="What is " * n, answer="2", task="math") for n in range(1, 4)]


@pytest.mark.parametrize(
    "wording",
    [Wording(), Wording(opening=" Be"), Wording(mode="chat", system="Be"), Wording(mode="chat", opening=" Q:")],
)
@pytest.mark.parametrize("bos", [False, True])
def test_prompts_made_together_are_those_made_alone(wording: Wording, bos: bool) -> None:
    builder = PromptBuilder(tokenizer=tokenizer(bos=bos), wording=wording)
    assert builder.tokens_of(SEVERAL) == [builder.tokens(problem) for problem in SEVERAL]
    assert [len(ids) for ids in builder.tokens_of(SEVERAL)] == sorted({len(ids) for ids in builder.tokens_of(SEVERAL)})


def test_prompts_made_together_lose_an_end_token_as_those_made_alone() -> None:
    ending = tokenizer()
    ending.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|end|>", special_tokens=[("<|end|>", WORDS.index("<|end|>"))]
    )
    ending.eos_token = "<|end|>"
    together = PromptBuilder(tokenizer=ending).tokens_of(SEVERAL)
    assert [words(ids) for ids in together] == ["What is", "What is What is", "What is What is What is"]


def test_of_prompts_made_together_the_one_that_fails_is_named() -> None:
    broken = tokenizer(
        chat_template=CHAT + "{% if messages[0].content == 'Be' %}{{ raise_exception('no') }}{% endif %}"
    )
    builder = PromptBuilder(tokenizer=broken, wording=Wording(mode="chat"))
    with pytest.raises(UserError, match="chat template failed on problem bad: no"):
        builder.tokens_of([PROBLEM, Problem(id="bad", prompt="Be", answer="2", task="math")])
    empty = Problem(id="empty", prompt="", answer="2", task="math")
    with pytest.raises(UserError, match="problem empty gives no tokens"):
        PromptBuilder(tokenizer=tokenizer()).tokens_of([PROBLEM, empty])
