"""State that a checkpoint holds beside the exported policy, so that training goes on as if it had never stopped.

``state/`` is plain data: safetensors and JSON.

    weights.safetensors      the fp32 weights in training
    optimizer-rl.safetensors the RL optimizer's moments, by name of weight
    optimizer-irl.safetensors the same, where the IRL optimizer keeps its state from phase to phase
    phase_start.safetensors  inside a phase only: the weights, and samples of the policy, of the moment it began; an RL
                             phase that ends because the run does is not over
    reference.safetensors    the weights of the reference policy, where ``rl.reset`` has made it another than the base
    state.json               step, phase, version, how many problems were handed out, lines of metrics, and the
                             SHA-256 of each file above and of what else state.json says
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unsqueeze.digests import sha256_of, write_sums
from unsqueeze.distributed.processes import Processes
from unsqueeze.distributed.sharding import from_piece, like, piece, whole
from unsqueeze.errors import RunError
from unsqueeze.plain_json import dumps
from unsqueeze.policy.batch import Row
from unsqueeze.policy.policy import Policy
from unsqueeze.policy.reference import Reference
from unsqueeze.training.phase_start import PhaseStart
from unsqueeze.training.probe import ProbeSamples, RoundingFloor
from unsqueeze.training.state_fields import checked_fields
from unsqueeze.training.watching import Stopwatch

WEIGHTS = "weights.safetensors"
PHASE_START = "phase_start.safetensors"
REFERENCE = "reference.safetensors"
STATE = "state.json"
_READING = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError)
"""What reading a file of a state may raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Progress of training: RL steps done, the phase to go on with, and what goes with them.

    ``phase_begun`` says whether that phase is under way, or is to begin. ``entropy_coefficient`` is that of the next
    step's entropy bonus.
    """

    step: int = 0
    phase: int = 0
    phase_begun: bool = False
    policy_version: int = 0
    problems_taken: int = 0
    metrics_lines: int = 0
    entropy_coefficient: float = 0.0


@dataclass(frozen=True, slots=True)
class Optimizers:
    """The RL optimizer, and the IRL optimizer only where its state lives on from phase to phase."""

    rl: torch.optim.Optimizer
    irl: torch.optim.Optimizer | None = None

    def by_name(self) -> dict[str, torch.optim.Optimizer]:
        return {"rl": self.rl} if self.irl is None else {"rl": self.rl, "irl": self.irl}


def save_policy(folder: Path, policy: Policy, dtype: torch.dtype, weights: Mapping[str, Tensor] | None = None) -> None:
    """The policy in Hugging Face format, in the new folder ``folder``, with the digests of its files.

    RunError if the file system refuses.
    """
    with _refusals(folder):
        policy.save(folder, dtype=dtype, weights=weights)
        write_sums(folder)


def whole_state(
    policy: Policy, optimizers: Optimizers, start: PhaseStart | None, reference: Reference | None = None
) -> dict[str, dict[str, Tensor]]:
    """Return what goes into each safetensors file, in the main process; others lend their pieces, and get nothing."""
    files = {WEIGHTS: _trained(policy)}
    for kind, optimizer in optimizers.by_name().items():
        files[_optimizer(kind)] = _optimizer_tensors(policy, optimizer)
    if start is not None:
        files[PHASE_START] = _start_tensors(start, dict(policy.trainable()))
    weights = None if reference is None else reference.weights()
    if weights is not None:
        parameters = dict(policy.trainable())
        files[REFERENCE] = {name: from_piece(parameters[name], value) for name, value in weights.items()}
    return {file: _whole(tensors, policy) for file, tensors in files.items()}


def whole_weights(policy: Policy) -> dict[str, Tensor]:
    """Return every trained weight, whole, in the main process; others lend their pieces, and get nothing."""
    return _whole(_trained(policy), policy)


def save_state(
    folder: Path, cursor: Cursor, state: Mapping[str, Mapping[str, Tensor]], start: PhaseStart | None
) -> None:
    """Write everything into the new folder ``folder``. RunError if the file system refuses."""
    folder.mkdir(parents=True)
    with _refusals(folder):
        for name, tensors in state.items():
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)
    fields = asdict(cursor) | {
        "phase_start": None if start is None else _start_numbers(start),
        "sha256": {path.name: sha256_of(path) for path in sorted(folder.iterdir())},
    }
    fields["sha256"] |= {STATE: digest_of(fields)}
    (folder / STATE).write_text(dumps(fields, indent=2) + "\n", encoding="utf-8")


def digest_of(fields: Mapping[str, Any]) -> str:
    """The SHA-256 of what state.json says beside this digest, whatever its layout."""
    others = {name: digest for name, digest in fields["sha256"].items() if name != STATE}
    return hashlib.sha256(json.dumps({**fields, "sha256": others}, sort_keys=True).encode()).hexdigest()


def load_state(
    folder: Path, policy: Policy, optimizers: Optimizers, reference: Reference | None = None
) -> tuple[Cursor, PhaseStart | None]:
    """Bring policy, optimizer and reference back to where ``save_state`` left them. RunError if the folder is damaged.

    The main process reads, one tensor at a time, and each process keeps what it holds of it: any number of processes
    goes on from what any other number has saved.
    """
    parameters = dict(policy.trainable())
    with _damage(folder):
        files = {WEIGHTS, *map(_optimizer, optimizers.by_name())}
        fields = policy.processes.on_main(lambda: _read_fields(folder, files))
        has_reference = REFERENCE in fields.pop("files")
        numbers = fields.pop("phase_start")
        cursor = Cursor(**fields)
        start = _load_start(folder, numbers, policy) if numbers is not None else None
        policy.put_weights(_read_weights(folder / WEIGHTS, policy))
        if reference is not None and has_reference:
            reference.set_weights(_read_weights(folder / REFERENCE, policy))
        for kind, optimizer in optimizers.by_name().items():
            _restore_optimizer(parameters, optimizer, _read_tensors(folder / _optimizer(kind), policy.processes))
    policy.version = cursor.policy_version
    return cursor, start


def state_fault(folder: Path) -> str | None:
    """Say what is wrong with a checkpoint's state, if anything is not what was written."""
    try:
        _check_files(folder, _written_fields(folder / STATE)["sha256"])
    except _READING as error:
        return f"it is damaged ({error})"
    return None


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Translate whatever is wrong with what was read into RunError."""
    try:
        yield
    except _READING as error:
        raise RunError(f"{path} cannot be resumed from, it is damaged or of another model: {error}.") from error


def _read_fields(folder: Path, files: set[str]) -> dict[str, Any]:
    """The content of state.json, once every file is what it was when it was written; with the names of the ``files``.

    ``files`` are those of a state between phases.
    """
    path = folder / STATE
    with _damage(path):
        fields = _written_fields(path)
        digests = fields.pop("sha256")
        needed = files | {STATE} | ({PHASE_START} if fields["phase_begun"] else set())
        if digests.keys() - {REFERENCE} != needed:
            raise ValueError(f"sha256 is not of {', '.join(sorted(needed))}")
    with _damage(folder):
        _check_files(folder, digests)
    return fields | {"files": tuple(name for name in digests if name != STATE)}


def _written_fields(path: Path) -> dict[str, Any]:
    """The content of state.json, checked. ValueError where it is not what was written."""
    fields = checked_fields(json.loads(path.read_text(encoding="utf-8")))
    if fields["sha256"].get(STATE) != digest_of(fields):
        raise ValueError("its fields are not what was written")
    return fields


def _check_files(folder: Path, digests: Mapping[str, Any]) -> None:
    """ValueError naming a file beside state.json that is not what was written."""
    for name, digest in digests.items():
        if name != STATE and sha256_of(folder / Path(name).name) != digest:
            raise ValueError(f"{name} is not what was written")


def _placed(tensor: Tensor, parameters: Mapping[str, Tensor], name: str) -> Tensor:
    """``tensor``, laid out as the weight ``name`` is. KeyError if there is no such weight, ValueError for its shape."""
    if tensor.shape != parameters[name].shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, not {tuple(parameters[name].shape)}")
    return like(parameters[name], tensor)


def _read_weights(path: Path, policy: Policy) -> dict[str, Tensor]:
    """This process's piece of every trained weight of a file."""
    parameters = dict(policy.trainable())
    return {name: piece(_placed(tensor, parameters, name)) for name, tensor in _read_tensors(path, policy.processes)}


