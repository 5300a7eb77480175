r"""Tokenizers that look like those of model families: the special tokens and the shape of the chat template are theirs.

Words are split into bytes; everything else about a family's tokenizer does not matter for where a turn ends.
"""

from dataclasses import dataclass

import torch
from tokenizers import AddedToken
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tiny_models import byte_tokenizer, tiny_llama


@dataclass(frozen=True)
class Family:
    """``marks`` are the special tokens of the vocabulary, ``eos`` what the tokenizer declares, ``end`` the right end of
    a turn, None for a template without one. ``plain_marks`` are added without being special; ``eats_space``: the
    tokens take the white space behind them.
    """

    template: str
    marks: tuple[str, ...]
    eos: str
    end: str | None
    bos: str | None = None
    plain_marks: tuple[str, ...] = ()
    eats_space: bool = False

    def tokenizer(self) -> PreTrainedTokenizerFast:
        made = byte_tokenizer(self.template)
        special = [AddedToken(mark, special=True, normalized=False, rstrip=self.eats_space) for mark in self.marks]
        made.add_tokens(special, special_tokens=True)
        made.add_tokens([AddedToken(mark, normalized=False) for mark in self.plain_marks])
        made.eos_token = self.eos
        if self.bos is not None:
            made.bos_token = self.bos
        return made


def each(body: str, opening: str = "", *, start: str = "") -> str:
    """``start``, then ``body`` of every message, then ``opening`` of the assistant's turn where it is asked for."""
    asked = "{% if add_generation_prompt %}{{ '" + opening + "' }}{% endif %}" if opening else ""
    return start + "{% for message in messages %}" + body + "{% endfor %}" + asked


USER, ASSISTANT = "{% if message.role == 'user' %}", "{% elif message.role == 'assistant' %}"
LAST, END = "{% if loop.last %}", "{% endif %}"

CHATML = each(
    "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}", "<|im_start|>assistant\\n"
)
CHATML_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
LLAMA_3 = (
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}"
)
LLAMA_3_MARKS = ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")
LLAMA_3_OPENING = "<|start_header_id|>assistant<|end_header_id|>\\n\\n"
DEEPSEEK = "{% if message.role == 'user' %}{{ '<｜User｜>' + message.content }}{% else %}{{ '<｜Assistant｜>' + "
DEEPSEEK_MARKS = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")

