"""What ``eval`` and ``diagnose`` share: their options, the model, and the tasks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from unsqueeze.cli.options import one_of
from unsqueeze.errors import UserError

if TYPE_CHECKING:
    from unsqueeze.evaluation.benchmarks import Benchmark
    from unsqueeze.evaluation.resumable import Asked
    from unsqueeze.evaluation.sample_store import SampleStore
    from unsqueeze.policy.policy import Policy
    from unsqueeze.rollout.types import Engine, Sampling

ENGINES = ("hf", "vllm")
COUNTDOWN_MAX_TOKENS = 24
MOST_TOKENS = 4096
"""The longest response by default, where the model's context leaves more."""

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="A folder in Hugging Face format, a hub name, countdown-0.4m, or a run or checkpoint of unsqueeze train; "
        "RUN/checkpoints/best is the best by the run's validation problems."
    ),
]
TasksOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="TASK",
        help="A benchmark by name (--list-tasks), a JSONL file, NAME for NAME.jsonl in --data-dir, or a data set of "
        "the hub as hub:OWNER/NAME[:CONFIG]:SPLIT. Repeatable.",
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
TemperatureOption = Annotated[float, typer.Option(help="Of the samples.")]
TopPOption = Annotated[float, typer.Option("--top-p", help="Nucleus of the samples; 1: no cut.")]
TopKOption = Annotated[int, typer.Option("--top-k", help="Most likely tokens sampled from; 0: no cut.")]
MaxTokensOption = Annotated[
    int | None,
    typer.Option(help="Longest response. Default: what the context leaves, at most 4096; countdown: 24."),
]
StyleOption = Annotated[
    str,
    typer.Option(
        "--prompt-style",
        help="How to ask: qwen-math, deepseek-r1, chat or plain. auto: what the model's family was trained with.",
    ),
]
TemplateOption = Annotated[
    str | None,
    typer.Option(
        help="The text around {problem}. Default: asks for reasoning and a \\boxed{} answer; countdown: none."
    ),
]
SystemOption = Annotated[str | None, typer.Option(help="The system message, for chat models. Default: the style's.")]
ProblemFieldOption = Annotated[str, typer.Option(help="The question's field in a JSONL file or a hub: data set.")]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """How the user wants problems to be put; None (and the style ``auto``) leaves it to what fits task and model."""

    style: str
    template: str | None
    system: str | None
    max_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The prompts of a benchmark as its model takes them, the longest response, and how they were made."""

    prompts: Sequence[Any]
    max_tokens: int
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to be asked. ``name`` is what the user called it, ``path`` where it was found."""

    name: str
    path: str
    policy: "Policy"
    engine: "Engine"
    engine_name: str

    @property
    def context(self) -> int | None:
        return self.policy.context

    def questions(self, benchmark: "Benchmark", wishes: Wishes) -> Questions:
        """The token ids of every problem. UserError where they do not suit the model."""
        from unsqueeze.cli.asking import questions_to

        return questions_to(self, benchmark, wishes)

    def try_out(self, benchmark: "Benchmark", questions: Questions, sampling: "Sampling") -> None:
        """Nothing to find out: what a loaded model takes is known."""

    def identity(self) -> dict[str, Any]:
        """What must be the same for samples to belong to one evaluation: of a folder its weights, not its name."""
        from unsqueeze.evaluation.fingerprint import fingerprint

        weights = fingerprint(self.path)
        return {"hub_name": self.name if weights is None else None, "weights": weights}

    def told(self) -> dict[str, Any]:
        """What is written down beside that, and may differ."""
        return {"engine": self.engine_name}

    def draw_missing(
        self,
        store: "SampleStore",
        asked: "Asked",
        n: int,
        *,
        seed: int,
        max_rows: int,
        on_finished: Callable[[int], None],
    ) -> None:
        """Bring every problem to ``n`` samples; see ``evaluation.resumable``."""
        from unsqueeze.evaluation.resumable import draw_missing

        draw_missing(store, self.engine, asked, n, seed=seed, max_rows=max_rows, on_finished=on_finished)


def load_model(
    model: str, *, device: str, compute_dtype: str, max_rows: int, engine: str = "hf", seed: int = 0
) -> LoadedModel:
    """The model and an engine on it. UserError where there is none."""
    from unsqueeze.cli.train_arms import silence_transformers
    from unsqueeze.config.load import check_recipe
    from unsqueeze.config.recipe import ModelSettings
    from unsqueeze.policy.policy import Policy, resolve_model
    from unsqueeze.rollout.engines import make_engine

    one_of("--engine", engine, ENGINES)
    one_of("--device", device, get_args(ModelSettings.model_fields["device"].annotation))
    one_of("--compute-dtype", compute_dtype, get_args(ModelSettings.model_fields["compute_dtype"].annotation))
    if max_rows < 1:
        raise UserError(f"--max-rows {max_rows}: give 1 or more.")
    path = checkpoint_of(model)
    settings = check_recipe(
        {
            "name": "model",
            "seed": seed,
            "model": {"path": path, "device": device, "compute_dtype": compute_dtype},
            "rollout": {"max_rows": max_rows, "engine": engine, "vllm": {"sleep": False}},
        },
        "of the command line",
    )
    silence_transformers()
    policy = Policy.load(settings.model)
    return LoadedModel(model, resolve_model(path), policy, make_engine(settings.rollout, policy), engine)


def checkpoint_of(model: str) -> str:
    """The policy of a checkpoint, of the last one where the path is a run, of the best for RUN/checkpoints/best;
    otherwise the path as it is."""
    from unsqueeze.store.best import best_checkpoint
    from unsqueeze.store.run_directory import RunDirectory

    path = Path(model)
    if (path / "run.json").is_file():
        checkpoints = RunDirectory.open(path).checkpoints
        step = checkpoints.latest()
        if step is None:
            raise UserError(f"{model} is a run without a checkpoint yet; give a model, or train further.")
        path = checkpoints.path(step)
    elif path.name == "best" and (path.parent.parent / "run.json").is_file():
        run = RunDirectory.open(path.parent.parent)
        best = best_checkpoint(run)
        if best is None:
            raise UserError(
                f"{model}: no checkpoint of this run was validated, and test problems must not choose the best one; "
                f"name a checkpoint, or train with data.num_validation."
            )
        path = run.checkpoints.path(best.step)
    return str(path / "policy") if (path / "policy" / "config.json").is_file() else model
