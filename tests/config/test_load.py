"""Recipes: what they resolve to, and one clear sentence for everything that can be wrong with one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsqueeze.algos.surrogate import ALGORITHMS
from unsqueeze.config.data_settings import DataSettings
from unsqueeze.config.describe import describe_settings, settings_table
from unsqueeze.config.load import arms_of, check_recipe, describe_shipped_recipes, load_recipe, shipped_recipes
from unsqueeze.config.recipe import Recipe
from unsqueeze.config.rl_settings import RlSettings
from unsqueeze.errors import UserError


def recipe_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


# --- what ships --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_parses_with_all_its_arms(name: str) -> None:
    recipe = load_recipe(name)
    arms = arms_of(recipe, name)
    assert arms
    assert all(arm.arms is None for arm in arms.values())


def test_the_list_of_shipped_recipes_stays_one_short_line() -> None:
    line = describe_shipped_recipes()
    assert "quickstart" in line
    assert "paper/… (36)" in line
    assert len(line) < 200


def test_a_recipe_survives_being_written_down() -> None:
    recipe = load_recipe("paper/7b-3k-sps-dapo")
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


# --- resolution --------------------------------------------------------------------------------------------------


def test_overrides_by_hand() -> None:
    recipe = load_recipe("smoke", ["rl.learning_rate=5e-7", "rollout.stop=[END]", "irl=null", "seed=7"])
    assert recipe.rl.learning_rate == 5e-7  # YAML 1.1 takes 5e-7 for a text; it is a number all the same
    assert recipe.rollout.stop == ("END",)
    assert recipe.irl is None
    assert recipe.seed == 7


def test_an_override_makes_the_section_it_needs() -> None:
    recipe = load_recipe("smoke", ["rl.dynamic_sampling.max_resample_times=1"])
    assert recipe.rl.dynamic_sampling is not None
    assert recipe.rl.dynamic_sampling.max_resample_times == 1


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_surrogate_is_the_named_one_with_what_the_recipe_says_otherwise(name: str) -> None:
    named = ALGORITHMS[name]
    assert RlSettings(algorithm=name).surrogate == named
    changed = RlSettings(algorithm=name, clip_high=0.5, kl_coefficient=0.0).surrogate
    assert (changed.clip_high, changed.kl_coefficient) == (0.5, 0.0)
    assert (changed.ratio, changed.aggregation, changed.clip_low) == (named.ratio, named.aggregation, named.clip_low)


def test_an_iteration_is_one_pass_where_nothing_else_is_said() -> None:
    # 40 problems, 4 a step: a pass is 10 steps.
    by_default = load_recipe("smoke", ["rl.steps=25", "data.num_train=40", "irl.every_steps=null"])
    assert [p.last_step for p in by_default.phases(40) if p.kind == "irl"] == [10, 20]
    # The last five steps are half a pass: the run ends with RL.
    assert (by_default.phases(40)[-1].kind, by_default.phases(40)[-1].last_step) == ("rl", 25)
    without_irl = load_recipe("smoke", ["rl.steps=25", "data.num_train=40", "irl=null"])
    assert [(p.kind, p.last_step) for p in without_irl.phases(40)] == [("rl", 25)]


def test_irl_that_would_never_run_is_refused() -> None:
    recipe = load_recipe("smoke", ["rl.steps=9", "data.num_train=40", "irl.every_steps=null"])
    with pytest.raises(UserError, match=r"rl\.steps is 9, and the first RL phase would end with step 10"):
        recipe.phases(40)


# --- arms --------------------------------------------------------------------------------------------------------

ARMS = """\
name: both
rl: {steps: 3}
arms:
  control: {}
  sps:
    irl: {k: 2, steps: 1}
  fast:
    rl: {learning_rate: 1.0e-3}
