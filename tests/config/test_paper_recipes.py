"""Every constant that the paper states (arXiv 2604.16995, §5.1 and Table 2), against every recipe of it."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

import unsqueeze as uq
from unsqueeze.cli.main import app
from unsqueeze.config.load import arms_of, load_recipe, shipped_recipes
from unsqueeze.config.recipe import Recipe

SCRIPT = Path(__file__).parents[2] / "scripts" / "paper_recipes.py"

# Written down from the paper by hand, and from nowhere else.
EVERYWHERE: dict[str, Any] = {
    "data.kind": "jsonl",
    "rollout.temperature": 1.0,
    "rl.prompts_per_step": 16,  # 128 completions a step ...
    "rl.group_size": 8,  # ... 8 of each prompt
    "rl.learning_rate": 5e-7,
    "rl.steps": 700,
    "evaluation.n": 128,
    "evaluation.temperature": 0.7,
    "evaluation.every_steps": 100,
    "checkpoint.every_steps": 100,
}
MODELS = {"1.5b": "Qwen/Qwen2.5-Math-1.5B", "7b": "Qwen/Qwen2.5-Math-7B"}
SIZES = {"3k": 3_000, "5k": 5_000, "10k": 10_000}
METHODS: dict[str, dict[str, Any]] = {
    "grpo": {
        "rl.surrogate.kl_coefficient": 0.01,
        "rl.surrogate.ratio": "token",
        "rl.surrogate.aggregation": "sequence_mean",
        "rl.surrogate.clip_low": 0.2,
        "rl.surrogate.clip_high": 0.2,
        "rl.steps_per_generation": 1,
        "rl.dynamic_sampling": None,
        "rl.overlong": None,
    },
    "dapo": {
        "rl.surrogate.kl_coefficient": 0.0,
        "rl.surrogate.ratio": "token",
        "rl.surrogate.aggregation": "token_mean",
        "rl.surrogate.clip_low": 0.2,
        "rl.surrogate.clip_high": 0.28,
        "rl.steps_per_generation": 1,
        "rl.dynamic_sampling.max_resample_times": 3,
        "rl.overlong.soft_cache_length": 2048,
    },
    "gspo": {
        "rl.surrogate.kl_coefficient": 0.0,
        "rl.surrogate.ratio": "sequence",
        "rl.surrogate.aggregation": "sequence_mean",
        "rl.surrogate.clip_low": 3e-4,
        "rl.surrogate.clip_high": 4e-4,
        "rl.steps_per_generation": 4,
        "rl.dynamic_sampling": None,
        "rl.overlong": None,
    },
}
SPS: dict[str, Any] = {"irl.k": 3, "irl.batch_size": 512, "irl.learning_rate": 5e-10, "irl.steps": 4}

# Our choices where the paper is silent: changing one is a decision, to be written into docs/paper.md.
OURS: dict[str, Any] = {
    "rollout.max_tokens": 3072,
    "rl.reference": "base",
    "rl.surrogate.advantage_scale": "sample_std",
    "rl.surrogate.entropy_coefficient": 0.0,
    "rl.weight_decay": 0.0,
    "rl.sampler_correction": None,
    # How it runs, and which checkpoints stay: nothing of the method.
    "model.compute_dtype": "bfloat16",
    "model.gradient_checkpointing": True,
    "rollout.engine": "vllm",
    "data.num_validation": 64,
    "checkpoint.keep_last": 1,
}
STRATEGY = {"1.5b": "ddp", "7b": "fsdp"}
GPUS = {"1.5b": 1, "7b": 8}
OURS_IRL: dict[str, Any] = {
    "irl.every_passes": 1.0,
    "irl.pool": "negatives_first",
    "irl.quantile": 0.5,
    "irl.likelihood": "mean",
    "irl.aggregation": "sequence_mean",
    "irl.optimizer_state": "fresh",
    "irl.schedule": "constant",
    "irl.weight_decay": 0.0,
    "irl.kl_budget": None,
    "irl.passes": None,
}

CASES = [(model, size, method) for model in MODELS for size in SIZES for method in METHODS]
PAPER = [f"paper/{model}-{size}-{sps}{method}" for model, size, method in CASES for sps in ("", "sps-")]
CALIBRATED = [f"calibrated/{model}-{size}-sps-{method}" for model, size, method in CASES]


def value(recipe: Recipe, path: str) -> Any:
    found: Any = recipe
    for name in path.split("."):
        found = getattr(found, name)
    return found


def differences(recipe: Recipe, expected: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What a recipe says otherwise: path -> (its value, the expected one)."""
    return {path: (value(recipe, path), want) for path, want in expected.items() if value(recipe, path) != want}


