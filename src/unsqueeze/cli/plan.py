"""``unsqueeze plan``: memory, hours and disk of a recipe on given devices, and what to change where it does not fit."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsqueeze.cli.options import ListRecipesOption, OverridesOption, RecipeArgument
from unsqueeze.plain_json import dumps

if TYPE_CHECKING:
    from rich.console import Console


def plan(
    recipe: RecipeArgument = "quickstart",
    gpus: Annotated[
        int, typer.Option("--gpus", min=1, help="How many devices. parallel.strategy says how they hold the weights.")
    ] = 1,
    memory: Annotated[
        float | None,
        typer.Option("--memory", metavar="GB", help="Of each device, 10^9 bytes. Default: the device's own."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="h100, h200, a100, l40s, 4090 or cpu.")] = "h100",
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
    overrides: OverridesOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object an arm.")] = False,
    list_recipes: ListRecipesOption = False,
) -> None:
    """Estimate what a recipe needs before anything is loaded: memory by item, hours by phase, disk.

    Needs the model's config.json alone, no weights and no data. Where the run does not fit, the exit code is 1, the
    recipe's own settings are tried on the estimate, and those that make it fit are named. How the estimates come about,
    and how far they are off: docs/planning.md.

    Examples:
      unsqueeze plan paper/1.5b-3k-sps-grpo --gpus 1 --memory 80
      unsqueeze plan my-recipe.yaml --device 4090 --mean-tokens 600
    """
    import unsqueeze as uq

    plans = uq.plan(
        recipe,
        gpus=gpus,
        memory=memory,
        device=device,
        config=config,
        prompt_tokens=prompt_tokens,
        mean_tokens=mean_tokens,
        num_test=num_test,
        overrides=overrides or [],
    )
    for name, found in plans.items():
        if as_json:
            typer.echo(dumps({"arm": name, **found.to_json_object()}))
        else:
            print_plan(name, found.to_json_object())
    if not all(found.fits for found in plans.values()):
        raise typer.Exit(1)


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
    print_fit(console, found)
    for each in found["savings"]:
        size = in_time if each["of"] == "seconds" else in_bytes
        console.print(
            f"Worth changing: {', and '.join(each['changes'])} ({size(each['after'])}"
            f"{'' if each['of'] == 'seconds' else ' of disk'} instead of {size(each['before'])})."
        )


def print_fit(console: "Console", found: dict[str, Any]) -> None:
    """Print whether the run fits, and after which changes it would."""
    from unsqueeze.cost.units import in_bytes

    devices = found["devices"]
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
