"""``unsqueeze plan``: memory, hours and disk of a recipe on given devices, and what to change where it does not fit."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsqueeze.config.load import arms_of, describe_shipped_recipes, load_recipe
from unsqueeze.config.recipe import Recipe
from unsqueeze.errors import UserError, one_line
from unsqueeze.plain_json import dumps

if TYPE_CHECKING:
    from unsqueeze.cost.shape import ModelShape

ASSUMED_TEST_PROBLEMS = 150
"""The five contests of the paper, where no file of held-out problems is there to be counted."""
ASSUMED_PROMPT_TOKENS = 512
COUNTDOWN_PROMPT_TOKENS = 16


def plan(
    recipe: Annotated[
        str, typer.Argument(help="A recipe file, or the name of a shipped one: " + describe_shipped_recipes())
    ] = "quickstart",
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="How many devices.")] = 1,
    memory: Annotated[
        float | None,
        typer.Option("--memory", metavar="GB", help="Of each device, 10^9 bytes. Default: the device's own."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="h100, h200, a100, l40s, 4090 or cpu.")] = "h100",
    ddp: Annotated[
        bool, typer.Option("--ddp", help="Copy the weights to every device instead of sharding them (FSDP).")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="The model's config.json, where it is not at hand.")
    ] = None,
    prompt_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest prompt. Default: 512 or what the context leaves; countdown: 16.")
    ] = None,
    mean_tokens: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Mean length of responses. Default: half of rollout.max_tokens; countdown: 18, for four numbers.",
        ),
    ] = None,
    num_test: Annotated[
        int | None, typer.Option(min=1, help="Held-out problems, where neither recipe nor file says. Default: 150.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="a.b=v", help="Change one setting. Repeatable.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object an arm.")] = False,
) -> None:
    """Estimate what a recipe needs before anything is loaded: memory by item, hours by phase, disk.

    Needs the model's config.json alone, no weights and no data. Where the run does not fit, the recipe's own settings
    are tried on the estimate, and those that make it fit are named. How the estimates come about, and how far they are
    off: docs/planning.md.

    Examples:
      unsqueeze plan paper/1.5b-3k-sps-grpo --gpus 1 --memory 80
      unsqueeze plan my-recipe.yaml --device 4090 --mean-tokens 600
    """
    loaded = load_recipe(recipe, overrides or [])
    for name, arm in arms_of(loaded, recipe).items():
        found = plan_arm(arm, gpus, memory, device, ddp, config, prompt_tokens, mean_tokens, num_test)
        if as_json:
            typer.echo(dumps({"arm": name, **found}))
        else:
            print_plan(name, found)


def plan_arm(
    recipe: Recipe,
    gpus: int,
    memory: float | None,
    device_name: str,
    ddp: bool,
    config: Path | None,
    prompt_tokens: int | None,
    mean_tokens: float | None,
    num_test: int | None,
) -> dict[str, Any]:
    """The plan of one arm as plain data."""
    from unsqueeze.cost.advise import suggestions
    from unsqueeze.cost.devices import device_named
    from unsqueeze.cost.estimate import Problems, assumed_response, estimate_run
    from unsqueeze.cost.memory import Layout, Memory, estimate_memory
    from unsqueeze.cost.workload import Lengths

    device = device_named(device_name)
    if device.name == "cpu" and recipe.threads:
        device = replace(device, peak_fp32=recipe.threads * device.peak_fp32)
    shape = shape_for(recipe, config)
    most = recipe.rollout.max_tokens
    countdown = recipe.data.kind == "countdown"
    longest = prompt_tokens or (COUNTDOWN_PROMPT_TOKENS if countdown else ASSUMED_PROMPT_TOKENS)
    if shape.context is not None:
        if most >= shape.context:
            raise UserError(
                f"rollout.max_tokens is {most} and the model's context is {shape.context}: no room for a prompt."
            )
        longest = min(longest, shape.context - most)
    lengths = Lengths(
        longest_prompt=longest,
        mean_prompt=longest if countdown else longest / 2,
        longest_response=most,
        mean_response=min(most, mean_tokens or assumed_response(recipe)),
    )
    data = recipe.data
    problems = Problems(
        train=data.num_train or _lines(data.train_path) or _unknown("data.num_train"),
        test=num_test or data.num_test or _lines(data.test_path) or ASSUMED_TEST_PROBLEMS,
        validation=data.num_validation or _lines(data.validation_path) or 0,
    )
    limit = device.memory if memory is None else round(memory * 1e9)
    layout = Layout(num_devices=gpus, sharded=gpus > 1 and not ddp, on_gpu=device.name != "cpu", device_memory=limit)
    estimate = estimate_run(recipe, shape, problems, lengths, device, layout)

    def cost(recipe: Recipe, layout: Layout) -> Memory:
        return estimate_memory(recipe, shape, estimate.workload, lengths, layout)

    fits = estimate.memory.peak <= limit
    return {
        "model": {"path": recipe.model.path, "num_parameters": shape.num_parameters},
        "devices": {"name": device.name, "number": gpus, "sharded": layout.sharded, "memory": limit},
        "problems": asdict(problems),
        "lengths": asdict(lengths),
        "workload": asdict(estimate.workload) | {"rollouts": estimate.workload.rollouts},
        "memory": estimate.memory.items()
        | {
            "generating": estimate.memory.generating,
            "updating": estimate.memory.updating,
            "peak": estimate.memory.peak,
        },
        "seconds": asdict(estimate.duration)
        | {
            "rl": estimate.duration.rl,
            "total": estimate.duration.total,
            "irl_share_of_rl": estimate.duration.irl_share,
        },
        "disk": asdict(estimate.disk) | {"total": estimate.disk.total},
        "fits": fits,
        "to_fit": [] if fits else suggestions(recipe, layout, cost, limit),
    }


def shape_for(recipe: Recipe, config: Path | None) -> "ModelShape":
    """The model's shape from the configuration at hand. UserError where there is none."""
    from unsqueeze.cost.shape import LLAMA_LIKE, model_shape

    found = _config(recipe.model.path, config)
    return model_shape(found) if found.get("model_type") in LLAMA_LIKE else _shape_on_meta(found)


