"""The scripted engine says its lines, keeps the limits, and names what is missing."""

import math

import numpy as np
import pytest

from tiny_models import BOS, EOS, tiny_tokenizer
from unsqueeze.errors import UserError
from unsqueeze.rollout.scripted import Line, ScriptedEngine
from unsqueeze.rollout.types import Engine, Sampling, StopReason
from unsqueeze.seeds import prompt_seeds

TOKENIZER = tiny_tokenizer()
SAMPLING = Sampling(max_tokens=4)
PROMPT = [BOS, 7, 8]  # "w7 w8"


def test_lines_come_in_the_order_of_asking_over_all_calls() -> None:
    engine: Engine = ScriptedEngine(TOKENIZER, ["w3", "w4 w5", "w6", "w7", "w8"])
    first = engine.generate([PROMPT, [BOS]], 2, SAMPLING, seeds=prompt_seeds(0, 2))
    second = engine.generate([PROMPT], 1, SAMPLING, seeds=prompt_seeds(0, 1))
    assert [[c.text for c in group] for group in first] == [["w3", "w4 w5"], ["w6", "w7"]]
    assert second[0][0].text == "w8"
    assert first[0][1].tokens.tolist() == [4, 5, EOS]
    assert first[0][1].stop_reason is StopReason.EOS


def test_lines_by_prompt() -> None:
    engine = ScriptedEngine(TOKENIZER, {"w7 w8": ["w3", "w4"], "w9": ["w5"]})
    groups = engine.generate([[BOS, 9], PROMPT], 1, SAMPLING, seeds=prompt_seeds(0, 2))
    assert [group[0].text for group in groups] == ["w5", "w3"]
    assert engine.generate([PROMPT], 1, SAMPLING, seeds=prompt_seeds(0, 1))[0][0].text == "w4"


def test_log_probs_are_constant_or_given() -> None:
    engine = ScriptedEngine(TOKENIZER, ["w3", Line("w3", logp=-2.0), Line("w3", logp=(-0.5, -1.5))])
    ((constant, number, given),) = engine.generate([PROMPT], 3, SAMPLING, seeds=prompt_seeds(0, 1))
    np.testing.assert_allclose(constant.logp_raw, [math.log(0.5)] * 2, rtol=1e-6)
    np.testing.assert_allclose(number.logp_raw, [-2, -2])
    np.testing.assert_allclose(given.logp_raw, [-0.5, -1.5])
    np.testing.assert_array_equal(given.logp_raw, given.logp_behaviour)


def test_a_truncated_line_is_cut_and_has_no_end_token() -> None:
    line = Line("w3 w4 w5 w6 w7 w8", stop_reason=StopReason.LENGTH)
    ((completion,),) = ScriptedEngine(TOKENIZER, [line]).generate([PROMPT], 1, SAMPLING, seeds=prompt_seeds(0, 1))
    assert completion.tokens.tolist() == [3, 4, 5, 6]
    assert completion.text == "w3 w4 w5 w6"
    assert completion.stop_reason is StopReason.LENGTH


def test_progress_and_syncs_are_counted() -> None:
    counts: list[int] = []
    engine = ScriptedEngine(TOKENIZER, ["w3"] * 6)
    engine.generate([PROMPT, PROMPT], 3, SAMPLING, seeds=prompt_seeds(0, 2), on_finished=counts.append)
    engine.sync(None)
    assert sum(counts) == engine.num_spoken == 6
    assert engine.num_syncs == 1


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (["w3"], "the script has run out after 1 completions in all; give it more lines"),
        ({"w7 w8": ["w3"]}, "the script for the prompt 'w7 w8' has run out"),
        ({"w9": ["w3"]}, "no lines for the prompt 'w7 w8'; it has lines for 'w9'"),
        (["w3 w4 w5 w6"], r"line 1 \('w3 w4 w5 w6'\) has 5 tokens and max_tokens is 4"),
        ([Line("w3", logp=(-1.0,))], "has 2 tokens .* and 1 log-probs"),
    ],
)
def test_a_script_that_does_not_fit_says_why(script: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        ScriptedEngine(TOKENIZER, script).generate([PROMPT], 2, SAMPLING, seeds=prompt_seeds(0, 1))
