"""``unsqueeze verify``: a verdict for every answer of a file."""

import shlex
from typing import Annotated, Any

import typer

from unsqueeze.cli.options import SkipBadOption, begin, judging, print_next, takes


@takes(judging)
def verify(
    file: Annotated[str, typer.Argument(help="JSONL or Parquet with gold and prediction; - for standard input.")],
    out: Annotated[
        str,
        typer.Option(
            help="Where to write; a file that is there is replaced once all is judged. - for standard output."
        ),
    ] = "-",
    explain: Annotated[bool, typer.Option("--explain", help="Add extracted and reason beside verdict.")] = False,
    skip_bad: SkipBadOption = False,
    **given: Any,
) -> None:
    """Judge answers with Math-Verify, in processes that are killed when an answer hangs or eats the memory.

    Adds [bold]verdict[/bold] to every line, in order: correct, wrong, unparsable, or (not judged) timed_out, too_large,
    crashed, unreadable_gold. All other fields stay as they are. Gold answers that cannot be read are named, and so are
    the lines that --skip-bad leaves out.

    Examples:
      unsqueeze verify samples.jsonl --out judged.jsonl
      cat samples.jsonl | unsqueeze verify - --credit boxed --explain > judged.jsonl
    """
    console = begin(f"{'standard input' if file == '-' else file}: judging")
    import unsqueeze as uq
    from unsqueeze.cli.progress import TerminalProgress
    from unsqueeze.evaluation.verdict_files import describe_counts

    with TerminalProgress(console) as progress:
        counts = uq.judge_file(file, out, explain=explain, skip_bad=skip_bad, progress=progress, **given)
    console.print(describe_counts(counts))
    if out != "-":
        print_next(console, {shlex.join(["unsqueeze", "score", out]): "Avg@n and Pass@k, where lines have problem_id"})
