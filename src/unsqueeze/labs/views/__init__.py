"""The tables that are made of a suite's runs, a file each, and the list of them by name."""

from collections.abc import Callable, Mapping
from typing import get_args

from unsqueeze.labs.gather import Results
from unsqueeze.labs.suite import TableName
from unsqueeze.labs.views.differences import differences
from unsqueeze.labs.views.greedy import greedy
from unsqueeze.labs.views.histogram import histogram
from unsqueeze.labs.views.plane import duels, plane
from unsqueeze.labs.views.reliability import reliability
from unsqueeze.labs.views.results import results
from unsqueeze.labs.views.similarity import similarity
from unsqueeze.labs.views.squeezing import squeezing
from unsqueeze.labs.views.steps import steps
from unsqueeze.labs.views.time import time
from unsqueeze.labs.views.turnover import turnover
from unsqueeze.tables import Table

VIEWS: Mapping[TableName, Callable[[Results], Table]] = {
    "results": results,
    "differences": differences,
    "steps": steps,
    "plane": plane,
    "duels": duels,
    "turnover": turnover,
    "reliability": reliability,
    "histogram": histogram,
    "similarity": similarity,
    "time": time,
    "greedy": greedy,
    "squeezing": squeezing,
}
assert set(VIEWS) == set(get_args(TableName))
