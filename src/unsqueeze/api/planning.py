"""Estimates of what a recipe needs, before anything is loaded."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from unsqueeze.api.recipes import AnyRecipe, as_arms, as_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.cost.advise import suggestions
from unsqueeze.cost.devices import Device, device_named
from unsqueeze.cost.estimate import Estimate, Problems, assumed_response, estimate_run
from unsqueeze.cost.known import KNOWN_CONFIGS
from unsqueeze.cost.memory import Layout, Memory, estimate_memory, layout_for
from unsqueeze.cost.savings import Saving, savings
from unsqueeze.cost.shape import LLAMA_LIKE, ModelShape, model_shape
from unsqueeze.cost.workload import Lengths
from unsqueeze.errors import UserError, one_line
from unsqueeze.models import shipped_folder
from unsqueeze.tasks.task import task_named

ASSUMED_TEST_PROBLEMS = 150
"""The five contests of the paper, where no file of held-out problems is there to be counted."""
ASSUMED_PROMPT_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Estimate of what an arm of a recipe needs on given devices. ``to_fit`` holds settings that would make it fit,
    ``savings`` those that are worth changing whether or not it fits.
    """

    path: str
    num_parameters: int
    device: str
    layout: Layout
    memory_limit: int
    problems: Problems
    estimate: Estimate
    to_fit: Sequence[Sequence[str]]
    savings: Sequence[Saving]

    @property
    def fits(self) -> bool:
        return self.estimate.memory.peak <= self.memory_limit

    def to_json_object(self) -> dict[str, Any]:
        """Return everything as plain data; sizes in bytes, times in seconds."""
        estimate = self.estimate
        memory, duration = estimate.memory, estimate.duration
        return {
            "model": {"path": self.path, "num_parameters": self.num_parameters},
            "devices": {
                "name": self.device,
                "number": self.layout.num_devices,
                "sharded": self.layout.sharded,
                "memory": self.memory_limit,
            },
            "problems": asdict(self.problems),
            "lengths": asdict(estimate.lengths),
            "workload": asdict(estimate.workload) | {"rollouts": estimate.workload.rollouts},
            "memory": memory.items()
            | {"generating": memory.generating, "updating": memory.updating, "peak": memory.peak},
            "seconds": asdict(duration)
            | {"rl": duration.rl, "total": duration.total, "irl_share_of_rl": duration.irl_share},
            "disk": asdict(estimate.disk) | {"total": estimate.disk.total},
            "fits": self.fits,
            "to_fit": [list(each) for each in self.to_fit],
            "savings": [asdict(each) for each in self.savings],
        }


def plan(
    recipe: AnyRecipe,
    *,
    gpus: int = 1,
    memory: float | None = None,
    device: str = "h100",
    config: str | Path | None = None,
    prompt_tokens: int | None = None,
    mean_tokens: float | None = None,
    num_test: int | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Plan]:
    """Estimate what every arm of a recipe needs: memory by item, hours by phase, disk.

    Several ``gpus`` hold the weights as the recipe's ``parallel.strategy`` says. ``memory`` is that of each device in
    10^9 bytes, by default the device's own. Needs the model's ``config.json`` alone, no weights and no data. How the
    estimates come about, and how far they are off: docs/planning.md.
    """
    arms = as_arms(as_recipe(recipe, overrides), recipe)
    return {
        name: _plan(
            arm,
            device_named(device),
            gpus=gpus,
            memory=memory,
            config=None if config is None else Path(config),
            prompt_tokens=prompt_tokens,
            mean_tokens=mean_tokens,
            num_test=num_test,
        )
        for name, arm in arms.items()
    }