def _config(path: str, given: Path | None) -> dict[str, Any]:
    from unsqueeze.cost.known import KNOWN_CONFIGS
    from unsqueeze.models import embedded_model_path

    embedded = embedded_model_path()
    folder = embedded if path == embedded.name else Path(path)
    file = given or (folder / "config.json" if (folder / "config.json").is_file() else None)
    if file is None and path in KNOWN_CONFIGS:
        return KNOWN_CONFIGS[path]
    if file is None:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(path, "config.json") if not path.startswith((".", "/")) else None
        file = Path(cached) if isinstance(cached, str) else None
    if file is None:
        raise UserError(
            f"model.path is {path!r}, and its config.json is not at hand: give it by --config FILE. Known without are "
            f"{', '.join(KNOWN_CONFIGS)}."
        )
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read as a model's config.json: {error}.") from None
    if not isinstance(found, dict):
        raise UserError(f"{file} is no model's config.json: it holds no object.")
    return found


def _shape_on_meta(config: dict[str, Any]) -> "ModelShape":
    """The shape of a model of any family, which is built without memory for its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from unsqueeze.training.preflight import shape_of

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"no causal language model can be made of this config.json: {one_line(error)}") from None
    return shape_of(model)


def _lines(path: str | None) -> int | None:
    """How many problems a file holds; None without it."""
    if path is None or not Path(path).is_file():
        return None
    with Path(path).open("rb") as file:
        return sum(1 for line in file if line.strip())


def _unknown(setting: str) -> int:
    raise UserError(f"{setting} is null and the file is not at hand: give it with --set {setting}=NUMBER.")


def print_plan(name: str, found: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from unsqueeze.cost.units import in_bytes, in_time

    console = Console(highlight=False, markup=False, soft_wrap=True, width=100)
    model, devices, work, lengths = found["model"], found["devices"], found["workload"], found["lengths"]
    spread = "" if devices["number"] == 1 else (" with FSDP" if devices["sharded"] else " with DDP")
    console.print(
        f"{name}: {model['path']}, {model['num_parameters'] / 1e6:,.1f}M parameters, on {devices['number']} × "
        f"{devices['name']} of {in_bytes(devices['memory'])}{spread}"
    )
    console.print(
        f"RL phases: {work['rl_phases']}, {work['rl_steps']} steps of {work['rollouts_per_step']} rollouts; "
        f"IRL phases: {work['irl_phases']}, {work['irl_updates']} updates; evaluations: {work['evaluations']} of "
        f"{work['samples_per_evaluation']} samples; checkpoints: {work['checkpoints']}"
    )
    console.print(
        f"taken for granted: prompts of {lengths['mean_prompt']:.0f} tokens, at most {lengths['longest_prompt']}; "
        f"responses of {lengths['mean_response']:.0f}, at most {lengths['longest_response']}; "
        f"{found['problems']['train']} problems to train on, {found['problems']['test']} held out"
    )
    table = Table(box=box.SIMPLE)
    for heading in ("memory of a device", "", "time", "", "disk", ""):
        table.add_column(heading, justify="right" if not heading else "left", no_wrap=True)
    columns = (
        [(key.replace("_", " "), in_bytes(value)) for key, value in found["memory"].items() if value],
        [
            (key.replace("_", " "), f"{value:.1%}" if key == "irl_share_of_rl" else in_time(value))
            for key, value in found["seconds"].items()
            if value
        ],
        [(key, in_bytes(value)) for key, value in found["disk"].items()],
    )
    for row in range(max(map(len, columns))):
        table.add_row(*(text for column in columns for text in (column[row] if row < len(column) else ("", ""))))
    console.print(table)
    peak, limit = in_bytes(found["memory"]["peak"]), in_bytes(devices["memory"])
    if found["fits"]:
        console.print(f"It fits: {peak} of {limit} at the peak.")
        return
    moment = "generating" if found["memory"]["generating"] == found["memory"]["peak"] else "updating"
    console.print(f"It does NOT fit: {moment} needs {peak}, and a device has {limit}.")
    if not found["to_fit"]:
        console.print("Nothing that was tried makes it fit; take larger devices or a smaller model.")
    for place, changes in enumerate(found["to_fit"]):
        console.print(f"{'it would with ' if not place else 'or '}{', and '.join(changes)}")
