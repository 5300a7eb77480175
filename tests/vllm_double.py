"""What the vllm_server engine uses of ``vllm serve``, played by a model of transformers behind a small server.

It reloads weights from a folder, names them, and samples one completion a request, with what vLLM says of it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from transformers import PreTrainedModel

from openai_server import OpenAiServer, Reply, serving
from unsqueeze.rollout.hf import HfEngine
from unsqueeze.rollout.types import Sampling, StopReason
from unsqueeze.seeds import prompt_seeds


class VllmDouble:
    """``reloads`` counts how often weights came. With ``failure`` set it answers everything with that."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any) -> None:
        self.model = model
        self.version = "default"
        self.reloads = 0
        self.failure: Reply | None = None
        self._engine = HfEngine(model, tokenizer)
        self._lock = threading.Lock()

    def restart(self) -> None:
        """As after a crash: weights of its own, under the name every server starts with."""
        self.version = "default"
        for parameter in self.model.parameters():
            parameter.data.zero_()

    def script(self, path: str, body: dict[str, Any]) -> Reply:
        with self._lock:
            if self.failure is not None:
                return self.failure
            if path == "/v1/completions":
                return 200, self._completion(body)
            if path == "/collective_rpc":
                assert body["method"] == "reload_weights"
                self._reload(Path(body["kwargs"]["weights_path"]))
                return 200, {"results": [None]}
            if path == "/reset_prefix_cache":
                return 200, {"success": True}
            if path == "/update_weight_version":
                self.version = body["new_version"]
                return 200, {"success": True}
            return 404, {"detail": "Not Found"}

    def _reload(self, folder: Path) -> None:
        self.reloads += 1
        weights = {name: weight for file in folder.glob("*.safetensors") for name, weight in load_file(file).items()}
        self.model.load_state_dict(weights)

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        sampling = Sampling(
            max_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_p=body["top_p"],
            top_k=body["top_k"],
            stop=tuple(body["stop"]),
            end_ids=tuple(body["stop_token_ids"]),
        )
        [[drawn]] = self._engine.generate([body["prompt"]], 1, sampling, seeds=prompt_seeds(body["seed"], 1))
        return {
            "choices": [
                {
                    "token_ids": drawn.tokens.tolist(),
                    "logprobs": {"token_logprobs": drawn.logp_raw.tolist()},
                    "finish_reason": "length" if drawn.stop_reason is StopReason.LENGTH else "stop",
                    "stop_reason": sampling.stop[0] if drawn.stop_reason is StopReason.STOP else None,
                }
            ]
        }


@contextmanager
def serving_vllm(double: VllmDouble) -> Iterator[OpenAiServer]:
    models = [{"id": "tiny", "root": "/models/tiny", "owned_by": "vllm", "max_model_len": 128}]
    with serving(double.script, models=models, version="0.32.0") as server:
        server.gets["/weight_info"] = lambda: {"weight_version": double.version}
        yield server
