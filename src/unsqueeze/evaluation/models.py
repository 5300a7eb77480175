"""Models to be evaluated: loaded here, or behind servers. Both are asked alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from unsqueeze.config.load import checked
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.config.rollout_settings import RolloutSettings
from unsqueeze.errors import UserError
from unsqueeze.evaluation.benchmarks import Benchmark, own_benchmark
from unsqueeze.evaluation.draw import draw_missing, draw_missing_served
from unsqueeze.evaluation.fingerprint import fingerprint
from unsqueeze.evaluation.questions import Asked, Questions, questions_of_text, questions_of_tokens
from unsqueeze.evaluation.settings import EvalSettings, Given, checkpoint_of, run_of, settle
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.policy.policy import Policy
from unsqueeze.rollout.completions import check_request
from unsqueeze.rollout.engines import make_engine
from unsqueeze.rollout.replicas import Patience, RefusedError, Replicas
from unsqueeze.rollout.served import ServedModel
from unsqueeze.rollout.types import Completion, Engine, Sampler, Sampling
from unsqueeze.seeds import prompt_seeds
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.store.samples import Samples
from unsqueeze.tasks.problem import Problem
from unsqueeze.tasks.turns import named_tokens

REQUEST_TIMEOUT_S = 1800.0
ENGINES = ("hf", "vllm")


class Source(Protocol):
    """Source of answers for an evaluation: a model with the means to draw from it."""

    @property
    def sampler(self) -> Sampler: ...

    @property
    def run(self) -> RunDirectory | None:
        """The run that the model comes from."""
        ...

    def questions(self, benchmark: Benchmark, settings: EvalSettings) -> Questions: ...

    def try_out(self, benchmark: Benchmark, questions: Questions) -> None:
        """Find out, before anything is written, what the model refuses."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what must be the same for samples to belong to one evaluation."""
        ...

    def told(self) -> dict[str, Any]:
        """Return what is written down beside that, and may differ."""
        ...

    def draw(
        self,
        samples: Samples,
        asked: Asked,
        n: int,
        *,
        seed: int,
        on_finished: Callable[[int], None],
        check_stop: Callable[[], None],
    ) -> None:
        """Bring every problem to ``n`` samples."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in this process. ``name`` is what the user called it, ``path`` where it was found."""

    name: str
    path: str
    policy: Policy
    engine: Engine
    engine_name: str
    max_rows: int
    compute_dtype: str
    run: RunDirectory | None = None

    @property
    def sampler(self) -> Sampler:
        return self.engine

    def questions(self, benchmark: Benchmark, settings: EvalSettings) -> Questions:
        return questions_of_tokens(benchmark, settings, model=self.path, policy=self.policy)

    def prompts(self, problems: Sequence[Problem]) -> Sequence[Sequence[int]]:
        """Return the token ids of each problem, as this model is asked where nothing else is said."""
        return self.questions(own_benchmark("own", problems, "given"), settle(Given(), self.run)).prompts

    def sample(
        self, problems: Sequence[Problem], n: int, *, max_tokens: int, temperature: float = 1.0, seed: int = 0
    ) -> list[list[Completion]]:
        """Draw ``n`` responses to each problem under the weights as they are now. Nothing is judged or stored.

        Responses end where those of the run do that the model comes from.
        """
        seeds = prompt_seeds(seed, len(problems))
        settings = settle(Given(), self.run)
        end_ids = named_tokens(settings.end_tokens, self.policy.tokenizer)
        sampling = Sampling(max_tokens=max_tokens, temperature=temperature, stop=settings.stop, end_ids=end_ids)
        return self.engine.generate(self.prompts(problems), n, sampling, seeds=seeds)

    def try_out(self, benchmark: Benchmark, questions: Questions) -> None:
        """Check every prompt, so that none is refused after others were answered."""
        check_request(
            questions.prompts,
            1,
            questions.sampling,
            vocabulary=self.policy.vocabulary,
            context=self.policy.context,
            engine=self.engine_name,
        )

    def identity(self) -> dict[str, Any]:
        """Return the weights of a folder, not its name."""
        weights = fingerprint(self.path)
        return {
            "hub_name": self.name if weights is None else None,
            "weights": weights,
            "compute_dtype": self.compute_dtype,
        }

    def told(self) -> dict[str, Any]:
        return {"engine": self.engine_name}

    def draw(
        self,
        samples: Samples,
        asked: Asked,
        n: int,
        *,
        seed: int,
        on_finished: Callable[[int], None],
        check_stop: Callable[[], None],
    ) -> None:
        draw_missing(
            samples,
            self.engine,
            asked,
            n,
            seed=seed,
            max_rows=self.max_rows,
            on_finished=on_finished,
            check_stop=check_stop,
        )


