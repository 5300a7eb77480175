"""Answers as vectors of a sentence encoder, for the similarity of trajectories."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from unsqueeze.errors import UserError, one_line
from unsqueeze.policy.context import context_length
from unsqueeze.policy.files import check_config

BATCH = 32
"""Texts embedded side by side."""


class SentenceEncoder:
    """A Hugging Face encoder. A text is the mean of its last hidden states over its own tokens, of length 1.

    What is longer than the encoder's context is cut off there. Computes in fp32.
    """

    def __init__(self, model: Any, tokenizer: Any, *, batch: int = BATCH) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._batch = batch
        context = context_length(model)
        self._longest = min(length for length in (context, tokenizer.model_max_length) if length is not None)

    @classmethod
    def load(cls, path: str, device: torch.device) -> "SentenceEncoder":
        """The encoder in a folder or of a hub name. UserError where there is none."""
        try:
            check_config(path)
            # False and not the default, which asks at the terminal whether code of the encoder's may run.
            model = AutoModel.from_pretrained(path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        except MemoryError:
            raise
        except UserError as error:
            raise UserError(f"embedding_model is {path}, and {error}") from None
        except Exception as error:  # files of a model can be wrong in any way, and what is raised then is anything
            raise UserError(
                f"embedding_model is {path}: no encoder with its tokenizer could be loaded from there; give a folder "
                f"in Hugging Face format or a hub name. The loader said: {one_line(error)}"
            ) from error
        return cls(torch.nn.Module.to(model, device), tokenizer)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """One row a text, each of Euclidean length 1; zeros for a text without tokens. Shape (texts, hidden)."""
        rows = [self._rows(texts[start : start + self._batch]) for start in range(0, len(texts), self._batch)]
        return np.concatenate(rows) if rows else np.empty((0, 0))

    def _rows(self, texts: Sequence[str]) -> NDArray[np.float64]:
        # An empty text has no tokens in some tokenizers; a batch of nothing but such has none to be padded to.
        encoded = self._tokenizer(
            [text or " " for text in texts],
            padding=True,
            truncation=True,
            max_length=self._longest,
            return_tensors="pt",
        )
        inputs = {name: value.to(self._model.device) for name, value in encoded.items()}
        mask_NT = inputs["attention_mask"]
        if mask_NT.shape[1] == 0:
            return np.zeros((len(texts), self._model.config.hidden_size))
        hidden_NTH = self._model(**inputs).last_hidden_state
        mean_NH = mean_pooled(hidden_NTH, mask_NT)
        return torch.nn.functional.normalize(mean_NH, dim=-1).double().cpu().numpy()


def mean_pooled(hidden_NTH: torch.Tensor, mask_NT: torch.Tensor) -> torch.Tensor:
    """The mean over the positions whose mask is 1, shape (N, H); zeros where none is."""
    weight_NT = mask_NT.to(hidden_NTH.dtype)
    total_NH = (hidden_NTH * weight_NT[..., None]).sum(dim=1)
    return total_NH / weight_NT.sum(dim=1, keepdim=True).clamp(min=1)
