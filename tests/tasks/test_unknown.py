"""What a tokenizer does not know is told from the token of the same number that begins or ends a text."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tiny_models import tiny_tokenizer
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.prompts import PromptBuilder
from unsqueeze.tasks.styles import Wording
from unsqueeze.tasks.unknown import holds_unknown

END = "<|endoftext|>"
CHAT = END + "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}" + END + "{% endfor %}"


def like_gpt2(*, begins: bool) -> PreTrainedTokenizerFast:
    """Bytes, and one special token that is unknown, beginning and end (GPT-2, Pythia, OLMo-2); it begins every text
    where ``begins`` says so (OPT)."""
    alphabet = [END, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    if begins:
        backend.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token=END, bos_token=END, eos_token=END, chat_template=CHAT
    )


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("mode", ["plain", "chat"])
def test_a_token_around_the_text_is_not_unknown(begins: bool, mode: str) -> None:
    builder = PromptBuilder(tokenizer=like_gpt2(begins=begins), wording=Wording(mode=mode))
    for text in ("1 + 1 = ?", "é ∑ 漢", f"a{END}b"):
        problem = Problem(id="p", prompt=text, answer="2", task="math")
        ids = builder.tokens(problem)
        assert (0 in ids) == (begins or mode == "chat" or END in text)
        assert not builder.holds_unknown(problem, ids)


def test_a_word_without_a_token_is_found_beside_those_that_are_named() -> None:
    tokenizer = tiny_tokenizer()  # <pad> is unknown too
    for text, unknown in [("w3 w4", False), ("w3 zz", True), ("<pad> w3", False), ("<pad> zz", True)]:
        ids = tokenizer(text)["input_ids"]
        assert holds_unknown(tokenizer, text, ids) == unknown, text
