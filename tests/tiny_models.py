"""Tiny random models and a word-level tokenizer, made from configs: nothing is downloaded, everything is seeded."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from unsqueeze.models import embedded_model_path

PAD, BOS, EOS = 0, 1, 2

SHAPE = {
    "vocab_size": 32,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}
"""Settings of a tiny model of any family that has grouped-query attention."""


def seeded(cls: type, config: object) -> PreTrainedModel:
    """A model of random weights, always the same ones, in fp32."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return cls(config).float()


def tiny_tokenizer(vocab: int = 32) -> PreTrainedTokenizerFast:
    """Words ``w3`` ... ``w{vocab-1}`` split at spaces, after ``<pad>`` 0, ``<bos>`` 1 and ``<eos>`` 2 (special)."""
    words = {"<pad>": PAD, "<bos>": BOS, "<eos>": EOS} | {f"w{i}": i for i in range(3, vocab)}
    backend = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<pad>"
    )


def byte_tokenizer(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """A token a byte, after ``<pad>`` 0, ``<bos>`` 1 and ``<eos>`` 2: any text has tokens and comes back from them."""
    alphabet = ["<pad>", "<bos>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        chat_template=chat_template,
    )


BYTE_VOCABULARY = 259


def tiny_llama(vocab: int = 32, *, seed: int = 0, context: int = 128, spread: float = 0.2) -> LlamaForCausalLM:
    """Two layers of width 32, grouped-query attention. ``spread`` is the standard deviation of the weights."""
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=spread,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    return _seeded(LlamaForCausalLM, config, seed)


def tiny_qwen2(vocab: int = 32, *, seed: int = 0, context: int = 128, spread: float = 0.2) -> Qwen2ForCausalLM:
    """Two layers of width 32, with biases on queries, keys and values."""
    config = Qwen2Config(
        vocab_size=vocab,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        initializer_range=spread,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    return _seeded(Qwen2ForCausalLM, config, seed)


def tiny_gpt2(vocab: int = 32, *, seed: int = 0, context: int = 128, spread: float = 0.2) -> GPT2LMHeadModel:
    """Two layers of width 32 with learned positions and dropout (off in evaluation mode)."""
    config = GPT2Config(
        vocab_size=vocab,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=context,
        initializer_range=spread,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    return _seeded(GPT2LMHeadModel, config, seed)


_RANDOM_COUNTDOWN = "UNSQUEEZE_TEST_RANDOM_COUNTDOWN"
"""Names the folder to the processes that a test starts: they are to load the model of the same path."""


def random_countdown() -> Path:
    """A checkpoint that reads and writes Countdown with random weights: the tokenizer of the embedded model, one layer.

    Made once and removed with the process that made it. About one token in nine is the end, so that responses have many
    lengths. No answer is ever right; see ``small_runs.judging_by_hash``.
    """
    if _RANDOM_COUNTDOWN not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="random-countdown-"))
        atexit.register(_remove_own, folder, os.getpid())
        tokenizer = AutoTokenizer.from_pretrained(embedded_model_path())
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=128,
            initializer_range=0.25,
            pad_token_id=PAD,
            bos_token_id=BOS,
            eos_token_id=EOS,
        )
        model = _seeded(LlamaForCausalLM, config, seed=0)
        with torch.no_grad():  # one coordinate of the stream is the same for every token, and speaks for the end alone
            model.model.embed_tokens.weight[:, 0] = 1.0
            model.lm_head.weight[:, 0] = 0.0
            model.lm_head.weight[EOS, 0] = 2.6
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        os.environ[_RANDOM_COUNTDOWN] = str(folder)
    return Path(os.environ[_RANDOM_COUNTDOWN])


def _remove_own(folder: Path, maker: int) -> None:
    if os.getpid() == maker:  # and not a forked copy
        shutil.rmtree(folder, ignore_errors=True)


def _seeded(cls: type, config: object, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return cls(config).float()
