"""Options that several commands have, and what they make of them."""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.console import Console

from unsqueeze.config.shipped import describe_shipped_recipes
from unsqueeze.errors import UserError

if TYPE_CHECKING:
    from unsqueeze.api.evaluating import LoadedModel, ServedSource

FROM_RUN = "Default: that of the run the model comes from, else"

RecipeArgument = Annotated[
    str, typer.Argument(help="A recipe file, or the name of a shipped one: " + describe_shipped_recipes())
]


def _print_recipes(wanted: bool) -> None:
    """Print the shipped recipes, a line each, and end the command."""
    if not wanted:
        return
    from unsqueeze.config.load import described_recipes

    described = described_recipes()
    width = max(map(len, described))
    for name, description in described.items():
        typer.echo(f"{name:{width}}  {description}")
    raise typer.Exit


ListRecipesOption = Annotated[
    bool,
    typer.Option(
        "--list-recipes", callback=_print_recipes, is_eager=True, help="Show every shipped recipe, a line each."
    ),
]
OverridesOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="a.b=v", help="Change one setting, for example --set rl.steps=100. Repeatable."),
]

LiveOption = Annotated[
    bool, typer.Option("--live", help="Write report.html again while training goes on; the page reloads itself.")
]

WorkersOption = Annotated[int | None, typer.Option(help="Processes that judge. Default: 2.")]
TimeoutOption = Annotated[
    float | None, typer.Option("--timeout", help="Seconds one answer may take. Default: the run's, else 10.")
]
MemoryOption = Annotated[
    int | None, typer.Option("--memory-mb", help="Memory (MB of address space) one process may use. Default: 320.")
]
CreditOption = Annotated[
    str | None,
    typer.Option(
        help="Where an answer may stand: boxed (the last \\boxed{}), final_answer, or anywhere. Default: the run's, "
        "else anywhere."
    ),
]
SkipBadOption = Annotated[
    bool,
    typer.Option("--skip-bad", help="Leave out lines that cannot be read, instead of stopping; they are counted."),
]
SkipBadRecordsOption = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave out records of a task that hold no problem, such as an answer of null, instead of stopping; they "
        "are counted.",
    ),
]
KsOption = Annotated[
    str | None,
    typer.Option("--k", metavar="K,K,…", help="The k of Pass@k. Default: 1, 2, 4, … and n, the most samples."),
]
TausOption = Annotated[
    str | None,
    typer.Option(
        "--tau", metavar="τ,τ,…", help="The success rates of Cover@τ and G-Pass@k. Default: 0.25, 0.5, 0.75, 0.9."
    ),
]
ByOption = Annotated[str, typer.Option("--by", metavar="FIELD", help="The field that tells benchmarks apart.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the intervals.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="A folder in Hugging Face format, a hub name, countdown-0.4m or countdown5-0.5m, which ship, or a run or "
        "checkpoint of unsqueeze train; RUN/checkpoints/best is the best by the run's validation problems."
    ),
]
OptionalModelArgument = Annotated[str | None, get_args(ModelArgument)[1]]
TasksOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="A benchmark by name (eval --list-tasks), a data file (JSON Lines, JSON, Parquet), NAME for "
        "NAME.jsonl in --data-dir, a data set of the hub as hub:OWNER/NAME[:CONFIG]:SPLIT, or "
        "package.module:Class of your own. Repeatable.",
    ),
]
DataDirOption = Annotated[
    Path,
    typer.Option(
        "--data-dir", envvar="UNSQUEEZE_DATA", help="Where tasks are looked for by name, before the hub is asked."
    ),
]
LimitOption = Annotated[
    int | None, typer.Option(help="The first so many problems of each task. Default: all; countdown: 96.")
]
TemperatureOption = Annotated[float | None, typer.Option(help=f"Of the samples. {FROM_RUN} 0.7.")]
TopPOption = Annotated[float | None, typer.Option("--top-p", help=f"Nucleus of the samples; 1: no cut. {FROM_RUN} 1.")]
TopKOption = Annotated[
    int | None, typer.Option("--top-k", help=f"Most likely tokens sampled from; 0: no cut. {FROM_RUN} 0.")
]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(help=f"Longest response. {FROM_RUN} what the context leaves, at most 4096; countdown: 24."),
]
StopOption = Annotated[
    list[str] | None,
    typer.Option(
        "--stop", metavar="TEXT", help="A text that ends a response. Repeatable. Default: the run's, else none."
    ),
]
EndTokensOption = Annotated[
    list[str] | None,
    typer.Option(
        "--end-token",
        metavar="TOKEN",
        help="A token that ends a response, beside those that the model declares and the one that ends a turn in its "
        "chat template. Repeatable. Default: the run's, else none.",
    ),
]
StyleOption = Annotated[
    str | None,
    typer.Option(
        "--prompt-style",
        help="How to ask: qwen-math, deepseek-r1, chat or plain. auto: what the model's family was trained with. "
        "Default: as the run did, else auto.",
    ),
]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        help="The text around {problem}. Default: as the run did, else a request for reasoning and a \\boxed{} answer; "
        "countdown: none."
    ),
]
SystemOption = Annotated[str | None, typer.Option(help="The system message, for chat models. Default: the style's.")]
ProblemFieldOption = Annotated[
    str, typer.Option(help="The question's field in a file or a hub: data set, such as question or prompt.0.content.")
]
AnswerFieldOption = Annotated[str, typer.Option(help="The field of its gold answer.")]
MaxRowsOption = Annotated[
    int,
    typer.Option(
        "--max-rows", help="Responses generated side by side: memory and speed; of a server, requests at a time."
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(
        help="What samples: hf or vllm (docs/engines.md). vllm takes the device it was built for, and --device is then "
        "that of the model that scores (diagnose)."
    ),
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
ComputeDtypeOption = Annotated[str, typer.Option(help="Of forward passes: float32 or bfloat16.")]
ServerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="Ask the OpenAI-compatible server there for MODEL, the name it knows it by, instead of loading it. "
        "Repeatable: replicas share the work. A key is taken from UNSQUEEZE_API_KEY.",
    ),
]
RequestTimeoutOption = Annotated[
    float, typer.Option("--request-timeout", help="Seconds a server may take over one response (with --server).")
]


