"""Settings travel with a run: as given, else as its recipe says, else the defaults of recipes."""

from pathlib import Path
from typing import Any

import pytest

from small_runs import small_recipe
from unsqueeze.config.rollout_settings import VerifySettings
from unsqueeze.config.run_settings import EvaluationSettings
from unsqueeze.errors import UserError
from unsqueeze.evaluation.settings import Given, run_of, settle, verify_settings
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.tasks.styles import Wording

OF_RUN: dict[str, Any] = {
    "prompt": {"template": "Q: {problem}"},
    "rollout": {"max_tokens": 17, "stop": ["\n"]},
    "evaluation": {"temperature": 0.9, "top_p": 0.8},
    "verify": {"credit": "boxed", "timeout_s": 3.0},
}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory.create(tmp_path / "run", {"recipe": small_recipe(**OF_RUN).model_dump(mode="json")})
    directory.close()
    return directory


def test_without_a_run_they_are_the_defaults_of_recipes():
    settings = settle(Given(), None)
    assert settings.verify == VerifySettings()
    assert (settings.credit, settings.verify.timeout_s) == ("anywhere", 10.0)
    assert (settings.verify.workers, settings.verify.memory_mb) == (2, 320)
    assert settings.temperature == EvaluationSettings().temperature == 0.7
    assert (settings.max_tokens, settings.stop, settings.wording) == (None, (), None)
    assert settings.describe_run() is None


def test_a_run_says_how_it_is_asked(run: RunDirectory):
    settings = settle(Given(), run)
    assert settings.wording == Wording(template="Q: {problem}")
    assert settings.sampling(17).stop == ("\n",)
    assert (settings.max_tokens, settings.temperature, settings.top_p, settings.top_k) == (17, 0.9, 0.8, 0)
    assert (settings.credit, settings.verify.timeout_s) == ("boxed", 3.0)
    told = settings.describe_run()
    assert told is not None
    for words in (
        str(run.path / "run.json"),
        "prompt plain",
        "credit boxed",
        "timeout_s 3 s",
        "max_tokens 17",
        "temperature 0.9",
        "top_p 0.8",
        r"stop ['\n']",
    ):
        assert words in told
    assert "top_k" not in told  # it cuts nothing


def test_what_is_given_comes_first(run: RunDirectory):
    given = Given(style="chat", max_tokens=5, temperature=0.0, top_p=1.0, stop=(), credit="final_answer", timeout_s=1.0)
    settings = settle(given, run)
    assert (settings.style, settings.wording) == ("chat", None)
    assert (settings.max_tokens, settings.temperature, settings.top_p, settings.stop) == (5, 0.0, 1.0, ())
    assert (settings.credit, settings.verify.timeout_s) == ("final_answer", 1.0)
    assert settings.from_run == ()
    assert settings.describe_run() is None
    part = settle(Given(credit="anywhere"), run)
    assert "credit" not in part.from_run
    assert "temperature" in part.from_run


def test_one_word_of_the_prompt_replaces_the_runs(run: RunDirectory):
    settings = settle(Given(template="{problem}"), run)
    assert (settings.wording, settings.template) == (None, "{problem}")
    assert "prompt" not in settings.from_run


def test_which_paths_lie_in_a_run(run: RunDirectory):
    step = run.path / "checkpoints" / "step-000010"
    (step / "policy").mkdir(parents=True)
    for path in (run.path, step, step / "policy", run.path / "checkpoints" / "best"):
        found = run_of(str(path))
        assert found is not None, path
        assert found.path == run.path
    for path in (run.path / "evals", run.path.parent, Path("countdown-0.4m")):
        assert run_of(str(path)) is None, path


def test_a_wrong_setting_is_named():
    with pytest.raises(UserError, match=r"verify\.timeout_s is -1"):
        verify_settings(timeout_s=-1.0)
    with pytest.raises(UserError, match="credit"):
        settle(Given(credit="everywhere"), None)
