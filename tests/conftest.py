"""What holds for every test: offline, few threads, reproducible properties, checked shapes in the pure rings."""

import os

# Before anything reads them while it is imported:
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# Annotations such as Float[Tensor, "N T"] are checked at every call, under test only.
install_import_hook(["unsqueeze.algos", "unsqueeze.metrics"], "beartype.beartype")

# Models this small are no faster on two threads, and far slower where the machine has other work to do.
torch.set_num_threads(1)

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
