"""Names and passwords of servers stand in no record and no message."""

import json
import sys

import pytest
import yaml

from small_runs import small_recipe
from unsqueeze.api.recipes import as_recipe
from unsqueeze.config.load import apply_overrides, check_recipe
from unsqueeze.credentials import without_credentials
from unsqueeze.errors import UserError
from unsqueeze.store.provenance import provenance
from unsqueeze.training.same_run import differences

SECRET = "http://me:geheim@node1:8000/v1"
PLAIN = "http://node1:8000/v1"
SERVED = {"rollout": {"engine": "vllm_server", "server": {"urls": [SECRET]}}}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (SECRET, PLAIN),
        (PLAIN, PLAIN),
        ("https://token@host", "https://host"),
        ("http://me:p@ss/w?o#rd@host/v1", "http://host/v1"),
        ("http://me:two words@host/v1", "http://host/v1"),
        (
            f"--set=rollout.server.urls=[{SECRET}, {SECRET},{PLAIN}]",
            f"--set=rollout.server.urls=[{PLAIN}, {PLAIN},{PLAIN}]",
        ),
        ("no address: a@b", "no address: a@b"),
    ],
)
def test_what_stands_before_the_host_goes(text: str, left: str):
    assert without_credentials(text) == left


def test_records_of_a_recipe_have_no_password_and_the_recipe_has():
    recipe = small_recipe(**SERVED)
    assert recipe.rollout.server.urls == (SECRET,)
    assert recipe.model_dump(mode="json")["rollout"]["server"]["urls"] == [PLAIN]
    assert "geheim" not in recipe.model_dump_json() + repr(recipe) + str(recipe.rollout)
    # Overrides from Python keep it, and a run goes on with another one.
    assert as_recipe(recipe, ["rl.steps=3"]).rollout.server.urls == (SECRET,)
    assert not list(differences(recipe.model_dump(mode="json"), small_recipe(**SERVED).model_dump(mode="json")))


def test_the_recorded_command_line_has_none(monkeypatch: pytest.MonkeyPatch):
    given = ["unsqueeze", "eval", "--server", SECRET, f"--server={SECRET}", "--server", "http://me:ge/he@im@node1/v1"]
    monkeypatch.setattr(sys, "argv", given)
    assert provenance()["argv"] == [
        "unsqueeze",
        "eval",
        "--server",
        PLAIN,
        f"--server={PLAIN}",
        "--server",
        "http://node1/v1",
    ]


@pytest.mark.parametrize(
    "override",
    [
        f"rollout.server.urls={SECRET}",
        f"rollout.server.url=[{SECRET}]",
        f"rollout.server.urls={{a: '{SECRET}'}}",
        f"rollout.server.urls=['{SECRET}', 3]",
        f"rollout.server.urls=['{SECRET}'",
        f"rollout.server.urls=[{SECRET.replace('geheim', 'geheim' * 40)}",
        f"{SECRET}",
        f"rollout.server.timeout_s={SECRET}",
    ],
)
def test_a_refused_setting_is_shown_without_it(override: str):
    with pytest.raises(UserError) as caught:
        check_recipe(apply_overrides(small_recipe().model_dump(mode="json"), [override]), "mine")
    assert "geheim" not in str(caught.value)


def test_a_recipe_that_is_no_yaml_is_refused_without_it(tmp_path):
    from unsqueeze.config.load import load_recipe

    path = tmp_path / "mine.yaml"
    for text in (f"rollout: {{server: {{urls: [{SECRET}}}", f"a: [{SECRET}\nb: c: {SECRET}", f"a: '{SECRET}"):
        path.write_text(text)
        with pytest.raises(UserError, match="this is not YAML") as caught:
            load_recipe(str(path))
        assert "geheim" not in str(caught.value)


def test_a_printed_recipe_has_none(command, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(json.loads(small_recipe().model_dump_json()) | SERVED))
    code, printed, err = command("train", str(path), "--dry-run")
    assert code == 0, err
    assert PLAIN in printed
    assert "geheim" not in printed + err
