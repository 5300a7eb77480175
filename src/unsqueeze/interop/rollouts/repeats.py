"""Rows that a trainer wrote again in a later log call."""

import hashlib
import json
from collections import Counter

from unsqueeze.interop.sample_files import Record


class Repeats:
    """Tells rows that are in an earlier log call already: the same prompt, completion and reward.

    Equal rows of one call are samples of their own: where a call has three and an earlier one had two, one is new.
    Memory holds one number a distinct row.
    """

    def __init__(self) -> None:
        self._earlier: dict[int, int] = {}
        self._present: Counter[int] = Counter()
        self._call: object = None

    def is_one(self, record: Record) -> bool:
        """Tell whether the row is one of an earlier call. Rows are to come in their order."""
        fields = record.fields
        if fields["call"] != self._call:
            for digest, count in self._present.items():
                self._earlier[digest] = max(count, self._earlier.get(digest, 0))
            self._present.clear()
            self._call = fields["call"]
        said = json.dumps([fields["prompt"], fields["completion"], fields["reward"]], sort_keys=True, default=str)
        digest = int.from_bytes(hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=8).digest())
        self._present[digest] += 1
        return self._present[digest] <= self._earlier.get(digest, 0)
