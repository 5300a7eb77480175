"""A verifier of several processes: each judges a share."""

from collections.abc import Sequence

from unsqueeze.distributed.processes import Processes
from unsqueeze.distributed.sharing import dealt_back
from unsqueeze.tasks.problem import Problem
from unsqueeze.verify.verdict import Judgement, Verifier


class SharedVerifier:
    """Implements ``Verifier``: each process judges its share of the responses, and all get all judgements."""

    def __init__(self, verifier: Verifier, processes: Processes) -> None:
        self._verifier = verifier
        self._processes = processes

    def verify(self, problems: Sequence[Problem], responses: Sequence[str]) -> list[Judgement]:
        share = slice(self._processes.rank, None, self._processes.size)
        with self._processes.agreeing():
            mine = self._verifier.verify(problems[share], responses[share])
        return dealt_back(self._processes.gather(mine))

    def close(self) -> None:
        self._verifier.close()
