"""ms-swift's ``completions.jsonl`` (``--log_completions true``), one line of equally long lists a log call.

Written by ``GRPOTrainer.log`` (ms-swift 4.6). ``prompt`` is the text of the rendered template, its special tokens
written out; ``completion`` has no end token. The last batch of a run is written twice. ``prompt_id`` would start at 0
in every generation, so that groups are told by the prompt and the step.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.interop.rollouts.format import Asked, Format, as_number, first_line, list_of, reward_column
from unsqueeze.interop.sample_files import Record, read_samples

FILE = "completions.jsonl"
KNOWN = ("step", "prompt", "completion", "advantages", "solution", "num_turns", "entropy")
Number = (int, float, type(None))


def find(path: Path) -> list[str]:
    """Return the file, or that of an output folder, or of its only version (``v0-…``)."""
    if not path.is_dir():
        line = first_line(path) if path.suffix == ".jsonl" else None
        return [str(path)] if line is not None and _is_ours(line) else []
    if (path / FILE).is_file():
        return [str(path / FILE)]
    versions = sorted(path.glob(f"v*-*/{FILE}"))
    if len(versions) > 1:
        names = ", ".join(file.parent.name for file in versions)
        raise UserError(f"{path} holds several runs of ms-swift ({names}); give the folder of one.")
    return [str(file) for file in versions]


def _is_ours(line: dict[str, Any]) -> bool:
    lists = [line.get(name) for name in ("step", "prompt", "completion", "advantages")]
    return all(isinstance(each, list) for each in lists)


def read(files: Sequence[str], columns: Sequence[str], asked: Asked) -> Iterator[Record]:
    """Yield every element of every log call, the last call's repetition too."""
    for file in files:
        for call, record in enumerate(read_samples(file, ())):
            yield from _read_call(call, record, asked)


def _read_call(call: int, record: Record, asked: Asked) -> Iterator[Record]:
    line = record.fields
    prompts = list_of(record, "prompt", str)
    size = len(prompts)
    completions = list_of(record, "completion", str, length=size)
    steps = [_step(record, value) for value in list_of(record, "step", (str, int), length=size)]
    rewards = [name for name, values in line.items() if name not in KNOWN and _are_numbers(values, size)]
    reward = reward_column(record.where, rewards, asked, list(line))
    scores = [None] * size if reward is None else list_of(record, reward, Number, length=size)
    solutions = line.get("solution")
    golds = solutions if isinstance(solutions, list) and len(solutions) == size else [None] * size
    for place in range(size):
        yield Record(
            f"{record.where}, element {place + 1}",
            {
                "step": steps[place],
                "prompt": prompts[place],
                "completion": completions[place],
                "reward": as_number(record, reward or "", scores[place]),
                "rendered": True,
                "call": call,
                **({} if golds[place] is None else {"gold": golds[place]}),
            },
        )


def _step(record: Record, value: str | int) -> int:
    try:
        return int(value)
    except ValueError:
        raise UserError(f"{record.where}: column 'step' holds {value!r}; it must be a whole number.") from None


def _are_numbers(values: object, size: int) -> bool:
    return isinstance(values, list) and len(values) == size and all(type(each) in Number for each in values)


def arguments(path: Path) -> dict[str, Any]:
    """Return the trainer's arguments, ``args.json`` beside the file; none where it is not there."""
    beside = path / "args.json" if path.is_dir() else path.parent / "args.json"
    try:
        found = json.loads(beside.read_bytes())
    except OSError:
        return {}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{beside} is not valid JSON ({error}); mend it, or remove it and give --max-length.") from None
    if not isinstance(found, dict):
        raise UserError(f"{beside} holds no JSON object; mend it, or remove it and give --max-length.")
    return found


FORMAT = Format(
    name="swift",
    trainer="ms-swift",
    wanted="the output_dir of swift rlhf with --log_completions true, or its completions.jsonl",
    find=find,
    read=read,
    origins={
        "group": "prompt, and step (of the first log call that has the row)",
        "reward": "the list of a reward class",
        "text": "prompt (rendered: encoded without special tokens), completion (without its end token)",
        "cut off": "not in the file: tokens are counted against max_completion_length of args.json, or --max-length",
    },
    prompts="rendered",
    overlapping=True,
)
