"""An evaluation that is done, as a value that asks for no model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from unsqueeze.metrics.summary import Summary


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """An evaluation that is done: its directory, the summary, every sample as a table, and what else is on record."""

    path: Path
    summary: Summary
    samples: pa.Table
    record: Mapping[str, Any]
    num_drawn: int
