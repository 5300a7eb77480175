"""The wheel alone is enough: installed elsewhere, it has the recipes and the embedded model, and it trains."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the wheel of this checkout in it.

    torch and the other dependencies come from the environment of the tests by a path file. Path files inside that
    folder, such as the one of an editable installation, are not read through it, so this checkout's source is not seen.
    """
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    subprocess.run(
        [*pip, "--python", str(folder / "env"), "install", "--no-deps", "--no-index", str(wheel)], check=True
    )
    (site_packages,) = (folder / "env").glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "env"


def run_in(environment: Path, folder: Path, *command: str) -> str:
    """What ``command`` of the environment prints, run in ``folder``; the test fails if the command does."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    program = [str(environment / "bin" / command[0]), *command[1:]]
    result = subprocess.run(program, cwd=folder, env=clean, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_installed_command_gives_help(environment: Path, tmp_path: Path) -> None:
    assert "train" in run_in(environment, tmp_path, "unsqueeze", "--help")


def test_recipes_and_model_are_those_of_the_installed_package(environment: Path, tmp_path: Path) -> None:
    code = (
        "import unsqueeze.models as m, unsqueeze.config.load as c; print(m.embedded_model_path(), *c.shipped_recipes())"
    )
    model, *recipes = run_in(environment, tmp_path, "python", "-c", code).split()
    assert Path(model).is_relative_to(environment)
    assert (Path(model) / "model.safetensors").is_file()
    assert {"quickstart", "smoke"} <= set(recipes)


def test_two_steps_of_training_from_another_directory(environment: Path, tmp_path: Path) -> None:
    printed = run_in(environment, tmp_path, "unsqueeze", "train", "smoke", "--run", "first")
    assert "Avg@8" in printed
    assert "Pass@8" in printed
    assert "first" in printed.splitlines()[-1]
    run = tmp_path / "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["first"]
    assert [path.name for path in sorted((run / "rollouts").iterdir())] == [
        "step-000001.parquet",
        "step-000002.parquet",
    ]
    assert len(list((run / "demos").iterdir())) == 1
    assert list(run.glob("checkpoints/*/policy/model.safetensors"))
    assert list(run.glob("evals/*.json"))
    info = json.loads((run / "run.json").read_text())
    assert Path(info["argv"][0]).is_relative_to(environment)
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {step["kind"] for step in steps} == {"rl", "irl"}
    events = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "finished"
