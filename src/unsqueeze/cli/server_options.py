"""What ``eval`` and ``diagnose`` share where the model is behind a server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unsqueeze.cli.model_options import (
    COUNTDOWN_MAX_TOKENS,
    ENGINES,
    MOST_TOKENS,
    LoadedModel,
    Questions,
    Wishes,
    load_model,
)
from unsqueeze.errors import UserError

if TYPE_CHECKING:
    from unsqueeze.evaluation.benchmarks import Benchmark
    from unsqueeze.evaluation.resumable import Asked
    from unsqueeze.evaluation.sample_store import SampleStore
    from unsqueeze.rollout.served import ServedModel
    from unsqueeze.rollout.types import Sampling

REQUEST_TIMEOUT_S = 1800.0

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


@dataclass(frozen=True, slots=True)
class ServedSource:
    """A model behind servers, to be asked like a ``LoadedModel``."""

    engine: "ServedModel"

    def questions(self, benchmark: "Benchmark", wishes: Wishes) -> Questions:
        """The text of every problem: a chat, unless the style is ``plain``. UserError for wishes that do not fit.

        The server applies its chat template, so that a response cannot be opened for the model. Half of the server's
        context is left to the response, since the tokens of a prompt are counted there.
        """
        from unsqueeze.cli.asking import record_of, wording_for

        style, used = wording_for(self.engine.name, True, benchmark, wishes)
        if used.mode == "chat":
            used = replace(used, opening="")
        most = COUNTDOWN_MAX_TOKENS if benchmark.kind == "countdown" else MOST_TOKENS
        context = self.engine.reported.context
        room = most if context is None else max(1, min(most, context // 2))
        return Questions(
            prompts=[used.prompt(problem.prompt) for problem in benchmark.problems],
            max_tokens=room if wishes.max_tokens is None else wishes.max_tokens,
            record=record_of(style, used),
        )

    def try_out(self, benchmark: "Benchmark", questions: Questions, sampling: "Sampling") -> None:
        """Draw one token, so that what the server refuses is known before anything is written.

        UserError with the server's words, and what may help.
        """
        from unsqueeze.rollout.replicas import RefusedError

        try:
            self.engine.try_out(questions.prompts[0], sampling)
        except RefusedError as error:
            hint = (
                " A model without a chat template is asked with --prompt-style plain."
                if "template" in str(error)
                else ""
            )
            raise UserError(f"{benchmark.name}: {error}{hint}") from None

    def identity(self) -> dict[str, Any]:
        """What must be the same for samples to belong to one evaluation: names, for there are no weights to look at."""
        model = self.engine
        return {"hub_name": None, "weights": None, "served_model": model.name, "served_root": model.reported.root}

    def told(self) -> dict[str, Any]:
        """Where the samples came from last: the same model may be served elsewhere tomorrow."""
        return {"servers": self.engine.replicas.names, "server_version": self.engine.reported.version}

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
        """Bring every problem to ``n`` samples; see ``evaluation.served``."""
        from unsqueeze.evaluation.served import draw_missing_served

        draw_missing_served(store, self.engine, asked, n, seed=seed, on_finished=on_finished)


def load_or_connect(
    model: str,
    servers: Sequence[str] | None,
    *,
    request_timeout_s: float,
    device: str,
    compute_dtype: str,
    max_rows: int,
    engine: str,
    seed: int,
) -> LoadedModel | ServedSource:
    """The model, loaded here or behind its servers.

    UserError where there is none, RunError where a server cannot be reached.
    """
    if engine == "vllm_server" and not servers:
        raise UserError(
            f"--engine vllm_server: a server is asked with --server URL, and MODEL is the name it knows the model by; "
            f"--engine is one of {', '.join(ENGINES)}."
        )
    if not servers:
        return load_model(
            model, device=device, compute_dtype=compute_dtype, max_rows=max_rows, engine=engine, seed=seed
        )
    if engine != "hf":
        raise UserError(f"--engine {engine} and --server are both given; a server samples with an engine of its own.")
    from unsqueeze.rollout.replicas import Patience, Replicas
    from unsqueeze.rollout.served import ServedModel

    replicas = Replicas(servers, concurrency=max_rows, patience=Patience(timeout_s=request_timeout_s))
    return ServedSource(ServedModel.connect(replicas, model))
