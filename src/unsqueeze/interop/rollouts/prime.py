"""prime-rl's ``rollouts/step_12/train/all/traces.jsonl``, one episode of verifiers a line.

Written by ``FileMonitor.log_episodes`` (prime-rl 559b447) as ``Episode.to_record()`` of verifiers: null fields are left
out. A trace is a graph of messages; a path from its root to a leaf, all tokens joined, is what the model saw.
``effective`` repeats episodes of ``all``, and is read only where that is not there; ``eval`` is left aside.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unsqueeze.errors import UserError
from unsqueeze.interop.rollouts.format import Asked, Format, first_line, reward_column
from unsqueeze.interop.sample_files import Record, read_samples

FILE = "traces.jsonl"
ENDS = {"length": "length"}


def find(path: Path) -> list[str]:
    """Return the training traces of a run's output folder or its ``rollouts/`` in order, or the one file."""
    if not path.is_dir():
        line = first_line(path) if path.suffix == ".jsonl" else None
        return [str(path)] if line is not None and {"task", "traces"} <= line.keys() else []
    folder = path / "rollouts" if (path / "rollouts").is_dir() else path
    steps = [(int(found[1]), each) for each in folder.glob("step_*") if (found := re.search(r"step_(\d+)$", each.name))]
    files = [_of_step(each) for _, each in sorted(steps)]
    return [str(file) for file in files if file is not None]


def _of_step(folder: Path) -> Path | None:
    places = (folder / "train" / subset / FILE for subset in ("all", "effective"))
    return next((place for place in places if place.is_file()), None)


class _Part(BaseModel):
    """What is read of an episode; the rest is ignored. Null fields are left out of the files."""

    model_config = ConfigDict(strict=True, allow_inf_nan=True)


class _Text(_Part):
    text: str