"""


def test_arms_share_all_they_do_not_change(tmp_path: Path) -> None:
    arms = arms_of(load_recipe(recipe_file(tmp_path, ARMS)), "both")
    assert list(arms) == ["control", "sps", "fast"]
    assert arms["control"].irl is None
    assert arms["sps"].irl is not None
    assert arms["sps"].irl.k == 2
    assert {arm.rl.steps for arm in arms.values()} == {3}
    assert arms["fast"].rl.learning_rate == 1e-3


def test_an_override_reaches_the_arms_that_have_its_section_and_no_control(tmp_path: Path) -> None:
    source = recipe_file(tmp_path, ARMS)
    arms = arms_of(load_recipe(source, ["irl.k=4", "rl.steps=5", "rl.learning_rate=2e-3", "seed=1"]), source)
    assert arms["control"].irl is None
    assert arms["sps"].irl is not None
    assert (arms["sps"].irl.k, arms["sps"].irl.steps) == (4, 1)
    assert {arm.rl.steps for arm in arms.values()} == {5}
    assert {arm.rl.learning_rate for arm in arms.values()} == {2e-3}
    assert {arm.seed for arm in arms.values()} == {1}


def test_an_override_spares_the_control_where_irl_is_null_for_all_and_an_arm_has_it(tmp_path: Path) -> None:
    source = recipe_file(tmp_path, ARMS.replace("arms:", "irl: null\narms:", 1))
    arms = arms_of(load_recipe(source, ["irl.k=4"]), source)
    assert arms["control"].irl is None
    assert arms["sps"].irl is not None
    assert arms["sps"].irl.k == 4


@pytest.mark.parametrize("written", ["", "irl: null\n"])
def test_a_detail_of_irl_does_not_switch_it_on(tmp_path: Path, written: str) -> None:
    """A plain RL recipe with --set irl.k=2 would be SPS with the defaults of everything else."""
    source = recipe_file(tmp_path, f"name: plain\nrl: {{steps: 3}}\n{written}")
    for overrides in (["irl.k=2"], ["rl.steps=4", "irl.k=2", "irl.steps=1"], ["irl.k=2", "irl.every_passes=null"]):
        with pytest.raises(UserError) as raised:
            load_recipe(source, overrides)
        for words in ("setting 'irl.k=2': IRL is off in this recipe", "irl.every_passes=1"):
            assert words in str(raised.value)
    for switch in ("irl.every_passes=1", "irl.every_steps=3"):
        for overrides in (["irl.k=2", switch], [switch, "irl.k=2"]):
            irl = load_recipe(source, overrides).irl
            assert irl is not None
            assert irl.k == 2
    whole = load_recipe(source, ["irl={}", "irl.k=2"]).irl
    assert whole is not None
    assert whole.k == 2


def test_one_arm_can_be_named(tmp_path: Path) -> None:
    source = recipe_file(tmp_path, ARMS)
    arms = arms_of(load_recipe(source, ["arms.control.rl.clip_high=0.3"]), source)
    assert arms["control"].rl.clip_high == 0.3
    assert arms["sps"].rl.clip_high is None


def test_a_mistake_in_an_arm_names_the_arm(tmp_path: Path) -> None:
    source = recipe_file(tmp_path, "name: x\narms:\n  a: {rl: {stepz: 1}}\n")
    with pytest.raises(UserError, match=r"arm 'a': unknown key 'rl\.stepz'.*Did you mean rl\.steps"):
        arms_of(load_recipe(source), source)


def test_the_quickstarts_control_stays_one_whatever_is_set_for_irl() -> None:
    arms = arms_of(load_recipe("quickstart", ["irl.learning_rate=3e-4"]), "quickstart")
    assert arms["grpo"].irl is None
    assert arms["sps"].irl is not None
    assert arms["sps"].irl.learning_rate == 3e-4


# --- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\nrll: {}\n", ["unknown key 'rll'", "Did you mean rl?"]),
        ("name: x\nrl: {steps: 0}\n", ["rl.steps is 0", "a whole number from 1 to 999999"]),
        ("name: x\nrl: {group_size: 2}\nirl: {k: 3}\n", ["irl.k is 3", "rl.group_size is 2"]),
        ("name: x\nirl: {every_steps: 1, every_passes: 1}\n", ["set one of them to null"]),
        ("name: x\nrl: {overlong: {soft_cache_length: 25}}\n", ["soft_cache_length is 25", "rollout.max_tokens is 24"]),
        (
            "name: x\nrl: {dynamic_sampling: {rule: drop}}\n",
            ["rl.dynamic_sampling.rule", "one of keep, ms_swift", "rl.dynamic_sampling.rule is 'drop'"],
        ),
        ("name: x\nrl: {clip_low: 1.5}\n", ["rl.clip_low is 1.5"]),
        ("name: x\nrl: {steps: 1}\nrl: {steps: 2}\n", ["line 3", "'rl'", "second time"]),
        ("name: x\nrl:\n  steps: 1\n  steps: 2\n", ["line 4", "'steps'", "second time"]),
        ("name: x\ndata: {kind: jsonl}\n", ["data", "data.train_path and data.test_path"]),
        ("", ["mapping of names"]),
    ],
)
def test_a_mistake_is_one_sentence_with_file_and_field(tmp_path: Path, text: str, expected: list[str]) -> None:
    source = recipe_file(tmp_path, text)
    with pytest.raises(UserError) as error:
        load_recipe(source)
    message = str(error.value)
    assert "mine.yaml" in message
    assert "\n" not in message
    for part in expected:
        assert part in message


def test_further_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rl\.steps is 0: .* \(Also wrong: rl\.group_size, dta\.\)"):
        load_recipe(recipe_file(tmp_path, "name: x\nrl: {steps: 0, group_size: 1}\ndta: 1\n"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: my run\n", "name is 'my run': it must name a folder: letters, digits, '.', '_' and '-' alone"),
        ("name: x\nrl: 3\n", "rl is 3: it must be a section"),
    ],
)
def test_mistakes_are_told_without_classes_and_patterns(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe(recipe_file(tmp_path, text))
    assert expected in str(error.value)


def test_files_are_taken_whole_unless_a_number_is_given() -> None:
    files = {"kind": "jsonl", "train_path": "a", "test_path": "b"}
    assert (DataSettings(**files).num_train, DataSettings(**files).num_test) == (None, None)
    assert DataSettings(**files, num_train=7).num_train == 7
    assert (DataSettings().num_train, DataSettings(num_test=8).num_test) == (None, 8)


def test_the_page_of_recipes_lists_every_setting_with_its_meaning() -> None:
    assert all(each.meaning for each in describe_settings())
    page = (Path(__file__).parents[2] / "docs/recipes.md").read_text()
    assert page.endswith(settings_table()), "append what unsqueeze.config.describe.settings_table() gives"


def test_the_recipe_of_the_page_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/recipes.md").read_text()
    mine, arms = (block.partition("```")[0] for block in page.split("```yaml\n")[1:])
    recipe = load_recipe(recipe_file(tmp_path, mine))
    assert (recipe.data.kind, recipe.data.num_train, recipe.irl is None) == ("jsonl", None, False)
    assert list(arms_of(load_recipe(recipe_file(tmp_path, "name: x\n" + arms)), "x")) == ["grpo", "sps"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("rl.steps", "section.key=value"),
        ("=3", "section.key=value"),
        ("rl..steps=3", "section.key=value"),
        ("rl.steps=[1", "is not YAML"),
        ("name.inner=3", "single value"),
    ],
)
def test_a_broken_override_is_one_sentence(override: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        load_recipe("smoke", [override])


def test_an_unknown_recipe_says_what_there_is_and_what_was_meant() -> None:
    with pytest.raises(UserError, match=r"paper/… \(36\).*Did you mean 'paper/1\.5b-3k-gspo'"):
        load_recipe("paper/1.5b-3k-gspoo")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["rl", "irl", "data", "model", "rollout", "arms", "evaluation", "seed", "name"]),
)
def test_whatever_a_section_holds_it_is_a_recipe_or_a_user_error(value: object, section: str) -> None:
    message = "recipe mine"
    try:
        arms_of(check_recipe({"name": "x", section: value}, "mine"), "mine")
    except UserError as error:
        message = str(error)
    assert message.startswith("recipe mine")


def test_an_override_gives_no_section_to_an_arm_that_has_it_null(tmp_path: Path) -> None:
    recipe = tmp_path / "two.yaml"
    recipe.write_text("name: two\nirl: {k: 2}\narms:\n  plain: {irl: null}\n  sps: {}\n", "utf-8")
    arms = arms_of(load_recipe(str(recipe), ["irl.k=1"]), "two")
    assert arms["plain"].irl is None
    assert arms["sps"].irl is not None
    assert arms["sps"].irl.k == 1