def plain(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(exclude={"name", "description"})


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("paper_recipes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_of_them_ship_and_no_others() -> None:
    assert len(PAPER) == 36
    shipped = {name for name in shipped_recipes() if name.startswith(("paper/", "calibrated/"))}
    assert shipped == {*PAPER, *CALIBRATED}


@pytest.mark.parametrize(("model", "size", "method"), CASES)
def test_constants_of_the_paper(model: str, size: str, method: str) -> None:
    expected = EVERYWHERE | METHODS[method] | {"model.path": MODELS[model], "data.num_train": SIZES[size]} | OURS
    expected["parallel.strategy"] = STRATEGY[model]
    alone = load_recipe(f"paper/{model}-{size}-{method}")
    under_sps = load_recipe(f"paper/{model}-{size}-sps-{method}")
    assert differences(alone, expected) == {}
    assert alone.irl is None
    assert differences(under_sps, expected | SPS | OURS_IRL) == {}


@pytest.mark.parametrize(("model", "size", "method"), CASES)
def test_sps_differs_from_its_baseline_by_the_irl_phases_alone(model: str, size: str, method: str) -> None:
    alone = plain(load_recipe(f"paper/{model}-{size}-{method}"))
    under_sps = plain(load_recipe(f"paper/{model}-{size}-sps-{method}"))
    assert under_sps | {"irl": None} == alone


@pytest.mark.parametrize(("model", "size", "method"), CASES)
def test_the_calibrated_twin_differs_by_the_irl_step_size_alone(model: str, size: str, method: str) -> None:
    literal = plain(load_recipe(f"paper/{model}-{size}-sps-{method}"))
    twin = plain(load_recipe(f"calibrated/{model}-{size}-sps-{method}"))
    measured = arms_of(load_recipe("quickstart"), "quickstart")["sps"]
    assert measured.irl is not None
    ratio = measured.irl.learning_rate / measured.rl.learning_rate
    assert twin["irl"]["learning_rate"] == pytest.approx(ratio * twin["rl"]["learning_rate"])
    assert twin | {"irl": twin["irl"] | {"learning_rate": 5e-10}} == literal


def test_phases_of_the_papers_schedule() -> None:
    # 16 problems a step: a pass over 3,000, 5,000 and 10,000 is 187.5, 312.5 and 625 steps; IRL follows each.
    ends = {"3k": [188, 375, 563], "5k": [313, 625], "10k": [625]}
    for size, expected in ends.items():
        recipe = load_recipe(f"paper/1.5b-{size}-sps-grpo")
        assert [p.last_step for p in recipe.phases(SIZES[size]) if p.kind == "irl"] == expected


def test_the_files_are_what_the_script_writes(script: ModuleType) -> None:
    texts = script.recipes()
    assert set(texts) == {f"{name}.yaml" for name in (*PAPER, *CALIBRATED)}
    for name, text in texts.items():
        on_disk = (script.RECIPES / name).read_text(encoding="utf-8")
        assert on_disk == text, f"{name} was changed by hand; change scripts/paper_recipes.py and run it"


@pytest.mark.parametrize("name", [*PAPER, *CALIBRATED])
def test_each_fits_the_devices_that_its_file_names(name: str, script: ModuleType) -> None:
    model = name.partition("/")[2].partition("-")[0]
    (needed,) = uq.plan(name, gpus=GPUS[model], memory=80).values()
    assert needed.fits
    assert needed.savings == []
    text = (script.RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    assert f"# Fits {GPUS[model]} GPU{'s' * (GPUS[model] > 1)} of 80 GB" in text


@pytest.mark.parametrize("name", [*PAPER, *CALIBRATED])
def test_dry_run_resolves_and_prints(name: str) -> None:
    result = CliRunner().invoke(app, ["train", name, "--dry-run"])
    assert result.exit_code == 0, result.output
    assert f"name: {load_recipe(name).name}" in result.output


def test_names_are_run_directories_of_their_own() -> None:
    names = [load_recipe(name).name for name in (*PAPER, *CALIBRATED)]
    assert len(set(names)) == len(names)
