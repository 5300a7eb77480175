"""Problems of a task, as a recipe's ``data`` settings name them."""

from typing import Any

from unsqueeze.config.data_settings import DataSettings
from unsqueeze.config.load import checked
from unsqueeze.tasks.task import Data, task_named


def load_problems(task: str, **settings: Any) -> Data:
    """Make or read the problems of a task: ``train``, ``test`` and ``validation``.

    ``task`` and ``settings`` are those of ``data`` in a recipe: ``load_problems("countdown", num_train=100)``, or
    ``load_problems("jsonl", train_path="train.jsonl", test_path="test.jsonl")``. UserError naming what is wrong.
    """
    found = checked(DataSettings, {"kind": task, **settings}, "data")
    return task_named(found.kind).load(found)
