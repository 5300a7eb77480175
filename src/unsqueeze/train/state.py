"""What a checkpoint holds beside the exported policy, so that training goes on as if it had never stopped.

``state/`` is plain data: safetensors and JSON.

    weights.safetensors      the fp32 weights in training
    optimizer-rl.safetensors the RL optimizer's moments, by name of weight
    optimizer-irl.safetensors the same, where the IRL optimizer keeps its state from phase to phase
    phase_start.safetensors  inside a phase only: the weights, and samples of the policy, of the moment it began
    state.json               step, phase, version, how many problems were handed out, lines of metrics, and the
                             SHA-256 of each file above
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unsqueeze.errors import RunError
from unsqueeze.store.provenance import sha256_of
from unsqueeze.train.batch import Row
from unsqueeze.train.phase_report import PhaseStart
from unsqueeze.train.policy import Policy
from unsqueeze.train.probe import ProbeSamples


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far training is: RL steps done, the phase to go on with, and what goes with them.

    ``phase_begun`` says whether that phase is under way, or is to begin.
    """

    step: int = 0
    phase: int = 0
    phase_begun: bool = False
    policy_version: int = 0
    problems_taken: int = 0
    metrics_lines: int = 0


@dataclass(frozen=True, slots=True)
class Optimizers:
    """The RL optimizer, and the IRL optimizer only where its state lives on from phase to phase."""

    rl: torch.optim.Optimizer
    irl: torch.optim.Optimizer | None = None

    def by_name(self) -> dict[str, torch.optim.Optimizer]:
        return {"rl": self.rl} if self.irl is None else {"rl": self.rl, "irl": self.irl}


def save_policy(folder: Path, policy: Policy, dtype: torch.dtype) -> None:
    """The policy in Hugging Face format, in the new folder ``folder``. RunError if the file system refuses."""
    with _refusals(folder):
        policy.save(folder, dtype=dtype)


def save_state(folder: Path, cursor: Cursor, policy: Policy, optimizers: Optimizers, start: PhaseStart | None) -> None:
    """Write everything into the new folder ``folder``. RunError if the file system refuses."""
    folder.mkdir(parents=True)
    with _refusals(folder):
        save_file({name: parameter.detach().contiguous() for name, parameter in policy.trainable()}, _weights(folder))
        for kind, optimizer in optimizers.by_name().items():
            save_file(_optimizer_tensors(policy, optimizer), _optimizer(folder, kind))
        if start is not None:
            save_file(_start_tensors(start), folder / "phase_start.safetensors")
    fields = asdict(cursor) | {
        "phase_start": None if start is None else _start_numbers(start),
        "sha256": {path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    }
    (folder / "state.json").write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def load_state(folder: Path, policy: Policy, optimizers: Optimizers) -> tuple[Cursor, PhaseStart | None]:
    """Bring policy and optimizer back to where ``save_state`` left them. RunError if the folder is damaged."""
    try:
        fields = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        numbers = fields.pop("phase_start")
        for name, digest in fields.pop("sha256").items():
            if sha256_of(folder / name) != digest:
                raise ValueError(f"{name} is not what was written")
        cursor = Cursor(**fields)
        start = _load_start(folder, numbers) if numbers is not None else None
        policy.put_weights(load_file(_weights(folder)))
        for kind, optimizer in optimizers.by_name().items():
            _restore_optimizer(policy, optimizer, load_file(_optimizer(folder, kind)))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RunError(f"{folder} cannot be resumed from, it is damaged or of another model: {error}.") from error
    policy.version = cursor.policy_version
    return cursor, start


@contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """What the libraries' own writers raise where the file system refuses, as RunError. OSError passes through."""
    try:
        yield
    except Exception as error:
        # safetensors has an error of its own, tokenizers raises nothing more special than Exception itself.
        if isinstance(error, SafetensorError) or type(error) is Exception:
            raise RunError(f"cannot write {folder}: {error}.") from error
        raise


def _optimizer(folder: Path, kind: str) -> Path:
    return folder / f"optimizer-{kind}.safetensors"


def _weights(folder: Path) -> Path:
    return folder / "weights.safetensors"


def _optimizer_tensors(policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value.detach().contiguous()
        for name, parameter in policy.trainable()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _restore_optimizer(policy: Policy, optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    parameters = dict(policy.trainable())
    for full_name, value in saved.items():
        name, _, key = full_name.rpartition("/")
        # AdamW keeps its step count on the CPU, whatever the device of the weight.
        device = torch.device("cpu") if key == "step" else parameters[name].device
        optimizer.state[parameters[name]][key] = value.to(device)


def _start_tensors(start: PhaseStart) -> dict[str, Tensor]:
    samples = start.samples
    arrays: dict[str, list[NDArray[Any]]] = {
        "prompt": [row.prompt_tokens for row in samples.rows],
        "response": [row.tokens for row in samples.rows],
        "logp": list(samples.logp),
    }
    tensors = {f"weights/{name}": value.contiguous() for name, value in start.weights.items()}
    for kind, parts in arrays.items():
        tensors[f"samples/{kind}"] = torch.from_numpy(np.concatenate(parts))
        tensors[f"samples/{kind}_lengths"] = torch.tensor([len(part) for part in parts])
    return tensors


def _start_numbers(start: PhaseStart) -> dict[str, float]:
    return {"greedy_logp": start.greedy_logp, "version": start.version, "seconds": start.seconds_so_far()}


def _load_start(folder: Path, numbers: Mapping[str, float]) -> PhaseStart:
    tensors = load_file(folder / "phase_start.safetensors")

    def parts(kind: str) -> list[np.ndarray]:
        lengths = tensors[f"samples/{kind}_lengths"].tolist()
        return [part.numpy().copy() for part in tensors[f"samples/{kind}"].split(lengths)]

    rows = tuple(
        Row(prompt_tokens=prompt, tokens=response, weight=0.0)
        for prompt, response in zip(parts("prompt"), parts("response"), strict=True)
    )
    return PhaseStart(
        weights={
            name.removeprefix("weights/"): value for name, value in tensors.items() if name.startswith("weights/")
        },
        samples=ProbeSamples(rows, tuple(parts("logp"))),
        greedy_logp=numbers["greedy_logp"],
        version=int(numbers["version"]),
        seconds_before=numbers["seconds"],
    )
