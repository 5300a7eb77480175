"""Runs of `swift rlhf` one after another, each in a fork of one process that has loaded ms-swift, which takes longer
than such a run: python swift_runs.py reads [{arguments, environment, log, copy}] as JSON and prints their exit codes.

`copy` is a folder and where to copy it before the run.
"""

import json
import os
import shutil
import sys
from multiprocessing import get_context

from swift.pipelines import rlhf_main
from swift.rlhf_trainers import GRPOTrainer


def run(arguments: list[str], environment: dict[str, str], log: str, copy: list[str]) -> None:
    os.environ.update(environment)
    said = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(said, sys.stdout.fileno())
    os.dup2(said, sys.stderr.fileno())
    if copy:
        shutil.copytree(*copy)
    rlhf_main(arguments)


def main() -> None:
    assert GRPOTrainer is not None
    codes = []
    for each in json.load(sys.stdin):
        process = get_context("fork").Process(target=run, kwargs=each)
        process.start()
        process.join()
        codes.append(process.exitcode)
    print(json.dumps(codes))


if __name__ == "__main__":
    main()
