"""Where a turn ends, by the chat template: for tokenizers that look like those of every family."""

import pytest

from look_alikes import CHATML, CHATML_MARKS, FAMILIES, Family
from tiny_models import byte_tokenizer, tiny_gpt2, tiny_tokenizer
from unsqueeze.errors import UserError
from unsqueeze.rollout.stops import declared_ends, end_texts, end_token_ids, undeclared_turn_end
from unsqueeze.tasks.turns import marks_of, named_tokens, turn_end


@pytest.mark.parametrize("name", FAMILIES)
def test_the_end_of_a_turn_is_the_familys(name: str):
    family = FAMILIES[name]
    tokenizer = family.tokenizer()
    end = turn_end(tokenizer)
    assert (None if end is None else tokenizer.convert_ids_to_tokens(end)) == family.end


@pytest.mark.parametrize("name", FAMILIES)
def test_what_the_model_declares_and_the_end_of_a_turn_end_responses(name: str):
    family = FAMILIES[name]
    tokenizer = family.tokenizer()
    wanted = {family.eos, *([] if family.end is None else [family.end])}
    assert set(tokenizer.convert_ids_to_tokens(list(end_token_ids(None, tokenizer)))) == wanted


def test_without_a_chat_template_nothing_ends_a_turn():
    assert turn_end(byte_tokenizer()) is None
    assert end_token_ids(None, tiny_tokenizer()) == (2,)


def test_a_token_that_the_model_has_no_row_for_cannot_be_drawn():
    """The tokenizer knows 262 tokens; of two models one has a row for all of them."""
    tokenizer = FAMILIES["Qwen2.5-Math base"].tokenizer()
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert len(tokenizer) == end + 1 == 262
    small, large = tiny_gpt2(259), tiny_gpt2(262)
    assert end not in end_token_ids(small, tokenizer)
    assert undeclared_turn_end(small, tokenizer) is None
    assert end in end_token_ids(large, tokenizer)
    assert undeclared_turn_end(large, tokenizer) == "<|im_end|>"
    # <eos> (2) is what the generation config says, <|endoftext|> what the tokenizer says.
    assert declared_ends(large, tokenizer) == {2, tokenizer.convert_tokens_to_ids("<|endoftext|>")}
    assert end_texts(large, tokenizer, [end, 3]) == ["<eos>", "<|endoftext|>", "<|im_end|>", "!"]


def test_what_the_generation_config_declares_is_not_undeclared():
    tokenizer = FAMILIES["Qwen2.5-Math base"].tokenizer()
    model = tiny_gpt2(262)
    model.generation_config.eos_token_id = [2, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert undeclared_turn_end(model, tokenizer) is None
    # Of two tokens in a row it is the one that the model declares, wherever it declares it.
    wrapped = FAMILIES["Command-R7B"]
    other = Family(wrapped.template, wrapped.marks, "<eos>", None).tokenizer()
    first, second = (other.convert_tokens_to_ids(mark) for mark in ("<|END_RESPONSE|>", "<|END_OF_TURN_TOKEN|>"))
    assert turn_end(other) == first
    assert turn_end(other, {second}) == second


def test_runs_of_spaces_and_the_unknown_token_are_no_marks():
    tokenizer = FAMILIES["ChatML, added and not special"].tokenizer()
    assert tokenizer.convert_tokens_to_ids("   ") not in marks_of(tokenizer)
    words = tiny_tokenizer()
    words.chat_template = CHATML  # a vocabulary without any of its words
    assert turn_end(words) is None


@pytest.mark.parametrize("text", ["<|im_end|>", "7", "\n"])
def test_a_token_is_named_by_its_text(text: str):
    tokenizer = Family(CHATML, CHATML_MARKS, "<|endoftext|>", None).tokenizer()
    (token,) = named_tokens([text], tokenizer)
    assert tokenizer.decode([token]) == text
    assert named_tokens([], tokenizer) == ()


@pytest.mark.parametrize("text", ["<|im_ende|>", "two words", ""])
def test_a_text_that_is_no_token_is_refused_with_those_there_are(text: str):
    tokenizer = Family(CHATML, CHATML_MARKS, "<|endoftext|>", None).tokenizer()
    with pytest.raises(UserError, match=r"is no token of the model's vocabulary.*<\|im_end\|>.*--stop") as refused:
        named_tokens(["<|im_end|>", text], tokenizer)
    assert repr(text) in str(refused.value)
    with pytest.raises(UserError, match="is no token"):
        named_tokens(["w99"], tiny_tokenizer())  # unknown words have a token there, all the same one
