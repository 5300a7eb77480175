"""SPSTrainer with vLLM in its own process, on a CPU: python vllm_run.py MODEL OUT CONFIG, with steps as in sps_run.py.

Two things that TRL does for GPUs are done otherwise. vLLM holds the weights in fp32, so that its log-probs are the
trainer's but for rounding. And it takes new ones by its own reloading, as our engine does, since on a CPU it keeps them
packed: TRL's assignment of one after another fails there.
"""

import functools
import importlib
import sys
from pathlib import Path
from typing import Any

import torch

from unsqueeze.policy.export import exported_weights
from unsqueeze.rollout.vllm_engine import import_vllm


def reload_weights(self: Any) -> None:
    self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": exported_weights(self.model)})
    self.llm.reset_prefix_cache()


def main() -> None:
    model, out, config = sys.argv[1:]
    import_vllm()  # before TRL does, in whose process it is to live
    generation = importlib.import_module("trl.generation.vllm_generation")
    sps_run = importlib.import_module("sps_run")
    torch.compiler.set_stance("force_eager")  # compiling takes half a minute and a compiler
    sps_run.EMBEDDED = Path(model)
    generation.LLM = functools.partial(generation.LLM, dtype="float32", enforce_eager=True)
    generation.VLLMGeneration.sync_weights = reload_weights
    sys.argv[1:] = [out, "sps", "--config", config]
    sps_run.main()


if __name__ == "__main__":
    main()