def judging(
    workers: WorkersOption = None,
    timeout_s: TimeoutOption = None,
    memory_mb: MemoryOption = None,
    credit: CreditOption = None,
) -> None:
    """Options of judging."""


def asking(
    tasks: TasksOption = None,
    temperature: TemperatureOption = None,
    max_tokens: MaxTokensOption = None,
    stop_strings: StopOption = None,
    end_tokens: EndTokensOption = None,
    prompt_style: StyleOption = None,
    template: TemplateOption = None,
    system: SystemOption = None,
    data_dir: DataDirOption = Path("data"),
    problem_field: ProblemFieldOption = "problem",
    answer_field: AnswerFieldOption = "answer",
    limit: LimitOption = None,
    skip_bad: SkipBadRecordsOption = False,
    seed: Annotated[int, typer.Option(help="Seed of the samples and of the intervals.")] = 0,
) -> None:
    """Options of asking a model."""


def loading(
    engine: EngineOption = "hf",
    max_rows: MaxRowsOption = 256,
    device: DeviceOption = "auto",
    compute_dtype: ComputeDtypeOption = "float32",
    servers: ServerOption = None,
    request_timeout: RequestTimeoutOption = 1800.0,
) -> None:
    """Options of loading a model, or of reaching it."""


Command = Callable[..., None]


def takes(*groups: Command) -> Callable[[Command], Command]:
    """Give a command the options of these groups beside its own; their values come to it as further keywords."""

    def decorate(command: Command) -> Command:
        own = signature(command)
        parameters = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
        for group in groups:
            parameters += signature(group).parameters.values()
        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return command

    return decorate


def model_of(
    model: str, given: dict[str, Any]
) -> tuple[Callable[[], "LoadedModel | ServedSource"], list[str], dict[str, Any]]:
    """Return a function that loads the model or connects to its servers, the tasks, and the settings that remain."""
    settings = dict(given)
    how = {name: settings.pop(name) for name in signature(loading).parameters}
    return partial(load, model, **how), settings.pop("tasks") or [], settings


def load(
    model: str, *, servers: list[str] | None, request_timeout: float, engine: str, **how: Any
) -> "LoadedModel | ServedSource":
    """Load the model, or connect to its servers."""
    from unsqueeze.api.evaluating import load_model, served

    if servers and engine != "hf":
        raise UserError(f"--engine {engine} and --server are both given; a server samples with an engine of its own.")
    if servers:
        return served(model, servers, request_timeout_s=request_timeout, concurrency=how["max_rows"])
    if engine == "vllm_server":
        raise UserError("--engine vllm_server: a server is asked with --server URL, and MODEL is the name it knows.")
    return load_model(model, engine=engine, **how)


def parse_ks(text: str | None) -> list[int] | None:
    """Read the ks of ``--k 1,8,128``; None where nothing was said."""
    if text is None:
        return None
    try:
        ks = sorted({int(part) for part in text.split(",")})
    except ValueError:
        ks = []
    if not ks or ks[0] < 1:
        raise UserError(f"--k {text}: give whole numbers from 1 on, separated by commas, such as 1,8,128.")
    return ks


def parse_taus(text: str | None) -> list[float] | None:
    """Read the τ of ``--tau 0.5,0.9``; None where nothing was said."""
    if text is None:
        return None
    try:
        taus = sorted({float(part) for part in text.split(",")})
    except ValueError:
        taus = []
    if not taus or not all(0 < tau <= 1 for tau in taus):
        raise UserError(f"--tau {text}: give shares above 0 and up to 1, separated by commas, such as 0.5,0.9.")
    return taus


def points(share: float) -> str:
    """Write a share as a percentage, or a dash where it is undefined."""
    return "–" if share != share else f"{100 * share:.1f}"


def chance(p_value: float) -> str:
    """Write a p-value; the smallest there are as below what is shown, and a dash where it is undefined."""
    return "–" if p_value != p_value else "<0.0001" if p_value < 1e-4 else f"{p_value:.4f}"


def begin(text: str, console: Console | None = None) -> Console:
    """Say at once what is begun, before anything large is loaded; return the console for what else is to be noted."""
    console = console or notes()
    console.print(f"{text} …", markup=False, highlight=False, emoji=False, soft_wrap=True)
    return console


def print_next(console: Console, commands: Mapping[str, str]) -> None:
    """Print the commands that are worth typing next, each with what it is for."""
    console.print("Next:", markup=False, highlight=False)
    for command, purpose in commands.items():
        console.print(f"  # {purpose}\n  {command}", markup=False, highlight=False, soft_wrap=True, emoji=False)


def notes() -> Console:
    """Return the console for everything that is not the result: standard error."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
