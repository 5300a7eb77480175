"""The checkpoint folder of another trainer, in which the weights alone are replaced.

transformers' Trainer, and so TRL and ms-swift, keep beside the weights the optimizer's state, the schedule, the place
in the data and the random state. Whoever goes on from other weights with all of that in place loses none of it.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unsqueeze.errors import UserError

STATE = "trainer_state.json"
ADAPTER = "adapter_model.safetensors"
_SHARDED = {
    "DeepSpeed": ("zero_to_fp32.py", "latest", "global_step*"),
    "FSDP": ("pytorch_model_fsdp_*", "optimizer_0", "*.distcp", "pytorch_model_fsdp.bin"),
}


def check_trainer_checkpoint(folder: Path) -> None:
    """UserError for a folder that is no checkpoint of transformers' Trainer, or whose weights are in pieces."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a trainer's checkpoint, such as OUT/checkpoint-200.")
    for name, marks in _SHARDED.items():
        found = next((path for mark in marks for path in folder.glob(mark)), None)
        if found is not None:
            raise UserError(
                f"{folder} is a checkpoint of {name} ({found.name}), whose weights and optimizer are in pieces, which "
                f"is not supported; save without it, or run unsqueeze irl on the whole model and start from its folder."
            )
    missing = [name for name in (STATE, "optimizer.pt", "scheduler.pt") if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder} has no {' and no '.join(missing)}, so that no trainer goes on from it; give a checkpoint that "
            f"was not saved with save_only_model, or leave out --into and start from the new weights."
        )
    if not weight_files(folder):
        raise UserError(f"{folder} has no weights as safetensors; save the checkpoint with them.")


def is_adapter(folder: Path) -> bool:
    """Tell whether a folder holds an adapter, and not a model of its own."""
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def weight_files(folder: Path) -> list[Path]:
    """Return the files of the weights: those of the adapter where it is one."""
    if is_adapter(folder):
        return [path for path in (folder / ADAPTER,) if path.is_file()]
    return sorted(folder.glob("model*.safetensors"))


def copy_but_weights(folder: Path, aside: Path) -> None:
    """Copy all of a checkpoint but its weights into an empty folder."""
    leave = {path.name for path in weight_files(folder)}
    for path in sorted(folder.iterdir()):
        if path.name in leave:
            continue
        if path.is_dir():
            shutil.copytree(path, aside / path.name)
        else:
            shutil.copy2(path, aside / path.name)


@torch.no_grad()
def write_weights(folder: Path, aside: Path, weights: Mapping[str, Tensor]) -> None:
    """Write ``weights`` into ``aside`` as the files of ``folder`` have theirs: names, files, precision.

    UserError naming a weight that the files have and ``weights`` do not.
    """
    for path in weight_files(folder):
        with _opened(path) as file:
            metadata = file.metadata()
            made = {}
            for name in file.keys():  # noqa: SIM118 (the file is no dictionary)
                old = file.get_tensor(name)
                if name not in weights or weights[name].shape != old.shape:
                    raise UserError(
                        f"{path} holds {name}, which the model does not have in that shape; give a checkpoint as its "
                        "trainer wrote it."
                    )
                made[name] = weights[name].detach().to("cpu", old.dtype).contiguous().clone()
        save_file(made, aside / path.name, metadata=metadata)


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}); give another checkpoint.") from None


def steps_of(folder: Path) -> int | None:
    """Return the step at which the trainer was, by its state."""
    try:
        state = json.loads((folder / STATE).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{folder / STATE} cannot be read ({error}); give another checkpoint.") from None
    step = state.get("global_step") if isinstance(state, dict) else None
    return step if isinstance(step, int) else None