FAMILIES: dict[str, Family] = {
    # The base model of the issue: it declares the end of the text alone.
    "Qwen2.5-Math base": Family(
        each(
            "{% if loop.first and message.role != 'system' %}{{ '<|im_start|>system\\nPlease reason step by step."
            "<|im_end|>\\n' }}{% endif %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' }}"
            "{{ '\\n' }}",
            "<|im_start|>assistant\\n",
        ),
        CHATML_MARKS,
        "<|endoftext|>",
        "<|im_end|>",
    ),
    "Qwen2.5 instruct": Family(CHATML, CHATML_MARKS, "<|im_end|>", "<|im_end|>"),
    # Thoughts of earlier turns are taken out, and the last one gets an empty one.
    "Qwen3": Family(
        each(
            "{% if message.role == 'assistant' %}{{ '<|im_start|>assistant\\n' }}{% if loop.last %}"
            "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ message.content.split('</think>')[-1].strip('\\n') }}"
            "{{ '<|im_end|>\\n' }}{% else %}{{ '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}{% endif %}",
            "<|im_start|>assistant\\n",
        ),
        CHATML_MARKS,
        "<|im_end|>",
        "<|im_end|>",
        plain_marks=("<think>", "</think>"),
    ),
    # The ends of a community's model: tokens that were added, and are not special.
    "ChatML, added and not special": Family(
        CHATML, ("<|endoftext|>",), "<|endoftext|>", "<|im_end|>", plain_marks=("<|im_start|>", "<|im_end|>", "   ")
    ),
    "SmolLM2": Family(CHATML, CHATML_MARKS, "<|im_end|>", "<|im_end|>", bos="<|im_start|>"),
    "Llama 3 base declares the end of the text": Family(
        each(LLAMA_3, LLAMA_3_OPENING, start="{{ bos_token }}"),
        LLAMA_3_MARKS,
        "<|end_of_text|>",
        "<|eot_id|>",
        bos="<|begin_of_text|>",
    ),
    # The first templates of the family opened the assistant's turn whether they were asked to or not.
    "Llama 3, always opening": Family(
        "{{ bos_token }}" + each(LLAMA_3) + "{{ '" + LLAMA_3_OPENING + "' }}",
        LLAMA_3_MARKS,
        "<|end_of_text|>",
        "<|eot_id|>",
        bos="<|begin_of_text|>",
    ),
    "Llama 2": Family(
        each(
            USER + "{{ bos_token + '[INST] ' + message.content + ' [/INST]' }}" + ASSISTANT
            + "{{ ' ' + message.content.strip() + ' ' + eos_token }}" + END
        ),
        ("<s>", "</s>"),
        "</s>",
        "</s>",
        bos="<s>",
    ),
    "Mistral": Family(
        each(
            USER + "{{ '[INST]' + message.content + '[/INST]' }}" + ASSISTANT
            + "{{ message.content + eos_token }}" + END,
            start="{{ bos_token }}",
        ),
        ("<s>", "</s>", "[INST]", "[/INST]"),
        "</s>",
        "</s>",
        bos="<s>",
    ),
    "Gemma": Family(
        each(
            "{% set role = 'model' if message.role == 'assistant' else message.role %}"
            "{{ '<start_of_turn>' + role + '\\n' + message.content | trim + '<end_of_turn>\\n' }}",
            "<start_of_turn>model\\n",
            start="{{ bos_token }}",
        ),
        ("<bos>", "<start_of_turn>", "<end_of_turn>"),
        "<eos>",
        "<end_of_turn>",
        bos="<bos>",
    ),
    # A text that is not gone on with ends with the end of the text, after the end of the turn.
    "Phi-3": Family(
        each("{{ '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}")
        + "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
        ("<|endoftext|>", "<|assistant|>", "<|user|>", "<|system|>", "<|end|>"),
        "<|endoftext|>",
        "<|end|>",
        eats_space=True,
    ),
    "Phi-4 mini": Family(
        each("{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}")
        + "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}",
        ("<|endoftext|>", "<|assistant|>", "<|user|>", "<|system|>", "<|end|>"),
        "<|endoftext|>",
        "<|end|>",
    ),
    "Phi-4": Family(
        each("{{ '<|im_start|>' + message.role + '<|im_sep|>' + message.content + '<|im_end|>' }}", "<|im_start|>x"),
        (*CHATML_MARKS, "<|im_sep|>"),
        "<|endoftext|>",
        "<|im_end|>",
    ),
    "DeepSeek-R1": Family(
        each(
            DEEPSEEK + "message.content.split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}{% endif %}",
            "<｜Assistant｜><think>\\n",
            start="{{ bos_token }}",
        ),
        DEEPSEEK_MARKS,
        "<｜end▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        bos="<｜begin▁of▁sentence｜>",
        plain_marks=("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
    ),
    "OLMo 2": Family(
        each(
            "{% if message.role == 'user' %}{{ '<|user|>\\n' + message.content + '\\n' }}{% elif not loop.last %}"
            "{{ '<|assistant|>\\n' + message.content + eos_token + '\\n' }}{% else %}"
            "{{ '<|assistant|>\\n' + message.content + eos_token }}{% endif %}",
            "<|assistant|>\\n",
            start="{{ bos_token }}",
        ),
        ("<|endoftext|>",),
        "<|endoftext|>",
        "<|endoftext|>",
        bos="<|endoftext|>",
    ),
    # <|end|> ends a message, such as a thought, and an earlier answer; the last answer ends with <|return|>.
    "gpt-oss": Family(
        each(
            USER + "{{ '<|start|>user<|message|>' + message.content + '<|end|>' }}" + ASSISTANT
            + "{{ '<|start|>assistant<|channel|>final<|message|>' + message.content }}" + LAST
            + "{{ '<|return|>' }}{% else %}{{ '<|end|>' }}{% endif %}" + END,
            "<|start|>assistant",
        ),
        ("<|endoftext|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"),
        "<|return|>",
        "<|return|>",
    ),
    "gpt-oss, the end of the text declared": Family(
        each(
            USER + "{{ '<|start|>user<|message|>' + message.content + '<|end|>' }}" + ASSISTANT
            + "{{ '<|start|>assistant<|channel|>final<|message|>' + message.content }}" + LAST
            + "{{ '<|return|>' }}{% else %}{{ '<|end|>' }}{% endif %}" + END,
            "<|start|>assistant",
        ),
        ("<|endoftext|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>"),
        "<|endoftext|>",
        "<|return|>",
    ),
    "Granite": Family(
        each(
            "{{ '<|start_of_role|>' + message.role + '<|end_of_role|>' + message.content + '<|end_of_text|>\\n' }}",
            "<|start_of_role|>assistant<|end_of_role|>",
        ),
        ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
        "<|end_of_text|>",
        "<|end_of_text|>",
    ),
    "Command-R": Family(
        each(
            "{{ '<|START_OF_TURN_TOKEN|>' + ('<|USER_TOKEN|>' if message.role == 'user' else '<|CHATBOT_TOKEN|>')"
            " + message.content.strip() + '<|END_OF_TURN_TOKEN|>' }}",
            "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
            start="{{ bos_token }}",
        ),
        ("<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
        "<eos>",
        "<|END_OF_TURN_TOKEN|>",
        bos="<BOS_TOKEN>",
    ),
    # What is said is wrapped once more: the declared one of two tokens in a row ends the turn.
    "Command-R7B": Family(
        each(
            USER + "{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + message.content + '<|END_OF_TURN_TOKEN|>' }}"
            + ASSISTANT + "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|><|START_RESPONSE|>' + message.content"
            " + '<|END_RESPONSE|><|END_OF_TURN_TOKEN|>' }}" + END,
            "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        ),
        (
            "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>",
            "<|START_RESPONSE|>", "<|END_RESPONSE|>",
        ),
        "<|END_OF_TURN_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
    ),
    # For training on the assistant's words alone.
    "generation tags": Family(
        each(
            "{% if message.role == 'user' %}{{ '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}{% else %}"
            "{{ '<|im_start|>assistant\\n' }}{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}"
            "{{ '\\n' }}{% endif %}",
            "<|im_start|>assistant\\n",
        ),
        CHATML_MARKS,
        "<|endoftext|>",
        "<|im_end|>",
    ),
    "the content is altered": Family(
        each(
            "{{ '<|im_start|>' + message.role + '\\n' + message.content.upper() | replace('E', '3') + '</answer>\\n"
            "<|im_end|>\\n' }}",
            "<|im_start|>assistant\\n",
        ),
        CHATML_MARKS,
        "<|endoftext|>",
        "<|im_end|>",
    ),
    "one turn alone": Family(
        "{% if messages | length > 2 %}{{ raise_exception('one turn') }}{% endif %}" + CHATML,
        CHATML_MARKS,
        "<|endoftext|>",
        "<|im_end|>",
    ),
    # Nothing ends a turn here but what opens the next one; the tokenizer's own end is all there is.
    "Human and Assistant": Family(
        each(
            "{{ '### Human: ' + message.content + '\\n' if message.role == 'user' else '### Assistant: ' + "
            "message.content + '\\n' }}",
            "### Assistant:",
        ),
        ("</s>",),
        "</s>",
        None,
    ),
    "Alpaca": Family(
        each(
            "{{ '### Instruction:\\n' + message.content + '\\n\\n' if message.role == 'user' else '### Response:\\n' + "
            "message.content + '\\n\\n' }}",
            "### Response:\\n",
        ),
        ("<s>", "</s>"),
        "</s>",
        None,
    ),
    "GLM-4": Family(
        each("{{ '<|' + message.role + '|>\\n' + message.content }}", "<|assistant|>"),
        ("<|endoftext|>", "<|user|>", "<|assistant|>"),
        "<|endoftext|>",
        None,
    ),
    "a template that always fails": Family("{{ raise_exception('no') }}", CHATML_MARKS, "<|endoftext|>", None),
}  # fmt: skip


def talkative(tokenizer: PreTrainedTokenizerFast, *texts: str) -> LlamaForCausalLM:
    """A random model that says each of these tokens often and goes on after it: it declares ``<eos>`` to be its end."""
    model = tiny_llama(len(tokenizer), spread=0.25, context=256)
    with torch.no_grad():  # one coordinate of the stream is the same for every token, and speaks for these alone
        model.model.embed_tokens.weight[:, 0] = 1.0
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[tokenizer.convert_tokens_to_ids(list(texts)), 0] = 9.0
    return model
