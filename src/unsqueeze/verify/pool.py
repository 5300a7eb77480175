"""A pool of killable workers: every job gets a grade, within its deadline, whatever the other jobs do."""

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from unsqueeze.errors import RunError, UserError
from unsqueeze.verify.job import OWN_ENDS, UNREADABLE_GOLD, Grade, GraderName, Job
from unsqueeze.verify.processes import NurseryDiedError, NurseryHandle, WorkerHandle
from unsqueeze.verify.verdict import Verdict

_MAX_BATCH_JOBS = 32
_MAX_BATCH_CHARACTERS = 1 << 18
_MAX_ATTEMPTS = 2
_MAX_NURSERIES = 3
# Beyond the verifier's own deadline the kernel ends a worker whose judge is gone.
_ALARM_FACTOR = 9.0
_ALARM_EXTRA_S = 5.0
# A deadline holds against a worker that had at least this share of it of the processor; one that had less is not slow
# but kept waiting, and is given so many times the deadline.
_COMPUTED_SHARE = 0.25
_PATIENCE = 8.0
# Whether it is to end at once, a round asks so often.
_LOOKS_UP_S = 0.1
_ANSWERS_DOING = ("timed_out", "too_large")


def _timed_out(timeout_s: float) -> Grade:
    return Grade("timed_out", False, None, f"not judged within {timeout_s:g} s")


def _kept_waiting(waited_s: float, computed_s: float) -> Grade:
    return Grade(
        "crashed", False, None, f"in {waited_s:.0f} s the worker had the processor for {computed_s:.1f} s: too little"
    )