@dataclass(frozen=True, slots=True)
class ServedSource:
    """A model behind servers, to be asked like a ``LoadedModel``."""

    engine: ServedModel
    run: RunDirectory | None = None

    @property
    def name(self) -> str:
        return self.engine.name

    @property
    def sampler(self) -> Sampler:
        return self.engine

    def questions(self, benchmark: Benchmark, settings: EvalSettings) -> Questions:
        return questions_of_text(benchmark, settings, served=self.engine)

    def try_out(self, benchmark: Benchmark, questions: Questions) -> None:
        """Draw one token, so that what the server refuses is known before anything is written.

        UserError with the server's words, and what may help.
        """
        try:
            self.engine.try_out(questions.prompts[0], questions.sampling)
        except RefusedError as error:
            hint = (
                " A model without a chat template is asked with the prompt style plain."
                if "template" in str(error)
                else ""
            )
            raise UserError(f"{benchmark.name}: {error}{hint}") from None

    def identity(self) -> dict[str, Any]:
        """Names, for there are no weights to look at."""
        model = self.engine
        return {
            "hub_name": None,
            "weights": None,
            "served_model": model.name,
            "served_root": model.reported.root,
            "compute_dtype": None,
        }

    def told(self) -> dict[str, Any]:
        """Return where the samples came from last: the same model may be served elsewhere tomorrow."""
        return {"servers": self.engine.replicas.names, "server_version": self.engine.reported.version}

    def draw(
        self,
        samples: Samples,
        asked: Asked,
        n: int,
        *,
        seed: int,
        on_finished: Callable[[int], None],
        check_stop: Callable[[], None],
    ) -> None:
        draw_missing_served(samples, self.engine, asked, n, seed=seed, on_finished=on_finished, check_stop=check_stop)


def load_model(
    model: str,
    *,
    device: str = "auto",
    compute_dtype: str = "float32",
    max_rows: int = 256,
    engine: str = "hf",
) -> LoadedModel:
    """Load a model, or the policy of a run or a checkpoint, with an engine on it. UserError where there is none."""
    path = checkpoint_of(model)
    settings = checked(ModelSettings, {"path": path, "device": device, "compute_dtype": compute_dtype}, "model")
    if engine == "vllm_server":
        raise UserError("the engine is vllm_server, which trains; a model behind a server is asked by its address.")
    rollout = checked(RolloutSettings, {"engine": engine, "max_rows": max_rows, "vllm": {"sleep": False}}, "rollout")
    without_progress_bars()
    policy = Policy.load(settings)
    return LoadedModel(
        name=model,
        path=policy.path,
        policy=policy,
        engine=make_engine(rollout, policy),
        engine_name=engine,
        max_rows=max_rows,
        compute_dtype=compute_dtype,
        run=run_of(model),
    )


def served(
    model: str,
    servers: Sequence[str],
    *,
    request_timeout_s: float = REQUEST_TIMEOUT_S,
    concurrency: int = 64,
) -> ServedSource:
    """Connect to a model by the name that OpenAI-compatible servers know it by; replicas share the work.

    UserError where a server does not have it, RunError where one cannot be reached.
    """
    replicas = Replicas(servers, concurrency=concurrency, patience=Patience(timeout_s=request_timeout_s))
    return ServedSource(ServedModel.connect(replicas, model))
