"""prime-rl's ``rollouts/step_12/train/all/traces.jsonl``, one episode of verifiers a line.

Written by ``FileMonitor.log_episodes`` (prime-rl 559b447) as ``Episode.to_record()`` of verifiers: null fields are left
out. A trace is a graph of messages; a path from its root to a leaf, all tokens joined, is what the model saw.
``effective`` repeats episodes of ``all``, and is read only where that is not there; ``eval`` is left aside.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unsqueeze.errors import UserError
from unsqueeze.interop.rollouts.format import Asked, Format, first_line, list_of, number_of, reward_column, value_of
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


def read(files: Sequence[str], columns: Sequence[str], asked: Asked) -> Iterator[Record]:
    """Yield the one path of every trainable trace. UserError for several turns, and for several paths."""
    for file in files:
        found = re.search(r"step_(\d+)$", str(Path(file).parents[2])) if len(Path(file).parents) > 2 else None
        for record in read_samples(file, ()):
            traces = list_of(record, "traces", Mapping)
            work = (record.fields.get("run") or {}).get("work") or {}
            if work.get("type") == "eval":
                continue
            step = int(found[1]) if found else work.get("step")
            for place, trace in enumerate(traces):
                if (trace.get("agent") or {}).get("trainable", True):
                    yield _rollout(record, Record(f"{record.where}, trace {place + 1}", trace), step, asked)


def _rollout(episode: Record, trace: Record, step: int | None, asked: Asked) -> Record:
    nodes = list_of(trace, "nodes", Mapping)
    path = _path(trace, nodes)
    sampled = [node for node in path if node.get("sampled")]
    if len(sampled) != 1 or not path[-1].get("sampled"):
        raise UserError(
            f"{trace.where}: {len(sampled)} messages of the model in one conversation; only a prompt with one response "
            f"is a demonstration."
        )
    task = value_of(trace, "task", "It must be an object.")
    group, gold = (episode.fields.get("group") or {}).get("id"), (task.get("data") or {}).get("answer")
    fields = {
        "problem_id": str(task.get("key") or task.get("hash") or (task.get("data") or {}).get("idx")),
        **({} if step is None else {"step": step}),
        **({} if group is None else {"group": group}),
        "prompt": [_message(trace, node["message"]) for node in path[:-1]],
        "completion": _response(sampled[0]["message"]),
        "reward": _reward(trace, asked),
        **_tokens(trace, path),
        **({} if gold is None else {"gold": gold}),
    }
    place = nodes.index(path[-1])
    calls = [call for call in trace.fields.get("calls", ()) if call.get("node") == place]
    reason = ENDS.get(calls[-1].get("finish_reason")) if calls else None
    return Record(trace.where, fields | ({} if reason is None else {"stop_reason": reason}))


def _path(trace: Record, nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    parents = [node.get("parent") for node in nodes]
    leaves = [place for place in range(len(nodes)) if place not in parents]
    if len(leaves) != 1:
        raise UserError(f"{trace.where}: a trace of {len(leaves)} branches; only one conversation is a demonstration.")
    path: list[Mapping[str, Any]] = []
    place: int | None = leaves[0]
    while place is not None and len(path) <= len(nodes):
        path.append(nodes[place])
        place = parents[place]
        if place is not None and not (isinstance(place, int) and 0 <= place < len(nodes)):
            raise UserError(f"{trace.where}: a node's parent is {place!r}, and there are {len(nodes)} nodes.")
    return path[::-1]


def _message(trace: Record, message: Mapping[str, Any]) -> dict[str, str]:
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, Mapping) and "text" in part for part in content):
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise UserError(f"{trace.where}: a message of {message.get('role')!r} that is not text; images cannot be read.")
    return {"role": message["role"], "content": content}


def _response(message: Mapping[str, Any]) -> str | None:
    """Return the text of a response; None where it was taken apart, so that only its tokens have all of it."""
    if message.get("reasoning_content") is not None or message.get("tool_calls"):
        return None
    return message.get("content") or ""


def _tokens(trace: Record, path: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ids = [token for node in path for token in node.get("token_ids", ())]
    mask = [flag for node in path for flag in node.get("mask", ())]
    if len(ids) != len(mask):
        raise UserError(f"{trace.where}: {len(ids)} token_ids and {len(mask)} values of mask; there must be as many.")
    start = mask.index(True) if True in mask else len(mask)
    if start == len(mask) or not all(mask[start:]):
        return {"mean_logp": None}
    logp = path[-1].get("logprobs", ())
    known = {"logprobs": [float(value) for value in logp]} if len(logp) == len(ids) - start else {"mean_logp": None}
    return {"prompt_tokens": ids[:start], "tokens": ids[start:], **known}


def _reward(trace: Record, asked: Asked) -> float | None:
    rewards = value_of(trace, "rewards", "It must be an object of rewards by name.")
    if trace.fields.get("errors"):
        return None
    name = reward_column(trace.where, list(rewards), asked, list(trace.fields))
    entry = None if name is None else rewards[name]
    return None if entry is None else number_of(Record(f"{trace.where}, reward {name}", entry), "score")


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