def _plan(
    recipe: Recipe,
    device: Device,
    *,
    gpus: int,
    memory: float | None,
    config: Path | None,
    prompt_tokens: int | None,
    mean_tokens: float | None,
    num_test: int | None,
) -> Plan:
    if device.name == "cpu" and recipe.threads:
        device = replace(device, peak_fp32=recipe.threads * device.peak_fp32)
    shape = shape_for(recipe, config)
    limit = device.memory if memory is None else round(memory * 1e9)
    layout = layout_for(recipe, gpus, on_gpu=device.name != "cpu", device_memory=limit)
    lengths = lengths_for(recipe, shape, prompt_tokens, mean_tokens)

    def estimate_of(changed: Recipe) -> Estimate:
        problems, in_place = problems_for(changed, num_test), task_named(changed.data.kind).judged_in_place
        return estimate_run(changed, shape, problems, lengths, device, layout, judged_in_place=in_place)

    estimate = estimate_of(recipe)
    cost: Callable[[Recipe, Layout], Memory] = lambda changed, spread: estimate_memory(  # noqa: E731
        changed, shape, estimate.workload, lengths, spread
    )
    fits = estimate.memory.peak <= limit
    return Plan(
        path=recipe.model.path,
        num_parameters=shape.num_parameters,
        device=device.name,
        layout=layout,
        memory_limit=limit,
        problems=problems_for(recipe, num_test),
        estimate=estimate,
        to_fit=[] if fits else suggestions(recipe, layout, cost, limit),
        savings=savings(recipe, layout, estimate_of),
    )


def problems_for(recipe: Recipe, num_test: int | None) -> Problems:
    """Return the numbers of problems. UserError where those to train on are not known."""
    sizes = task_named(recipe.data.kind).sizes(recipe.data)
    if sizes.train is None:
        raise UserError("data.num_train is null and the file is not at hand: give data.num_train.")
    return Problems(
        train=sizes.train, test=num_test or sizes.test or ASSUMED_TEST_PROBLEMS, validation=sizes.validation or 0
    )


def lengths_for(recipe: Recipe, shape: ModelShape, prompt_tokens: int | None, mean_tokens: float | None) -> Lengths:
    """Return the lengths of prompts and responses: as given, as the task expects, or as assumed."""
    expected = task_named(recipe.data.kind).expected(recipe.data)
    most = recipe.rollout.max_tokens
    longest = prompt_tokens or (ASSUMED_PROMPT_TOKENS if expected is None else expected.prompt)
    if shape.context is not None:
        if most >= shape.context:
            raise UserError(
                f"rollout.max_tokens is {most} and the model's context is {shape.context}: no room for a prompt."
            )
        longest = min(longest, shape.context - most)
    return Lengths(
        longest_prompt=longest,
        mean_prompt=longest / 2 if expected is None else longest,
        longest_response=most,
        mean_response=min(
            most, mean_tokens or assumed_response(recipe, None if expected is None else expected.response)
        ),
    )


def shape_for(recipe: Recipe, config: Path | None) -> ModelShape:
    """Return the model's shape from the configuration at hand. UserError where there is none."""
    found = _config(recipe.model.path, config)
    return model_shape(found) if found.get("model_type") in LLAMA_LIKE else _shape_on_meta(found)


def _config(path: str, given: Path | None) -> dict[str, Any]:
    folder = shipped_folder(path) or Path(path)
    file = given or (folder / "config.json" if (folder / "config.json").is_file() else None)
    if file is None and path in KNOWN_CONFIGS:
        return KNOWN_CONFIGS[path]
    if file is None:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(path, "config.json") if not path.startswith((".", "/")) else None
        file = Path(cached) if isinstance(cached, str) else None
    if file is None:
        raise UserError(
            f"model.path is {path!r}, and its config.json is not at hand: give it as config (--config FILE). Known "
            f"without are {', '.join(KNOWN_CONFIGS)}."
        )
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as a model's config.json: {error}.") from None
    if not isinstance(found, dict):
        raise UserError(f"{file} is no model's config.json: it holds no object.")
    return found


def _shape_on_meta(config: dict[str, Any]) -> ModelShape:
    """Return the shape of a model of any family, which is built without memory for its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from unsqueeze.training.preflight import shape_of

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"no causal language model can be made of this config.json: {one_line(error, 200)}") from None
    return shape_of(model)
