"""Whatever is wrong with a trainer's file is one sentence that names the line: never a traceback."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trainer_files import (
    chat,
    chat_tokenizer,
    prime_episode,
    write_nemo,
    write_prime,
    write_slime,
    write_swift,
    write_verl,
)
from unsqueeze.errors import UserError
from unsqueeze.interop.demonstrations import Encoding
from unsqueeze.interop.rollout_files import candidate
from unsqueeze.interop.rollouts.detect import FORMATS
from unsqueeze.interop.rollouts.excluded import Excluded
from unsqueeze.interop.rollouts.format import Asked
from unsqueeze.interop.rollouts.prepare import Preparation, Reading
from unsqueeze.interop.rollouts.rendered import Unrendering

JUNK = [
    None, "", 0, -1, 1.5, float("nan"), True, [], {}, [None], ["x"], [[1]], {"a": 1}, "\ud800", 10**400, [{"role": 1}],
    [{"role": "user", "content": None}],
]  # fmt: skip
TIMES = 150


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def spoilt(value: Any, rng: random.Random) -> Any:
    """The value with one part of it replaced, or taken out of its object."""
    value = copy.deepcopy(value)
    *outer, last = rng.choice(list(places(value)))
    part = value
    for key in outer:
        part = part[key]
    if isinstance(part, dict) and rng.random() < 0.25:
        del part[last]
    else:
        part[last] = rng.choice(JUNK)
    return value


def read_all(name: str, path: Path) -> int:
    """Do with every row what select and irl do with it."""
    tokenizer = chat_tokenizer()
    excluded = Excluded([chat("another")])
    preparation = Preparation(FORMATS[name], tokenizer, 5, unrendering=Unrendering(tokenizer), excluded=excluded)
    encoding = Encoding(tokenizer, context=256, vocabulary=259)
    number = 0
    for found in FORMATS[name].read([str(path)], (), Asked()):
        record = preparation.prepared(found)
        preparation.is_evaluation(record)
        preparation.count(record, Reading())
        if FORMATS[name].has_likelihood:
            candidate(record, "mean")
        encoding.of(record)
        number += 1
    return number


def a_file(name: str, folder: Path) -> Path:
    ids = chat_tokenizer()("ab", add_special_tokens=False)["input_ids"]
    if name == "swift":
        row = {"prompt": "<bos>[user]q[assistant]", "completion": "a", "Right": 1.0, "advantages": 0.1, "solution": "4"}
        return write_swift(folder, 1, [row] * 2)
    if name == "verl":
        return write_verl(
            folder, 1, [{"input": "q", "output": "a", "gts": "4", "score": 1.0, "extra": {"uid": "a_0_0"}}]
        )
    known = {"prompt_ids": [1, 40], "ids": ids, "logprobs": [-0.5, -0.25]}
    if name == "nemo":
        return write_nemo(folder, 1, [{"prompt": "<bos>q", "completion": "ab", "reward": 1.0, **known}])
    if name == "slime":
        sample = {"prompt": chat("q"), "tokens": [1, 40, *ids], "response": "ab", "response_length": 2, "reward": 1.0}
        return write_slime(folder, 0, [sample | {"rollout_log_probs": [-0.5, -0.25], "group_index": 0}])
    row = {"key": "k", "prompt": chat("q"), "message": {"content": "ab"}, "rewards": {"right": {"score": 1.0}}, **known}
    return write_prime(folder, 3, [prime_episode("g", row)])


@pytest.mark.parametrize("name", ["swift", "verl", "nemo", "slime", "prime"])
def test_a_spoilt_file_is_refused_in_one_sentence_or_read(name: str, tmp_path: Path):
    path = a_file(name, tmp_path)
    assert read_all(name, path) >= 1
    torch_file = path.suffix == ".pt"
    whole = (
        torch.load(path, weights_only=True)
        if torch_file
        else [json.loads(line) for line in path.read_text().splitlines()]
    )
    rng, refused = random.Random(0), []
    for _ in range(TIMES):
        bad = spoilt(whole, rng)
        if torch_file:
            torch.save(bad, path)
        else:
            path.write_text("".join(json.dumps(line) + "\n" for line in bad))
        try:
            read_all(name, path)
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > TIMES / 5
    assert all(path.name in said for said in refused)
