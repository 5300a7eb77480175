"""What UNSQUEEZE_SPS may say, and what the plugin refuses in a trainer: no ms-swift is needed for these."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import unsqueeze as uq
from unsqueeze.cli.main import app
from unsqueeze.config.irl_settings import IN_TRAINERS, IrlSettings
from unsqueeze.errors import UserError
from unsqueeze.integrations.swift import _make, _stop_reason, read_settings


def test_settings_are_those_of_a_recipe():
    given = read_settings("every_steps=200 learning_rate=1e-6 betas=[0.9,0.95] reward=Target tokens_per_microbatch=64")
    assert given.irl == IrlSettings(every_steps=200, learning_rate=1e-6, betas=(0.9, 0.95))
    assert (given.own.reward, given.own.tokens_per_microbatch) == ("Target", 64)
    assert read_settings("").irl == IrlSettings()
    assert set(IN_TRAINERS) <= set(IrlSettings.model_fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("every_steps=0", "UNSQUEEZE_SPS: every_steps is 0: it must be"),
        ("every_steps=1 every_passes=1", "UNSQUEEZE_SPS: every_passes is 1 and every_steps is 1"),
        ("k=2 k=3", "UNSQUEEZE_SPS sets k twice"),
        ("k", "UNSQUEEZE_SPS has the word 'k'; write name=value"),
        ("k = 3", "UNSQUEEZE_SPS has the word '='|has the word 'k'"),
        ("irl.k=3", r"UNSQUEEZE_SPS has the word 'irl\.k=3'"),
        ("optimizer_state=persistent", "UNSQUEEZE_SPS sets optimizer_state; it takes every_passes, every_steps, k,"),
        ("replay_phases=2 k=17", "UNSQUEEZE_SPS: k is 17 but replay_candidates is 16"),
        ("tokens_per_microbatch=0", "UNSQUEEZE_SPS: tokens_per_microbatch is 0: it must be"),
        ("k='3", "No closing quotation; close the quotation mark"),
    ],
)
def test_wrong_settings_are_named(text: str, message: str):
    with pytest.raises(UserError, match=message):
        read_settings(text)


def test_capture_takes_no_settings_of_phases(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    args = SimpleNamespace(output_dir=str(tmp_path), seed=1, world_size=1)
    with pytest.raises(SystemExit) as ended:
        _make(read_settings("steps=3"), None, args, SimpleNamespace())
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: UNSQUEEZE_SPS sets steps, and --callbacks sps_capture runs no")
    assert _make(read_settings("reward=Target"), None, args, SimpleNamespace()).phases.settings is None


@pytest.mark.parametrize(
    ("tokens", "is_truncated", "reason"),
    [
        ([5, 2], False, "eos"),
        ([5, 2], True, "eos"),
        ([5, 6], True, "length"),
        ([5, 6], False, "stop"),
        ([], False, "stop"),
    ],
)
def test_why_a_response_ended(tokens: list[int], is_truncated: bool, reason: str):
    sample: Any = SimpleNamespace(is_truncated=is_truncated)
    assert _stop_reason(sample, np.array(tokens, np.int32), {2}) == reason


def test_the_command_prints_a_file_alone_in_its_folder():
    printed = CliRunner().invoke(app, ["plugin", "swift"]).stdout.strip()
    assert Path(printed) == uq.plugin("swift")
    # ms-swift puts the folder on Python's path: nothing in it may have the name of a package.
    assert sorted(path.name for path in Path(printed).parent.glob("*.py")) == ["__init__.py", "sps_for_swift.py"]
    with pytest.raises(UserError, match="trainer is 'trl'; it must be one of swift"):
        uq.plugin("trl")
