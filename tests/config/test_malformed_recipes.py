"""Recipes and ``--set`` that are wrong: one sentence each, before anything is loaded or written."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refusals import invoke, refused, sentence_of
from unsqueeze.config.load import load_recipe, shipped_recipes
from unsqueeze.errors import UserError

VALID = "name: t\nseed: 3\nrl: {steps: 4, prompts_per_step: 2, group_size: 4}\nirl: {every_steps: 2, k: 2}\n"

FILES: dict[str, bytes] = {
    "empty": b"",
    "only a mark of byte order": b"\xef\xbb\xbf",
    "null": b"null\n",
    "a list": b"- a\n- b\n",
    "a number": b"42\n",
    "a bracket that stays open": b"name: t\nrl: {steps: 3\n",
    "a tab for indentation": b"name: t\n\trl: 3\n",
    "not UTF-8": b"name: \xff\xfe\n",
    "UTF-16": "name: t\n".encode("utf-16"),
    "a NUL": b"name: t\x00\n",
    "nested deeply": b"name: " + b"[" * 500 + b"]" * 500,
    "mappings nested deeply": b"name: t\nrl: " + b"{a: " * 500 + b"1" + b"}" * 500,
    "aliases that multiply": b"a: &a [x, x, x, x, x, x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (n, n, b", ".join([b"*%c" % (n - 1)] * 6)) for n in b"bcdef")
    + b"name: *f\n",
    "an alias of itself": b"name: t\nrl: &r {steps: *r}\n",
    "an alias of nothing": b"name: *nope\n",
    "a program": b"name: !!python/object/apply:os.system ['true']\n",
    "an unknown tag": b"name: !foo bar\n",
    "a list as a key": b"name: t\n? [a, b]\n: 3\n",
    "a mapping as a key": b"name: t\n? {a: 1}\n: 3\n",
    "a number as a key": b"name: t\n3: 4\n",
    "a number as an inner key": b"name: t\nrl: {3: 4}\n",
    "null as an inner key": b"name: t\nrl: {null: 4}\n",
    "a key twice": b"name: t\nname: u\n",
    "an inner key twice": b"name: t\nrl:\n  steps: 3\n  steps: 4\n",
    "a merge of a number": b"name: t\n<<: 3\n",
    "two documents": b"name: t\n---\nname: u\n",
    "a date": b"name: 2020-01-01\n",
    "no date": b"name: t\ndescription: 2020-13-45\n",
    "no base64": b"name: t\ndescription: !!binary x\n",
    "no integer": b"name: t\nseed: !!int abc\n",
    "no float": b"name: t\nseed: !!float abc\n",
    "no truth": b"name: t\nseed: !!bool maybe\n",
    "a set": b"name: !!set {a, b}\n",
    "an ordered mapping": b"name: t\nrl: !!omap [a: 1]\n",
    "no name": b"rl: {steps: 3}\n",
    "a path as the name": b"name: a/b\n",
    "dots as the name": b"name: ..\n",
    "a newline in the name": b'name: "a\\nb"\n',
    "an escape sequence in the name": b'name: "\\e[2Jx"\n',
    "a very long name": b"name: " + b"x" * 5000 + b"\n",
    "a very long key": b"name: t\n? " + b"z" * 3000 + b"\n: 3\n",
    "a newline in a key": b'name: t\n"a\\nb": 3\n',
}

OVERRIDES = [
    *("", "=", "a", "a=", ".=3", "rl.steps", "rl..steps=3", "rl.steps.x=3", "name.x=3", "=3", "rl=3", "rl=null"),
    *("rl.steps={", "rl.steps=*a", "rl.steps=!!python/object:x", "rl.steps=\x00", "rl.steps=" + "[" * 500, "irl=3"),
    *(f"rl.steps={value}" for value in ("-1", "0", "1.5", ".nan", ".inf", "x", "[]", "{}", "null", "true", 10**400)),
    *(f"rl.learning_rate={value}" for value in ("0", "-1", ".nan", ".inf", "-.inf", "1e400", "false")),
    *(f"rl.betas={value}" for value in ("[0.9]", "[1, 2, 3]", "[2, 3]", "[-1, 0.9]", "[.nan, 0.9]", "x", "[1, 1]")),
    *("rl.epsilon=.inf", "rl.weight_decay=-1", "rl.max_grad_norm=0", "rl.algorithm=ppo", "rl.algorithm=[grpo]"),
    *("rl.ratio=foo", "rl.clip_low=2", "rl.clip_high=.inf", "rl.kl_coefficient=-1", "rl.advantage_scale=3"),
    *(
        "rl.prompts_per_step=0",
        "rl.prompts_per_step=100000",
        "rl.group_size=1",
        f"rl.group_size={10**30}",
        "rl.stpes=3",
    ),
    *("irl.k=0", "irl.k=100", "irl.quantile=0", "irl.quantile=.nan", "irl.every_passes=.inf", "irl.pool=foo"),
    *("irl.kl_budget=.inf", "irl.steps=-1", "irl.every_passes=1", "rollout.temperature=0", "rollout.temperature=.inf"),
    *("rollout.top_p=2", "rollout.max_tokens=0", f"rollout.max_tokens={10**30}", "rollout.stop=x", "rollout.stop=['']"),
    *("rollout.stop=[null]", "evaluation.temperature=-1", "evaluation.n=0", "seed=-1", "seed=4294967296", "seed=1.5"),
    *("threads=0", "data.num_train=0", f"data.num_train={10**30}", "data.kind=foo"),
    *("data.kind=jsonl", "data.seed=x", "data.countdown.count=9", "data.countdown.operators=x", "data.countdown=3"),
    *("checkpoint.dtype=int8", "checkpoint.keep_last=0", "model.device=tpu", "model.path=3", "model.lora={r: 3}"),
    *("model.lora=[1]", "model.trust_remote_code=maybe", "prompt.template=3", "prompt.mode=foo", "verify.timeout_s=0"),
    *("arms=3", "arms={}", "arms={a: 3}", "arms={'': {}}", "arms={a/b: {}}", "arms={../x: {}}", "arms={1: {}}"),
    *("arms={a: {rl: 3}}", "arms={a: {nope: 1}}"),
]
"""All of the recipe ``smoke``."""

CASES = [*FILES, *OVERRIDES]


@pytest.mark.parametrize("what", FILES)
def test_recipe_files(tmp_path: Path, what: str) -> None:
    (tmp_path / "recipe.yaml").write_bytes(FILES[what])
    sentence = refused(tmp_path, "train", str(tmp_path / "recipe.yaml"), "--run", str(tmp_path / "run"))
    assert "recipe.yaml" in sentence


@pytest.mark.parametrize("override", OVERRIDES)
def test_overrides(tmp_path: Path, override: str) -> None:
    sentence = refused(tmp_path, "train", "smoke", "--run", str(tmp_path / "run"), "--set", override)
    keys = override.partition("=")[0].split(".")
    assert any(word in sentence for word in (*keys, "--set", "arm ")), sentence


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("rl.prompts_per_step=17", "data.num_train"),
        ("data.countdown.min_target=500", "targets"),
        ("data.countdown.max_number=0", "data.countdown.max_number"),
        ("rollout.max_tokens=10000", "rollout.max_tokens"),
        ("prompt.template=no place", "{problem}"),
        ("prompt.mode=chat", "chat template"),
        ("model.path=/no/such/place", "model.path"),
        ("model.path=/etc/passwd", "model.path"),
        ("irl.every_steps=50", "irl.every_steps"),
    ],
)
def test_settings_that_do_not_fit_model_or_data(tmp_path: Path, override: str, named: str) -> None:
    """These are found by loading the parts of the run, still before anything is written."""
    sentence = refused(tmp_path, "train", "smoke", "--run", str(tmp_path / "run"), "--set", override)
    assert named in sentence


@settings(derandomize=True, max_examples=80, deadline=None)
@given(
    place=st.integers(0, len(VALID)),
    cut=st.integers(0, 8),
    put=st.one_of(
        st.text(max_size=4), st.sampled_from(["\t", "{", "[", ": ", "- ", "&a ", "*a", "!!int ", "'", "1e999"])
    ),
)
def test_a_slip_of_the_pen_is_a_recipe_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, place: int, cut: int, put: str
) -> None:
    """Any few characters of a good recipe replaced by others: it still loads, or says in one sentence why not."""
    path = tmp_path_factory.getbasetemp() / "slip.yaml"
    path.write_text(VALID[:place] + put + VALID[place + cut :], encoding="utf-8", errors="surrogatepass", newline="")
    outcome = invoke("train", str(path), "--dry-run")
    assert outcome.code in (0, 2)
    if outcome.code == 2:
        assert "slip.yaml" in sentence_of(outcome) or "irl" in sentence_of(outcome)


@settings(derandomize=True, max_examples=80, deadline=None)
@given(
    section=st.sampled_from(["model", "data", "prompt", "rollout", "verify", "rl", "irl", "evaluation", "checkpoint"]),
    data=st.data(),
)
def test_values_of_any_kind_are_settings_or_a_sentence(section: str, data: st.DataObject) -> None:
    """Whatever JSON can say as the value of any setting."""
    names = sorted(load_recipe("smoke").model_dump()[section])
    name = data.draw(st.sampled_from(names))
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    value = data.draw(
        st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner))
    )
    try:
        loaded = load_recipe("smoke", [f"{section}.{name}={json.dumps(value)}"])
    except UserError:
        return
    # What was taken can be written down and read again: nothing that JSON has no word for.
    json.dumps(loaded.model_dump(mode="json"), allow_nan=False)


def test_every_shipped_recipe_still_loads() -> None:
    for name in shipped_recipes():
        load_recipe(name)