class _Round:
    """The jobs of one call: which wait, how often each was tried, which are graded."""

    def __init__(self, jobs: Sequence[Job], on_finished: Callable[[int], None] | None) -> None:
        self.jobs = jobs
        self.grades: list[Grade | None] = [None] * len(jobs)
        self.waiting = deque(range(len(jobs)))
        self.attempts = [0] * len(jobs)
        self.num_open = len(jobs)
        self._on_finished = on_finished

    def finish(self, key: int, grade: Grade) -> None:
        assert self.grades[key] is None
        self.grades[key] = grade
        self.num_open -= 1
        if self._on_finished:
            self._on_finished(1)

    def take_batch(self, num_workers: int) -> list[int]:
        """The next jobs for one worker: fewer at a time towards the end; one that failed before goes alone."""
        limit = min(_MAX_BATCH_JOBS, max(1, len(self.waiting) // (4 * num_workers)))
        batch: list[int] = []
        characters = 0
        while self.waiting and len(batch) < limit and characters < _MAX_BATCH_CHARACTERS:
            if batch and self.attempts[self.waiting[0]]:
                break
            key = self.waiting.popleft()
            batch.append(key)
            characters += len(self.jobs[key].text)
            if self.attempts[key]:
                break
        return batch

    def give_back(self, keys: Sequence[int]) -> None:
        self.waiting.extendleft(reversed(keys))


class WorkerPool:
    """Keeps ``workers`` processes; kills and replaces one that is over its deadline or its memory.

    Only the job that a worker was at is touched by its end: over the deadline it is TIMED_OUT; where the worker died it
    is tried once more, alone, and then TOO_LARGE where it died of itself, CRASHED where it was killed from outside. The
    other jobs of that worker go to the next.

    Time and memory are held against an answer only where it is the cause: not where the worker was kept from computing
    (CRASHED), nor where the gold answer is as slow or large against a harmless answer too (UNREADABLE_GOLD).
    """

    def __init__(self, *, workers: int, timeout_s: float, memory_mb: int, grader: GraderName = "math") -> None:
        if os.name != "posix":
            raise UserError("verify: the verifier needs a POSIX system (Linux or macOS) to limit and kill its workers.")
        if workers < 1:
            raise UserError(f"verify: workers is {workers}; it must be at least 1.")
        if not timeout_s > 0:
            raise UserError(f"verify: timeout is {timeout_s} s; it must be more than 0.")
        if memory_mb < 192:
            raise UserError(f"verify: memory_mb is {memory_mb}; a worker needs at least 192 to load Math-Verify.")
        self._num_workers = workers
        self._timeout_s = timeout_s
        self._memory_mb = memory_mb
        self._grader: GraderName = grader
        self._workers: list[WorkerHandle] = []
        self._nursery: NurseryHandle | None = None
        self._num_nurseries_lost = 0
        self._is_abandoned = threading.Event()

    def start(self) -> None:
        """Load Math-Verify in the background. Done by ``run`` where it was not done before."""
        if self._nursery is None:
            self._nursery = NurseryHandle(
                memory_mb=self._memory_mb,
                alarm_s=_ALARM_FACTOR * self._timeout_s + _ALARM_EXTRA_S,
                grader=self._grader,
            )

    def run(self, jobs: Sequence[Job], on_finished: Callable[[int], None] | None = None) -> list[Grade]:
        """Grades in the order of the jobs. ``on_finished`` is told of each as it is known."""
        grades = self._run(jobs, on_finished)
        slow = {job.gold for job, grade in zip(jobs, grades, strict=True) if grade.verdict in _ANSWERS_DOING}
        slow -= {job.gold for job, grade in zip(jobs, grades, strict=True) if Verdict(grade.verdict).judged}
        if not slow:
            return grades
        harmless = [Job(gold, "\\boxed{0}", "box") for gold in sorted(slow)]
        tried = {job.gold: grade for job, grade in zip(harmless, self._run(harmless, None), strict=True)}
        at_fault = {gold: grade.reason for gold, grade in tried.items() if grade.verdict in _ANSWERS_DOING}
        return [
            Grade("unreadable_gold", False, grade.extracted, f"{UNREADABLE_GOLD}: {at_fault[job.gold]}")
            if grade.verdict in _ANSWERS_DOING and job.gold in at_fault
            else grade
            for job, grade in zip(jobs, grades, strict=True)
        ]

    def _run(self, jobs: Sequence[Job], on_finished: Callable[[int], None] | None) -> list[Grade]:
        this_round = _Round(jobs, on_finished)
        self._num_nurseries_lost = 0
        try:
            while this_round.num_open:
                if self._is_abandoned.is_set():
                    raise RunError("verify: judging was abandoned; what was asked for is of no use any more.")
                self._staff(this_round)
                self._exchange(this_round)
        except BaseException:
            # What the workers are at belongs to a call that is over.
            self._dismiss(list(self._workers))
            raise
        grades = [grade for grade in this_round.grades if grade is not None]
        assert len(grades) == len(jobs)
        return grades

    @contextlib.contextmanager
    def abandoning(self) -> Iterator[None]:
        """For the duration, a call of ``run`` in another thread ends at once with RunError, and so does a new one."""
        self._is_abandoned.set()
        try:
            yield
        finally:
            self._is_abandoned.clear()

    def close(self) -> None:
        self._dismiss(list(self._workers))
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None

    def forget(self) -> None:
        """In a forked copy of the verifier's process: the workers are the original's; close our ends and leave them."""
        for worker in self._workers:
            worker.close()
        self._workers = []
        if self._nursery is not None:
            self._nursery.forget()
            self._nursery = None

    def _staff(self, this_round: _Round) -> None:
        """Give every idle worker something to do, hiring as many as there is work for."""
        given = [worker for worker in self._workers if not worker.in_flight and self._give(worker, this_round)]
        while this_round.waiting and len(self._workers) < self._num_workers:
            worker = self._hire()
            self._workers.append(worker)
            self._give(worker, this_round)
            given.append(worker)
        for worker in given:  # not before: hiring may take as long as Math-Verify takes to load
            worker.begin(self._timeout_s)

    def _give(self, worker: WorkerHandle, this_round: _Round) -> bool:
        """Give a worker its next batch. False where nothing waits."""
        batch = this_round.take_batch(self._num_workers)
        if batch:
            worker.give(batch, [asdict(this_round.jobs[key]) for key in batch])
        return bool(batch)

    def _hire(self) -> WorkerHandle:
        while True:
            self.start()
            assert self._nursery is not None
            try:
                return self._nursery.fork()
            except (NurseryDiedError, OSError) as error:
                self._nursery.close()
                self._nursery = None
                self._num_nurseries_lost += 1
                if self._num_nurseries_lost >= _MAX_NURSERIES:
                    raise RunError(f"verify: the process that loads Math-Verify keeps failing: {error}") from error

    def _exchange(self, this_round: _Round) -> None:
        """Wait for the pipes or the nearest deadline, not for long, and deal with what has come."""
        poll = select.poll()
        busy = [worker for worker in self._workers if worker.in_flight]
        for worker in busy:
            poll.register(worker.results_fd, select.POLLIN)
            if worker.sending:
                poll.register(worker.jobs_fd, select.POLLOUT)
        wait_s = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
        ready = dict(poll.poll(min(wait_s, _LOOKS_UP_S) * 1000 + 1))
        for worker in busy:
            if worker.results_fd in ready and not self._collect(worker, this_round):
                continue
            if worker.jobs_fd in ready:
                with contextlib.suppress(BrokenPipeError):  # its death shows where results are read
                    worker.send()
            if worker.in_flight and time.monotonic() > worker.deadline:
                self._overdue(worker, this_round)

    def _overdue(self, worker: WorkerHandle, this_round: _Round) -> None:
        """End a worker that is over its deadline, unless it was kept from computing and may have more time."""
        grade = _timed_out(self._timeout_s)
        computed_s = worker.computed_s()
        if computed_s is not None and (lacking_s := _COMPUTED_SHARE * self._timeout_s - computed_s) > 0:
            waited_s = time.monotonic() - worker.begun
            if waited_s < _PATIENCE * self._timeout_s:
                worker.deadline = time.monotonic() + max(lacking_s, 0.01)
                return
            grade = _kept_waiting(waited_s, computed_s)
        this_round.finish(worker.in_flight.popleft(), grade)
        this_round.give_back(worker.in_flight)
        self._dismiss([worker])

    def _collect(self, worker: WorkerHandle, this_round: _Round) -> bool:
        """Take in the results of a worker. False where it turned out to be dead, and was buried."""
        results = worker.receive()
        if results is None:
            self._mourn(worker, this_round)
            return False
        for result in results:
            this_round.finish(worker.in_flight.popleft(), Grade(**result))
        if results:
            worker.begin(self._timeout_s)
        return True

    def _mourn(self, worker: WorkerHandle, this_round: _Round) -> None:
        (code,) = self._dismiss([worker])
        culprit = worker.in_flight[0]
        if not worker.retired:
            this_round.attempts[culprit] += 1
            if this_round.attempts[culprit] >= _MAX_ATTEMPTS:
                worker.in_flight.popleft()
                verdict = "too_large" if code in OWN_ENDS else "crashed"
                this_round.finish(culprit, Grade(verdict, False, None, "the worker died on this answer, twice"))
        this_round.give_back(worker.in_flight)

    def _dismiss(self, workers: Sequence[WorkerHandle]) -> list[int | None]:
        """Bury workers; returns the codes they ended with."""
        codes = []
        for worker in workers:
            self._workers.remove(worker)
            codes.append(None if self._nursery is None else self._nursery.bury(worker))
        return codes
