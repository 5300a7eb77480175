"""Trajectory similarity by sentence embeddings: the mean over pairs by hand, and pooling that padding cannot touch."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from refusals import refused
from unsqueeze.errors import UserError
from unsqueeze.evaluation.embeddings import SentenceEncoder, mean_pooled
from unsqueeze.metrics.diversity import mean_pairwise_cosine

TEXTS = ["a", "b c d e f g h", "", "c a", "h h h", "a b c d e f g h " * 20]


def tiny_bert() -> tuple[BertModel, PreTrainedTokenizerFast]:
    words = {"[PAD]": 0, "[UNK]": 1} | {letter: 2 + place for place, letter in enumerate("abcdefgh")}
    backend = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    config = BertConfig(
        vocab_size=10,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BertModel(config).float(), tokenizer


def test_mean_over_pairs_by_hand() -> None:
    # Angles of 0, 60 and 90 degrees, of any length: cosines 1/2, 0 and √3/2.
    vectors = np.array([[2.0, 0.0], [0.5, math.sqrt(3) / 2], [0.0, 7.0]])
    assert mean_pairwise_cosine(vectors) == pytest.approx((0.5 + 0 + math.sqrt(3) / 2) / 3)
    assert mean_pairwise_cosine(np.array([[1.0, 1.0], [3.0, 3.0]])) == pytest.approx(1.0)
    assert mean_pairwise_cosine(np.array([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-1.0)
    # A row of zeros has no direction: 0 with both others, which agree.
    assert mean_pairwise_cosine(np.array([[1.0, 0.0], [0.0, 0.0], [5.0, 0.0]])) == pytest.approx(1 / 3)
    assert math.isnan(mean_pairwise_cosine(np.ones((1, 3))))


@given(st.lists(st.lists(st.floats(-5, 5), min_size=3, max_size=3), min_size=2, max_size=6))
def test_equals_the_mean_over_pairs_spelled_out(rows: list[list[float]]) -> None:
    vectors = np.array(rows)
    lengths = np.linalg.norm(vectors, axis=1)
    pairs = [(i, j) for i in range(len(rows)) for j in range(i)]
    cosines = [
        vectors[i] / lengths[i] @ (vectors[j] / lengths[j]) if lengths[i] and lengths[j] else 0.0 for i, j in pairs
    ]
    assert mean_pairwise_cosine(vectors) == pytest.approx(sum(cosines) / len(pairs), abs=1e-9)


def test_pooling_by_hand() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [100.0, 100.0]], [[5.0, 6.0], [9.0, 9.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    assert mean_pooled(hidden, mask).tolist() == [[2.0, 3.0], [0.0, 0.0]]


def test_padding_and_batches_change_nothing() -> None:
    model, tokenizer = tiny_bert()
    together = SentenceEncoder(model, tokenizer).embed(TEXTS)
    alone = SentenceEncoder(model, tokenizer, batch=1).embed(TEXTS)
    pairs = SentenceEncoder(model, tokenizer, batch=2).embed(TEXTS)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(pairs, alone, atol=1e-5)
    lengths = np.linalg.norm(together, axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 0, 1, 1, 1], atol=1e-6)
    # The one without padding, from transformers alone.
    ids = tokenizer("b c d e f g h", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        mean = model(input_ids=ids).last_hidden_state[0].mean(dim=0)
    np.testing.assert_allclose(together[1], (mean / mean.norm()).numpy(), atol=1e-5)


def test_diagnose_takes_an_encoder_from_a_folder(command, tmp_path: Path) -> None:
    model, tokenizer = tiny_bert()
    model.save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    sampled = ["diagnose", "countdown-0.4m", "--task", "countdown", "--limit", "2", "--n", "3", "--max-tokens", "6"]
    out = tmp_path / "d.json"
    code, _, err = command(*sampled, "--embedding-model", str(tmp_path / "encoder"), "--out", str(out))
    assert code == 0, err
    assert "embedding_model" in out.read_text()
    assert "no-such" in refused(tmp_path, *sampled, "--embedding-model", str(tmp_path / "no-such"))


def test_code_that_an_encoder_brings_is_not_run(tmp_path: Path) -> None:
    model, tokenizer = tiny_bert()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
    (tmp_path / "config.json").write_text(json.dumps(config | own))
    (tmp_path / "own.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
        "from transformers import BertConfig, BertModel\n"
        "class OwnConfig(BertConfig):\n    model_type = 'own'\n"
        "class OwnModel(BertModel):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(UserError, match="no encoder with its tokenizer could be loaded from there"):
        SentenceEncoder.load(str(tmp_path), torch.device("cpu"))
    assert not (tmp_path / "ran").exists()
