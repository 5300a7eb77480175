"""What is to be said of a file of samples once it is read: lines left out, and gold answers that cannot be read."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from unsqueeze.errors import UserError
from unsqueeze.interop.sample_files import Record
from unsqueeze.progress import Progress
from unsqueeze.verify.verdict import Judgement, of_unreadable_gold
from unsqueeze.wording import counted

MOST_NAMED = 10


class FileNotes:
    """Collects both. ``skip_bad``: a line that cannot be read is left out; otherwise it ends the command."""

    def __init__(self, *, skip_bad: bool = False) -> None:
        self.num_bad = 0
        self.num_unreadable = 0
        self._skip_bad = skip_bad
        self._bad: list[str] = []
        self._unreadable: list[str] = []

    @property
    def on_bad(self) -> Callable[[UserError], None]:
        """What is to be done with the error of a line: it is taken down, or ends the command with the way out."""
        return self._leave_out if self._skip_bad else _refuse

    def usable(self, records: Iterable[Record], check: Callable[[Record], object]) -> Iterator[Record]:
        """The records that ``check`` raises no UserError for; where none is to be left out, it is raised."""
        for record in records:
            try:
                check(record)
            except UserError as error:
                self.on_bad(error)
            else:
                yield record

    def note_judgements(self, records: Sequence[Record], judgements: Iterable[Judgement]) -> None:
        """Take down the samples that were not judged because of their gold answers."""
        for record, judgement in zip(records, judgements, strict=True):
            if of_unreadable_gold(judgement.verdict, judgement.reason):
                self.num_unreadable += 1
                if len(self._unreadable) < MOST_NAMED:
                    self._unreadable.append(f"{record.where}: {str(record.fields.get('gold'))[:60]!r}")

    def tell(self, progress: Progress) -> None:
        """Warn of both, naming the first of them."""
        if self.num_bad:
            progress.warn(f"{counted(self.num_bad, 'line', 'is', 'are')} left out: {_some(self._bad, self.num_bad)}")
        if self.num_unreadable:
            progress.warn(
                f"{counted(self.num_unreadable, 'answer', 'is', 'are')} not judged, since the gold answer cannot be "
                f"read: {_some(self._unreadable, self.num_unreadable)}"
            )

    def _leave_out(self, error: UserError) -> None:
        self.num_bad += 1
        if len(self._bad) < MOST_NAMED:
            self._bad.append(str(error).split(". ")[0].rstrip("."))


def _refuse(error: UserError) -> None:
    raise UserError(f"{error} Or leave such lines out, counted, with --skip-bad (skip_bad=True).") from None


def _some(named: Sequence[str], count: int) -> str:
    more = f"; and {count - len(named):,} more" if count > len(named) else ""
    return "; ".join(named) + more + "."
