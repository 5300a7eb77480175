"""The rehearsal of a checkpoint: the policy is saved, loaded again and compared before anything is trained.

A model can be loaded and trained and yet not be saved, or not as what it was: its configuration is refused, a layer of
its family is written under names that are not read, its tokenizer comes back as another. That is found here.
"""

import tempfile
from pathlib import Path

import torch

from unsqueeze.errors import RunError, UserError, one_line
from unsqueeze.policy.export import exported_weights
from unsqueeze.policy.loading import load_pretrained
from unsqueeze.policy.policy import Policy
from unsqueeze.training.rehearsal import leaving_no_trace
from unsqueeze.training.state import whole_weights

_TEXT = "What is 1 + 1?\n"
"""Tokenized by the tokenizer and by the one that was saved."""


def rehearse_saving(policy: Policy, path: Path, *, dtype: torch.dtype) -> None:
    """Save the policy where ``path`` is or will be, as ``dtype``, load it, compare it, and remove it.

    UserError if what is loaded is not what was saved, RunError if the disk refuses.
    """
    weights = whole_weights(policy) if policy.is_sharded else None
    with leaving_no_trace(policy), policy.processes.agreeing(), policy.gathered():
        if policy.processes.is_main:
            there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
            try:
                # Under the name of what is unfinished: if this process is killed, it is tidied up with the like.
                with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=there) as folder:
                    policy.save(Path(folder), dtype=dtype, weights=weights)
                    _check_saved(policy, Path(folder), dtype)
            except OSError as error:
                raise RunError(f"cannot write in {there}: {error.strerror or error}.") from error
            except Exception as error:  # of a model anything can be wrong, and what is raised then is anything
                raise UserError(_sentence(policy, error)) from error


def _check_saved(policy: Policy, folder: Path, dtype: torch.dtype) -> None:
    """ValueError naming what is not as it was saved."""
    settings = policy.settings.model_copy(update={"path": str(folder)})
    loaded, tokenizer = load_pretrained(settings, str(folder), dtype=dtype)
    there = dict(exported_weights(loaded))
    for name, weight in policy.exported_weights():
        saved = weight.to("cpu", dtype) if weight.is_floating_point() else weight.cpu()
        if name not in there or not torch.equal(there[name], saved):
            raise ValueError(f"the weight {name} was loaded as another.")
    if tokenizer(_TEXT)["input_ids"] != policy.tokenizer(_TEXT)["input_ids"]:
        raise ValueError("the tokenizer was loaded as another.")


def _sentence(policy: Policy, error: Exception) -> str:
    return (
        f"model.path is {policy.settings.path!r}, and a checkpoint of it could not be saved and loaded again, so "
        f"nothing is trained: {one_line(error)} Mend the files of the model, or give another."
    )