def _read_tensors(path: Path, processes: Processes) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a file that the main process reads, in all processes."""

    def names() -> list[str]:
        with _damage(path.parent), safe_open(path, framework="pt") as file:
            return sorted(file.keys())

    def read(name: str) -> Tensor:
        with _damage(path.parent), safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor

    for name in processes.on_main(names):
        yield name, processes.on_main(partial(read, name))


def _trained(policy: Policy) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in policy.trainable()}


def _whole(tensors: Mapping[str, Tensor], policy: Policy) -> dict[str, Tensor]:
    """The tensors, gathered one at a time where they are in pieces, in the main process."""
    if not policy.is_sharded:
        return dict(tensors)
    gathered: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        full = whole(tensor)
        if policy.processes.is_main:
            gathered[name] = full.cpu()
    return gathered


@contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    """Translate what the libraries' own writers raise where the file system refuses into RunError. OSError passes
    through.
    """
    try:
        yield
    except Exception as error:
        # safetensors has an error of its own, tokenizers raises nothing more special than Exception itself.
        if isinstance(error, SafetensorError) or type(error) is Exception:
            raise RunError(f"cannot write {folder}: {error}.") from error
        raise


def _optimizer(kind: str) -> str:
    return f"optimizer-{kind}.safetensors"


def _optimizer_tensors(policy: Policy, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value.detach()
        for name, parameter in policy.trainable()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _restore_optimizer(
    parameters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, saved: Iterable[tuple[str, Tensor]]
) -> None:
    for full_name, value in saved:
        name, _, key = full_name.rpartition("/")
        # AdamW keeps its step count on the CPU, whatever the device of the weight.
        optimizer.state[parameters[name]][key] = value if key == "step" else _placed(value, parameters, name)


def _start_tensors(start: PhaseStart, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    samples = start.samples
    arrays: dict[str, list[NDArray[Any]]] = {
        "prompt": [row.prompt_tokens for row in samples.rows],
        "response": [row.tokens for row in samples.rows],
        "logp": list(samples.logp),
        "logp_sampler": list(samples.logp_sampler),
    }
    tensors = {f"weights/{name}": from_piece(parameters[name], value) for name, value in start.weights.items()}
    for kind, parts in arrays.items():
        tensors[f"samples/{kind}"] = torch.from_numpy(np.concatenate(parts))
        tensors[f"samples/{kind}_lengths"] = torch.tensor([len(part) for part in parts])
    return tensors


def _start_numbers(start: PhaseStart) -> dict[str, float]:
    return {
        "greedy_logp": start.greedy_logp,
        "version": start.version,
        "seconds": start.seconds_so_far(),
        "measuring_s": start.stopwatch.seconds,
        **asdict(start.floor),
    }


def _load_start(folder: Path, numbers: Mapping[str, float], policy: Policy) -> PhaseStart:
    parameters = dict(policy.trainable())
    tensors: dict[str, Tensor] = {}
    for name, tensor in _read_tensors(folder / PHASE_START, policy.processes):
        kind, _, key = name.partition("/")
        tensors[name] = piece(_placed(tensor, parameters, key)).cpu() if kind == "weights" else tensor

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
        samples=ProbeSamples(rows, tuple(parts("logp")), tuple(parts("logp_sampler"))),
        floor=RoundingFloor(**{name: numbers[name] for name in RoundingFloor.__slots__}),
        greedy_logp=numbers["greedy_logp"],
        version=int(numbers["version"]),
        seconds_before=numbers["seconds"],
        stopwatch=Stopwatch(numbers["measuring_s"]),
    )
