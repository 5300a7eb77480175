"""Every setting given wrongly in every way: its name, what was given and what is allowed in one sentence, no jargon."""

import re

import pytest
import yaml

from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.config.left_out import left_out
from unsqueeze.config.load import arms_of, check_recipe, checked, load_recipe, shipped_recipes
from unsqueeze.config.recipe import Recipe
from unsqueeze.config.refusal import names_of, shown
from unsqueeze.errors import UserError

NAMES = list(names_of(Recipe))
VALUES = [
    *("zzz", "true", "null", "-1", "0", "1.5", ".nan", "-.inf", str(10**30), "2020-01-01", "3"),
    *("[]", "[1, 2]", "[[a]]", "[null]", "{}", "{zzz: 1}", "{1: 2}", "''", "5e-7"),
]
JARGON = re.compile(
    r"[Ii]nput should|valid (string|integer|tuple|dict|number|list|boolean)|instance of|pydantic|alidation ?[Ee]rror|"
    r"type=|tuple|dictionar|\bdict\b|\bstr\b|\bint\b|\bfloat\b|\bNone\b|\bTrue\b|\bFalse\b|datetime|[Uu]nable to|"
    r"pars|extra_|Value error|[Ll]iteral|\[key\]"
)
ALLOWED = re.compile(
    r"it must (be|hold|name)|a key must be|known are|known here are|set one of them|lower the one|at most"
    r"|set rl\.kl_coefficient above|low must be below"
)


NEEDED = {"rl.overlong.soft_cache_length": 2, "rl.adaptive_entropy.target": 0.3, "rl.covariance.rule": "clip_cov"}
"""What a section must have where it is there: without it that is told first."""


def section_of(override: str) -> str:
    """The section of a setting that is no section itself."""
    return override.partition("=")[0].rpartition(".")[0]


def said_of(override: str) -> str | None:
    """The message about an override of the recipe ``smoke``; None where there is none to be said."""
    needed = [f"{name}={value}" for name, value in NEEDED.items() if name.rpartition(".")[0] == section_of(override)]
    try:
        arms_of(load_recipe("smoke", [*needed, override]), "smoke")
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_value_is_told_with_its_setting_and_what_is_allowed(name: str) -> None:
    refusals = {value: said for value in VALUES if (said := said_of(f"{name}={value}")) is not None}
    assert len(refusals) >= 3
    for value, said in refusals.items():
        assert said.startswith(("recipe smoke: ", "recipe smoke, arm ")), said
        told = said.partition(": ")[2]
        assert name in told, said
        assert not JARGON.search(told), (JARGON.search(told), said)
        assert ALLOWED.search(told), said
        inside = (
            "known here are",
            "is missing",
            "in it: ",
            "arms.zzz is 1",
            "rl.prompts_per_step is",
            "irl.every_passes is",
            "rl.reset.optimizer is false",
            "rl.covariance.low is",
        )
        if not any(words in told for words in inside):
            assert re.search(rf"is {re.escape(shown(yaml.safe_load(value)))}[:;] ", told), said
        assert len(said) < 700
        assert said.count("\n") == 0


@pytest.mark.parametrize("name", [name for name in NAMES if "." in name])
def test_a_name_without_its_section_is_told_where_it_belongs(name: str) -> None:
    last = name.rpartition(".")[2]
    if last in Recipe.model_fields:
        return
    said = said_of(f"{last}=1")
    assert said is not None
    meant = said.partition("Did you mean ")[2]
    same = [each for each in NAMES if each.rpartition(".")[2] == last]
    assert re.split(r" or |\?", meant)[: len(same[:4])] == same[:4]
    # And in a section that is not its own.
    other = "evaluation" if not name.startswith("evaluation.") else "checkpoint"
    if f"{other}.{last}" not in NAMES:
        assert f"Did you mean {same[0]}" in str(said_of(f"{other}.{last}=1"))


@pytest.mark.parametrize("name", NAMES)
def test_a_slip_in_a_name_is_told_what_was_meant(name: str) -> None:
    said = said_of(f"{name}x=1")
    assert said is not None
    assert f"unknown key '{name}x'" in said
    assert f"Did you mean {name}?" in said


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("rl.dynamic_sampling=true", "rl.dynamic_sampling is true: it must be a section, with its settings as "),
        ("rl.dynamic_sampling=true", "{} for their defaults, null for none"),
        ("k=5", "Did you mean irl.k?"),
        ("steps=5", "Did you mean rl.steps or irl.steps?"),
        ("rl.k=5", "Did you mean irl.k?"),
        (
            "rollout.stop=END",
            "rollout.stop is 'END': it must be a list of texts of 1 character or more, such as [",
        ),
        ("rl.betas=0.9", "it must be a list of two numbers of 0 or more and below 1, such as [0.9, 0.99]"),
        ("rl.betas=[]", "rl.betas is []"),
        ("trackers=wandb", "a list, in brackets, each one of tensorboard, wandb, mlflow, trackio"),
        ("rl.overlong={}", "rl.overlong.soft_cache_length is missing: it must be a whole number of 1 or more"),
        ("arms={a: 3}", "arms.a is 3: it must be a mapping"),
        ("arms={a/b: {}}", "arms has the key 'a/b' in it: it must name a folder"),
        ("name=3", "name is 3: it must be text of at most 100 characters; in quotes it is text"),
        ("prompt.template=yes", "prompt.template is true: it must be text, or null; in quotes it is text"),
        ("verify.memory_mb=1", "verify.memory_mb is 1: it must be a whole number of 192 or more"),
        ("rl.clip_low=2", "rl.clip_low is 2: it must be a number from 0 to 1, or null"),
        ("data.kind=jsonl", "data.kind is jsonl, so data.train_path and data.test_path must name a file each"),
        ("irl.every_passes=1", "irl.every_passes is 1 and irl.every_steps is 2, and an RL phase has one length; set"),
        (f"rl.group_size={10**30}", "it must be at most 100000000"),
    ],
)
def test_sentences(override: str, expected: str) -> None:
    assert expected in str(said_of(override))


