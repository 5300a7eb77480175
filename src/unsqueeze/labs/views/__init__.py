"""The tables that are made of a suite's runs, a file each, and the list of them by name."""

from collections.abc import Callable, Mapping

from unsqueeze.labs.gather import Results
from unsqueeze.labs.tables import Table
from unsqueeze.labs.views.differences import differences
from unsqueeze.labs.views.results import results

VIEWS: Mapping[str, Callable[[Results], Table]] = {"results": results, "differences": differences}
