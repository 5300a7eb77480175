r"""How families of models are asked: the words of each style, which one a model gets, and what tokens come out."""

import pytest

from tiny_models import byte_tokenizer
from unsqueeze.config.data_settings import PromptSettings
from unsqueeze.errors import UserError
from unsqueeze.interop.select import as_given
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.prompts import PromptBuilder
from unsqueeze.tasks.styles import Wording, find_style, wording, wording_of_settings

PROBLEM = Problem(id="p", prompt="What is 1+1?", answer="2", task="math")
# The wording of github.com/QwenLM/Qwen2.5-Math and github.com/deepseek-ai/DeepSeek-R1 (both READMEs), by hand.
REQUEST = "Please reason step by step, and put your final answer within \\boxed{}."

TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
START = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CHATML = TURNS + START
# As in Qwen2.5-Math: without a system message, its own comes first.
QWEN_MATH = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n" + REQUEST + "<|im_end|>\n{% endif %}" + CHATML
)
R1_TURNS = (
    "{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}{% else %}<｜Assistant｜>"
    "{{ m.content.split('</think>')[-1] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<｜Assistant｜>"
)
R1_OLD, R1_NEW = R1_TURNS + "{% endif %}", R1_TURNS + "<think>\n{% endif %}"


def asked(chat_template: str | None, used: Wording) -> str:
    words = byte_tokenizer(chat_template)
    return words.decode(PromptBuilder(tokenizer=words, wording=used).tokens(PROBLEM))


def test_qwen_math_asks_in_its_system_message_and_not_twice():
    expected = (
        f"<|im_start|>system\n{REQUEST}<|im_end|>\n<|im_start|>user\nWhat is 1+1?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert asked(QWEN_MATH, wording("qwen-math", "math")) == expected
    assert asked(CHATML, wording("qwen-math", "math")) == expected


@pytest.mark.parametrize("template", [R1_OLD, R1_NEW])
def test_deepseek_r1_has_no_system_message_and_begins_to_think_once(template: str):
    assert asked(template, wording("deepseek-r1", "math")) == (
        f"<｜User｜>What is 1+1?\n\n{REQUEST}<｜Assistant｜><think>\n"
    )


def test_chat_and_plain_ask_after_the_problem():
    assert asked(CHATML, wording("chat", "math")) == (
        f"<|im_start|>user\nWhat is 1+1?\n\n{REQUEST}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert asked(None, wording("plain", "math")) == f"What is 1+1?\n\n{REQUEST}"
    assert asked(None, Wording(opening="Let me see: ")) == "What is 1+1?Let me see: "


def test_multiple_choice_asks_for_a_letter_in_the_users_turn_of_every_style():
    for style in ("qwen-math", "deepseek-r1", "chat", "plain"):
        assert "the letter of your choice within \\boxed{}" in wording(style, "choice").template
    assert wording("qwen-math", "choice").system == REQUEST
    assert wording("chat", "nothing").template == "{problem}"


@pytest.mark.parametrize(
    ("model", "template", "style"),
    [
        # The chat template that a checkpoint keeps tells the family, whatever its folder is called.
        ("runs/mine/checkpoints/step-000100/policy", QWEN_MATH, "qwen-math"),
        ("runs/mine/checkpoints/step-000100/policy", R1_OLD, "deepseek-r1"),
        ("Qwen/Qwen2.5-Math-1.5B", CHATML, "qwen-math"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", R1_NEW, "deepseek-r1"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", CHATML, "deepseek-r1"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", CHATML, "chat"),
        ("Qwen/Qwen2.5-1.5B-Instruct", CHATML, "chat"),
        ("meta-llama/Llama-3.1-8B", None, "plain"),
        ("my-qwen2.5-math-base", None, "plain"),
    ],
)
def test_the_style_of_a_family(model: str, template: str | None, style: str):
    assert find_style("auto", model, template) == style


def test_a_style_by_name_and_one_that_there_is_not():
    assert find_style("plain", "Qwen/Qwen2.5-Math-1.5B", QWEN_MATH) == "plain"
    with pytest.raises(UserError, match="prompt style is 'poem'; it must be one of auto, qwen-math"):
        find_style("poem", "any", None)


def test_a_recipe_names_a_style_and_overrides_single_parts():
    def of(**prompt: str) -> Wording:
        return wording_of_settings(PromptSettings(**prompt).model_dump(mode="json"))

    assert of() == Wording()
    assert of(style="qwen-math") == wording("qwen-math", "math")
    assert of(style="qwen-math", system="Think.") == Wording(mode="chat", system="Think.")
    assert of(mode="chat", template="Q: {problem}") == Wording(mode="chat", template="Q: {problem}")


def test_demonstrations_hold_what_the_model_was_given():
    given = as_given(wording("deepseek-r1", "math"), "What is 1+1?", "Two.\n</think>\n\\boxed{2}")
    assert given == [
        {"role": "user", "content": f"What is 1+1?\n\n{REQUEST}"},
        {"role": "assistant", "content": "<think>\nTwo.\n</think>\n\\boxed{2}"},
    ]
    assert as_given(Wording(opening="So: "), "What is 1+1?", "2") == ("What is 1+1?So: ", "2")
