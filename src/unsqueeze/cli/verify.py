"""``unsqueeze verify``: a verdict for every answer of a file."""

from typing import Annotated

import typer

from unsqueeze.cli.judging import (
    MEMORY_MB,
    TIMEOUT_S,
    WORKERS,
    CreditOption,
    MemoryOption,
    TimeoutOption,
    WorkersOption,
    notes,
)


def verify(
    file: Annotated[str, typer.Argument(help="JSONL or Parquet with gold and prediction; - for standard input.")],
    out: Annotated[
        str,
        typer.Option(
            help="Where to write; a file that is there is replaced once all is judged. - for standard output."
        ),
    ] = "-",
    workers: WorkersOption = WORKERS,
    timeout: TimeoutOption = TIMEOUT_S,
    memory_mb: MemoryOption = MEMORY_MB,
    credit: CreditOption = "anywhere",
    explain: Annotated[bool, typer.Option("--explain", help="Add extracted and reason beside verdict.")] = False,
) -> None:
    """Judge answers with Math-Verify, in processes that are killed when an answer hangs or eats the memory.

    Adds [bold]verdict[/bold] to every line, in order: correct, wrong, unparsable, or (not judged) timed_out, crashed.
    All other fields stay as they are.

    Examples:
      unsqueeze verify samples.jsonl --out judged.jsonl
      cat samples.jsonl | unsqueeze verify - --credit boxed --explain > judged.jsonl
    """
    from unsqueeze.cli.progress import TerminalProgress
    from unsqueeze.evaluation.verdict_files import count_samples, describe_counts, write_verdicts
    from unsqueeze.verify.extract import check_credit
    from unsqueeze.verify.math_verifier import MathVerifier

    console = notes()
    checked_credit, total = check_credit(credit), count_samples(file)
    with MathVerifier(workers, timeout, memory_mb, checked_credit) as verifier:
        if total is None:
            counts = write_verdicts(file, out, verifier, explain=explain)
        else:
            with TerminalProgress(console) as progress, progress.work("verifying", total) as advance:
                counts = write_verdicts(file, out, verifier, explain=explain, on_finished=advance)
    console.print(describe_counts(counts))
