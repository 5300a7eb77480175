r"""Prompt styles of model families.

A style says where the request for reasoning and a ``\boxed{}`` answer stands, and how the response opens:

qwen-math     the system message of Qwen2.5-Math in its own chat template (github.com/QwenLM/Qwen2.5-Math, README)
deepseek-r1   no system message, the request in the user's turn, the response opened with ``<think>``
              (github.com/deepseek-ai/DeepSeek-R1, README, "Usage Recommendations")
chat          the request in the user's turn of the model's chat template
plain         the problem and the request as one text, for base models
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unsqueeze.errors import UserError

PromptMode = Literal["plain", "chat"]
StyleName = Literal["qwen-math", "deepseek-r1", "chat", "plain"]
STYLES: tuple[StyleName, ...] = ("qwen-math", "deepseek-r1", "chat", "plain")
AUTO = "auto"

Asks = Literal["math", "choice", "tags", "nothing"]
"""Request of a problem set: a boxed answer, a boxed letter, an answer between tags, or what the problem says."""

PLACE = "{problem}"
PLAIN_TEMPLATE = PLACE
REQUEST = "Please reason step by step, and put your final answer within \\boxed{}."
MATH_TEMPLATE = f"{PLACE}\n\n{REQUEST}"
CHOICE_TEMPLATE = f"{PLACE}\n\nPlease reason step by step, and put the letter of your choice within \\boxed{{}}."
TAGS_TEMPLATE = f"{PLACE}\n\nPlease reason step by step, and put your final answer between <answer> and </answer>."
_TEMPLATES: dict[Asks, str] = {
    "math": MATH_TEMPLATE,
    "choice": CHOICE_TEMPLATE,
    "tags": TAGS_TEMPLATE,
    "nothing": PLAIN_TEMPLATE,
}
THINK = "<think>\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The text around a problem: ``template`` inside the user's turn (``chat``) or alone (``plain``).

    ``opening`` begins the response and is part of the prompt; nothing is added where the chat template ends with it.
    """

    mode: PromptMode = "plain"
    template: str = PLAIN_TEMPLATE
    system: str | None = None
    opening: str = ""

    def __post_init__(self) -> None:
        if self.mode not in ("plain", "chat"):
            raise UserError(f"prompt: mode is {self.mode!r}; it must be 'plain' or 'chat'.")
        if PLACE not in self.template:
            raise UserError(f"prompt: the template {self.template!r} has no place {PLACE} for the problem.")
        if self.mode == "plain" and self.system is not None:
            raise UserError("prompt: a system message needs a chat; put its text into the template instead.")

    def text(self, problem: str) -> str:
        """The words of the user's turn, or of the whole prompt but for the opening."""
        return self.template.replace(PLACE, problem)

    def messages(self, problem: str) -> list[dict[str, str]]:
        """The turns of a chat, up to where the assistant speaks."""
        before = [] if self.system is None else [{"role": "system", "content": self.system}]
        return [*before, {"role": "user", "content": self.text(problem)}]

    def prompt(self, problem: str) -> str | list[dict[str, str]]:
        """Return the prompt of an engine that takes words: a chat, or one text."""
        return self.messages(problem) if self.mode == "chat" else self.text(problem) + self.opening


AS_IT_IS = Wording()


def wording(style: StyleName, asks: Asks) -> Wording:
    """Return the wording of a style. What Qwen2.5-Math's system message asks for is not repeated in the user's turn."""
    template = _TEMPLATES[asks]
    if style == "qwen-math":
        return Wording(mode="chat", template=PLAIN_TEMPLATE if asks == "math" else template, system=REQUEST)
    if style == "deepseek-r1":
        return Wording(mode="chat", template=template, opening=THINK)
    return Wording(mode=style, template=template)


def wording_of_settings(settings: Mapping[str, Any]) -> Wording:
    """Return the wording of a recipe's ``prompt``: its style's (asking for mathematics), with the single fields that
    are given.
    """
    style = settings.get("style")
    base = AS_IT_IS if style is None else wording(style, "math")
    given = {name: settings.get(name) for name in ("mode", "template", "system", "opening")}
    return Wording(**{name: getattr(base, name) if value is None else value for name, value in given.items()})


def find_style(wanted: str, model: str, chat_template: object) -> StyleName:
    """The style of that name; for ``auto`` the one of the model's family, by its chat template and its name.

    The chat template comes first: a checkpoint of a trained model keeps it, and not the name. True stands for one that
    cannot be seen. UserError for a style that there is not.
    """
    for style in STYLES:
        if wanted == style:
            return style
    if wanted != AUTO:
        raise UserError(f"prompt style is {wanted!r}; it must be one of {', '.join((AUTO, *STYLES))}.")
    template = str(chat_template or "")
    name = re.sub(r"[^a-z0-9]", "", model.lower())
    if not template:
        return "plain"
    if "Please reason step by step, and put your final answer within" in template or _is_qwen_math(name):
        return "qwen-math"
    if ("<｜Assistant｜>" in template and "think>" in template) or "deepseekr1" in name:
        return "deepseek-r1"
    return "chat"


def _is_qwen_math(name: str) -> bool:
    return "qwen2math" in name or "qwen25math" in name
