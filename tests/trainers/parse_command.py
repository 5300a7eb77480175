"""What a trainer's own parser makes of command lines: python parse_command.py swift|trl|verl reads a list of lists of
arguments from standard input, as JSON, and prints what each of them sets."""

import json
import sys
from dataclasses import asdict
from typing import Any


def swift(arguments: list[str]) -> dict[str, Any]:
    from swift.arguments import RLHFArguments
    from transformers import HfArgumentParser

    # Of the class alone: what it does when it is made would load the model.
    made: dict[str, Any] = {}
    RLHFArguments.__post_init__ = lambda self: made.update(vars(self))
    HfArgumentParser([RLHFArguments]).parse_args_into_dataclasses(arguments)
    return made


def trl(arguments: list[str]) -> dict[str, Any]:
    from trl import GRPOConfig, ModelConfig, ScriptArguments, TrlParser
    from trl.scripts.grpo import GRPOScriptArguments

    assert issubclass(GRPOScriptArguments, ScriptArguments)
    GRPOConfig.__post_init__ = lambda self: None  # it looks for a GPU
    parsed = TrlParser((GRPOScriptArguments, GRPOConfig, ModelConfig)).parse_args_and_config(args=arguments)
    return {name: value for part in parsed for name, value in (vars(part) | asdict(part)).items()}


def verl(arguments: list[str]) -> dict[str, Any]:
    from importlib.util import find_spec
    from pathlib import Path

    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    found = find_spec("verl")
    assert found is not None
    assert found.origin is not None
    with initialize_config_dir(str(Path(found.origin).parent / "trainer" / "config"), version_base=None):
        config = compose("ppo_trainer", overrides=arguments)
    return {name.partition("=")[0]: OmegaConf.select(config, name.partition("=")[0]) for name in arguments}


if __name__ == "__main__":
    parse = {"swift": swift, "trl": trl, "verl": verl}[sys.argv[1]]
    print(json.dumps([parse(arguments) for arguments in json.load(sys.stdin)], default=str))
