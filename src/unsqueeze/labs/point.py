"""The evaluation of a free point: a run's last policies, averaged, mixed with the base model, or sampled otherwise."""

from pathlib import Path

from transformers import PreTrainedModel

from unsqueeze.config.load import check_recipe, merged
from unsqueeze.config.recipe import Recipe
from unsqueeze.evaluation.benchmarks import own_benchmark
from unsqueeze.evaluation.evaluate import evaluate_source
from unsqueeze.evaluation.models import LoadedModel
from unsqueeze.evaluation.settings import Given, last_policies, settle
from unsqueeze.labs.gather import tally_of
from unsqueeze.metrics.cover import TAUS
from unsqueeze.metrics.summary import powers_of_two_up_to
from unsqueeze.policy.averaging import average_weights, mean_weights
from unsqueeze.policy.loading import without_progress_bars
from unsqueeze.policy.policy import Policy
from unsqueeze.progress import Progress, StopRequest
from unsqueeze.rollout.engines import make_engine
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.training.setup import load_parts


def evaluate_point(
    recipe: Recipe,
    run: Path,
    out: Path,
    *,
    share: float,
    last: int,
    temperature: float,
    progress: Progress,
    stop: StopRequest,
) -> None:
    """Evaluate θ = (1 − share)·θ_base + share·θ_run on the run's held-out problems, as the run does, into ``out``.

    θ_run is the mean over the ``last`` checkpoints of the run.
    """
    without_progress_bars()
    *earlier, path = last_policies(str(run), last)
    changes = {
        "model": {"path": path, "lora": None},
        "rl": {"kl_coefficient": 0.0, "reset": None, "dph": None},  # no reference is needed
        "irl": None,
    }
    parts = load_parts(check_recipe(merged(recipe.model_dump(), changes), f"of {run}"), progress=progress)
    mean_weights(parts.policy.model, (_weights(recipe, each) for each in earlier))
    if share < 1:
        average_weights(_weights(recipe, recipe.model.path), parts.policy.model, share)
    engine = make_engine(recipe.rollout, parts.policy)
    engine.sync(parts.policy)
    weights = path if last == 1 else f"the last {last} checkpoints of {run}"
    source = LoadedModel(
        name=f"{share:g} of {weights}" + (f", {1 - share:g} of {recipe.model.path}" if share < 1 else ""),
        path=parts.policy.path,
        policy=parts.policy,
        engine=engine,
        engine_name=recipe.rollout.engine,
        max_rows=recipe.rollout.max_rows,
        compute_dtype=recipe.model.compute_dtype,
        run=RunDirectory.open(run),
    )
    evals = RunDirectory.open(run).evals
    name = tally_of(evals.samples_path(0)).benchmarks[0]  # so that problems are told to be the same
    evaluate_source(
        source,
        [own_benchmark(name, parts.data.test, "run")],
        settle(Given(temperature=temperature), source.run),
        out=out,
        n=recipe.evaluation.n,
        ks=powers_of_two_up_to(recipe.evaluation.n),
        taus=TAUS,
        seed=recipe.seed,
        model=source.name,
        verifier=None,
        progress=progress,
        stop=stop,
    )


def _weights(recipe: Recipe, path: str) -> PreTrainedModel:
    return Policy.load(recipe.model.model_copy(update={"path": path, "lora": None})).model