def test_a_section_that_is_given_by_itself_has_its_name_before_its_settings() -> None:
    for given, expected in (
        ({"learning_rate": 0}, "irl.learning_rate is 0: it must be a number above 0."),
        ({"kl_bugdet": 1}, "Did you mean irl.kl_budget?"),
        ({"every_steps": 1, "every_passes": 1}, "irl.every_passes is 1 and irl.every_steps is 1"),
    ):
        with pytest.raises(UserError) as refused:
            checked(IrlSettings, given, "irl")
        assert expected in str(refused.value)


def set_one(recipe: str, *overrides: str) -> Recipe:
    return arms_of(load_recipe(recipe, list(overrides)), recipe)["sps" if recipe == "quickstart" else "smoke"]


@pytest.mark.parametrize("steps", [1, 7, 10, 49])
def test_the_way_out_of_too_few_steps_is_one(steps: int) -> None:
    """Each of the three ways that the message names, by itself, gives phases; it used to lead from one to the next."""
    with pytest.raises(UserError) as refused:
        set_one("quickstart", f"rl.steps={steps}").phases(800)
    said = str(refused.value)
    assert f"rl.steps is {steps}, and the first RL phase would end with step 50" in said
    raised = re.search(r"Raise (rl\.steps) to (\d+)", said)
    shortened = re.search(r"set (irl\.every_passes) to ([\d.]+) or less", said)
    assert raised is not None
    assert shortened is not None
    ways = [f"rl.steps={raised[2]}"], [f"rl.steps={steps}", f"irl.every_passes={shortened[2]}"]
    for overrides in ways:
        assert any(phase.kind == "irl" for phase in set_one("quickstart", *overrides).phases(800))
    alone = check_recipe({**load_recipe("smoke").model_dump(), "irl": None, "rl": {"steps": steps}}, "x")
    assert [phase.kind for phase in alone.phases(800)] == ["rl"]
    with pytest.raises(UserError, match=rf"irl\.every_steps to {steps} or less"):
        set_one("smoke", f"rl.steps={steps}", "irl.every_steps=50").phases(16)


def test_what_was_given_is_shown_in_the_words_of_yaml() -> None:
    values = {"null": "null", "true": "true", "2020-01-01": "'2020-01-01'", "[null, true]": "[null, true]", "x": "'x'"}
    for value, words in values.items():
        assert f"rl.steps is {words}: " in str(said_of(f"rl.steps={value}"))


def left_out_of(recipe: str, *overrides: str) -> dict[str, list[str]]:
    return {name: left_out(arm) for name, arm in arms_of(load_recipe(recipe, list(overrides)), recipe).items()}


def test_what_an_algorithm_is_known_for_and_lacks_is_told_with_what_adds_it() -> None:
    assert left_out_of("smoke") == {"smoke": []}
    assert left_out_of("smoke", "rl.algorithm=dr_grpo") == {"smoke": []}
    for algorithm, count in (("dapo", 2), ("gspo", 1)):
        (lacking,) = left_out_of("smoke", f"rl.algorithm={algorithm}").values()
        assert len(lacking) == count
        # Whoever follows what is said is told nothing more.
        adds = [re.search(r"\((rl\.\S+=\S+) adds", each) for each in lacking]
        overrides = [found[1] for found in adds if found is not None]
        assert left_out_of("smoke", f"rl.algorithm={algorithm}", *overrides) == {"smoke": []}
    # 4 of at most 20 tokens: a fifth.
    assert "soft_cache_length=4 adds" in left_out_of("smoke", "rl.algorithm=dapo")["smoke"][1]


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if "/" in name])
def test_the_papers_recipes_lack_nothing_of_their_algorithm(name: str) -> None:
    assert not any(left_out_of(name).values())


def test_every_shipped_recipe_is_listed_with_a_line_about_it(command) -> None:
    for asked in ("train", "plan"):
        code, out, _ = command(asked, "--list-recipes")
        assert code == 0
        lines = [line.split(maxsplit=1) for line in out.splitlines()]
        assert sorted(name for name, _ in lines) == shipped_recipes()
        assert all(len(description) > 10 for _, description in lines)
    assert "--list-recipes" in said_of_recipe("no-such")


def said_of_recipe(name: str) -> str:
    with pytest.raises(UserError) as refused:
        load_recipe(name)
    return str(refused.value)