class _Message(_Part):
    role: str
    content: str | list[_Text] | None = None
    reasoning_content: str | None = None
    tool_calls: list[Any] | None = None

    @property
    def said(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class _Node(_Part):
    message: _Message
    parent: int | None = Field(None, ge=0)
    sampled: bool = False
    token_ids: list[int] = []
    mask: list[bool] = []
    logprobs: list[float] = []


class _Call(_Part):
    node: int | None = None
    finish_reason: str | None = None


class _Reward(_Part):
    score: float = Field(gt=-1e300, lt=1e300)


class _Task(_Part):
    data: dict[str, Any] = {}
    key: str | None = None
    hash: str | None = None


class _Agent(_Part):
    trainable: bool = True


class _Trace(_Part):
    task: _Task
    nodes: list[_Node]
    rewards: dict[str, _Reward | None] = {}
    calls: list[_Call] = []
    agent: _Agent = _Agent()
    errors: list[Any] = []


class _Work(_Part):
    type: str = "train"
    step: int | None = None


class _Run(_Part):
    work: _Work = _Work()


class _Group(_Part):
    id: str


class _Episode(_Part):
    traces: list[_Trace]
    group: _Group | None = None
    run: _Run = _Run()


def read(files: Sequence[str], columns: Sequence[str], asked: Asked) -> Iterator[Record]:
    """Yield the one path of every trainable trace. UserError for several turns, and for several paths."""
    for file in files:
        parents = Path(file).parents
        found = re.search(r"step_(\d+)$", str(parents[2])) if len(parents) > 2 else None
        for record in read_samples(file, ()):
            episode = _episode(record)
            if episode.run.work.type == "eval":
                continue
            step = int(found[1]) if found else episode.run.work.step
            for place, trace in enumerate(episode.traces, start=1):
                if trace.agent.trainable:
                    where = f"{record.where}, trace {place}"
                    yield Record(where, _rollout(where, episode, trace, step, asked))


def _episode(record: Record) -> _Episode:
    try:
        return _Episode.model_validate(record.fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{record.where}: {place}: {first['msg']} (columns there: {record.names()}); an episode of verifiers is "
            f"wanted, as prime-rl stores it."
        ) from None


def _rollout(where: str, episode: _Episode, trace: _Trace, step: int | None, asked: Asked) -> dict[str, Any]:
    path = _path(where, trace.nodes)
    sampled = [node for node in path if node.sampled]
    if len(sampled) != 1 or not path[-1].sampled:
        raise UserError(
            f"{where}: {len(sampled)} messages of the model in one conversation; only a prompt with one response "
            f"is a demonstration."
        )
    task, gold = trace.task, trace.task.data.get("answer")
    place = next(place for place, node in enumerate(trace.nodes) if node is path[-1])
    reasons = [ENDS.get(call.finish_reason or "") for call in trace.calls if call.node == place]
    response = path[-1].message
    whole = response.reasoning_content is None and not response.tool_calls
    return {
        "problem_id": str(task.key or task.hash or task.data.get("idx")),
        **({} if step is None else {"step": step}),
        **({} if episode.group is None else {"group": episode.group.id}),
        "prompt": [_asked(where, node.message) for node in path[:-1]],
        # Where it was taken apart, its tokens alone have all of it.
        "completion": response.said if whole else None,
        "reward": _reward(where, trace, asked),
        **_tokens(where, path),
        **({} if gold is None else {"gold": gold}),
        **({"stop_reason": reasons[-1]} if reasons and reasons[-1] is not None else {}),
    }


def _path(where: str, nodes: Sequence[_Node]) -> list[_Node]:
    parents = [node.parent for node in nodes]
    leaves = [place for place in range(len(nodes)) if place not in parents]
    if len(leaves) != 1 or any(parent is not None and parent >= place for place, parent in enumerate(parents)):
        raise UserError(f"{where}: a trace of {len(leaves)} branches; only one conversation is a demonstration.")
    path: list[_Node] = []
    place: int | None = leaves[0]
    while place is not None:
        path.append(nodes[place])
        place = parents[place]
    return path[::-1]


def _asked(where: str, message: _Message) -> dict[str, str]:
    if message.content is None:
        raise UserError(f"{where}: a message of {message.role!r} has no text; leave such traces out.")
    return {"role": message.role, "content": message.said}


def _tokens(where: str, path: Sequence[_Node]) -> dict[str, Any]:
    ids = [token for node in path for token in node.token_ids]
    mask = [flag for node in path for flag in node.mask]
    if len(ids) != len(mask):
        raise UserError(f"{where}: {len(ids)} token_ids and {len(mask)} values of mask; there must be as many.")
    start = mask.index(True) if True in mask else len(mask)
    if start == len(mask) or not all(mask[start:]):
        return {"mean_logp": None}
    logp = path[-1].logprobs
    known = {"logprobs": logp} if len(logp) == len(ids) - start else {}
    return {"prompt_tokens": ids[:start], "tokens": ids[start:], "mean_logp": None, **known}


def _reward(where: str, trace: _Trace, asked: Asked) -> float | None:
    if trace.errors or not trace.rewards:  # what failed, and what was not scored, has none
        return None
    name = reward_column(where, list(trace.rewards), asked, list(trace.rewards))
    entry = None if name is None else trace.rewards[name]
    return None if entry is None or entry.score != entry.score else entry.score


FORMAT = Format(
    name="prime",
    trainer="prime-rl",
    wanted="the output folder with rollouts/step_N/train/all/traces.jsonl",
    find=find,
    read=read,
    origins={
        "group": "group.id, task.key and the step of the folder",
        "reward": "score of the entry of rewards; null where the trace failed",
        "likelihood": "logprobs of the sampled node",
        "tokens": "token_ids and mask of the nodes of the path",
        "text": "messages of the nodes",
        "cut off": "finish_reason length of the call",
    },
    has_tokens=True,
    has_likelihood=True,
    says_ends=True,
)
