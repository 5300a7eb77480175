"""The model that a benchmark measures: the embedded one at Countdown, or a checkpoint at problems of a file."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unsqueeze.config.load import arms_of, load_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.tasks.prompts import PromptBuilder
from unsqueeze.tasks.styles import wording_of_settings
from unsqueeze.tasks.task import task_named


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, help="a chat model's checkpoint; without it, the embedded model")
    parser.add_argument("--problems", type=Path, help="with --model: a JSONL file with problem and answer")


def check_model(parser: argparse.ArgumentParser, model: Path | None, problems: Path | None) -> None:
    if (model is None) != (problems is None):
        parser.error("--model and --problems go together: a checkpoint, and what it is asked")


def control_of(model: Path | str | None, problems: Path | str | None, settings: Sequence[str] = ()) -> Recipe:
    """RL alone: the quickstart's control, or the recipe that ships for SmolLM2."""
    if model is None:
        return arms_of(load_recipe("quickstart", settings), "quickstart")["grpo"]
    own = [f"model.path={model}", f"data.train_path={problems}", f"data.test_path={problems}"]
    own += ["data.num_train=64", "data.num_test=4"]  # of one file, and so few that none is drawn for both
    return load_recipe("gsm8k-smollm2", [*own, "irl=null", *settings])


def prompts_of(recipe: Recipe, tokenizer: Any, count: int) -> list[list[int]]:
    """The tokens of the first prompts of a recipe."""
    problems = task_named(recipe.data.kind).load(recipe.data).train[:count]
    builder = PromptBuilder(tokenizer=tokenizer, wording=wording_of_settings(recipe.prompt.model_dump(mode="json")))
    return [list(builder.tokens(problem)) for problem in problems]


def name_of(model: Path | str | None) -> str:
    return "the embedded model" if model is None else Path(model).name
