"""The weights handed over are those a saved checkpoint would hold."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unsqueeze.config.model_settings import LoraSettings, ModelSettings
from unsqueeze.policy.policy import Policy


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)], ids=["full", "lora"])
def test_exported_weights_are_those_of_a_saved_checkpoint(lora: LoraSettings | None, tmp_path: Path) -> None:
    if lora is not None:
        pytest.importorskip("peft")
    policy = Policy.load(ModelSettings(device="cpu", lora=lora))
    with torch.no_grad():
        for _, parameter in policy.trainable():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.01)
    before = {name: weight.clone() for name, weight in policy.model.state_dict().items()}
    exported = dict(policy.exported_weights())
    policy.save(tmp_path, dtype=torch.float32)
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() <= exported.keys()
    # What is not in the file is tied to something that is.
    assert exported.keys() - saved.keys() <= {"lm_head.weight"}
    for name, weight in saved.items():
        torch.testing.assert_close(exported[name], weight, rtol=0, atol=0 if lora is None else 1e-6)
    assert all(torch.equal(weight, before[name]) for name, weight in policy.model.state_dict().items())
