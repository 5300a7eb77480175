"""The pretended GPU refuses what a GPU refuses, takes what a GPU takes, and computes what the CPU computes."""

import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pretended_cuda import CUDA, OnCuda, pretended_cuda
from unsqueeze.policy.policy import resolve_device

MIXED = "same device|device mismatch|Mismatching|indices should be"


@pytest.fixture(autouse=True)
def gpu():
    with pretended_cuda():
        yield


def on_gpu(*shape: int) -> Tensor:
    return torch.ones(shape, device="cuda")


REFUSED: dict[str, Callable[[], Any]] = {
    "add": lambda: on_gpu(3) + torch.ones(3),
    "matmul": lambda: on_gpu(2, 3) @ torch.ones(3, 2),
    "where": lambda: torch.where(torch.ones(3, dtype=torch.bool), on_gpu(3), 0.0),
    "gather": lambda: on_gpu(2, 3).gather(1, torch.zeros(2, 1, dtype=torch.long)),
    "index_select": lambda: on_gpu(3).index_select(0, torch.tensor([0])),
    "index_copy": lambda: on_gpu(3).index_copy(0, torch.tensor([0]), on_gpu(1)),
    "index_fill": lambda: on_gpu(3).index_fill(0, torch.tensor([0]), 1.0),
    "index of the GPU into a tensor of the CPU": lambda: torch.ones(3)[torch.tensor([0], device="cuda")],
    "masked_select": lambda: torch.masked_select(on_gpu(3), torch.ones(3, dtype=torch.bool)),
    "searchsorted": lambda: torch.searchsorted(on_gpu(3), torch.ones(1)),
    "cat": lambda: torch.cat([on_gpu(3), torch.ones(3)]),
    "put values": lambda: on_gpu(3).index_put_((torch.tensor([0], device="cuda"),), torch.ones(1)),
    "add in place": lambda: on_gpu(3).add_(torch.ones(3)),
    "linear": lambda: nn.Linear(3, 2)(on_gpu(1, 3)),
    "embedding": lambda: nn.Embedding(3, 2).to("cuda")(torch.tensor([0])),
    "lists": lambda: torch._foreach_add([on_gpu(3)], [torch.ones(3)]),
    "lists in place": lambda: torch._foreach_lerp_([torch.ones(3)], [on_gpu(3)], 0.5),
}


@pytest.mark.parametrize("name", REFUSED)
def test_tensors_of_two_devices_are_refused(name: str) -> None:
    with pytest.raises(RuntimeError, match=MIXED):
        REFUSED[name]()


TAKEN: dict[str, Callable[[], Tensor]] = {
    "a number in a tensor of the CPU": lambda: on_gpu(3) * torch.tensor(2.0),
    "indices of the CPU": lambda: on_gpu(3)[torch.tensor([0])],
    "a mask of the CPU": lambda: on_gpu(3)[torch.tensor([True, False, True])],
    "copy_": lambda: on_gpu(3).copy_(torch.ones(3)),
    "like": lambda: torch.zeros_like(on_gpu(3)),
    "new": lambda: on_gpu(3).new_tensor([1.0]),
    "made there": lambda: torch.arange(3, device="cuda"),
    "a parameter": lambda: nn.Linear(3, 2).to("cuda")(on_gpu(1, 3)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_a_gpu_takes_is_taken_and_stays_there(name: str) -> None:
    assert TAKEN[name]().device == CUDA


def test_numbers_leave_the_gpu_only_as_a_copy() -> None:
    with pytest.raises(TypeError, match="cuda:0 device type tensor to numpy"):
        on_gpu(3).numpy()
    with pytest.raises(TypeError, match="cuda:0 device type tensor to numpy"):
        np.asarray(on_gpu(3))
    array = np.ones(3, dtype=np.float32)
    there = torch.from_numpy(array).to("cuda")
    array[0] = 5
    assert there.tolist() == [1.0, 1.0, 1.0]
    assert there.sum().item() == 3.0
    back = there.cpu()
    there += 1
    assert type(back) is Tensor
    assert back.tolist() == [1.0, 1.0, 1.0]
    assert torch.zeros_like(there, device="cpu").device.type == "cpu"


def test_a_generator_draws_on_its_own_device_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    assert torch.rand(3, generator=generator).device.type == "cpu"
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator but found 'cpu'"):
        torch.rand(3, generator=generator, device="cuda")
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator but found 'cpu'"):
        on_gpu(3).uniform_(generator=generator)
    torch.manual_seed(0)
    here = torch.rand(3)
    torch.manual_seed(0)
    assert torch.rand(3, device="cuda").tolist() != here.tolist()  # other numbers, as on a GPU
    torch.manual_seed(0)
    assert on_gpu(3).uniform_().tolist() != here.tolist()


def test_autocast_is_that_of_the_device() -> None:
    a, b = on_gpu(2, 3), on_gpu(3, 2)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert (a @ b).dtype is torch.bfloat16
        with torch.autocast("cuda", enabled=False):
            assert (a @ b).dtype is torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (a @ b).dtype is torch.float32


@pytest.mark.parametrize("foreach", [False, True])
def test_gradients_and_steps_are_those_of_the_cpu(foreach: bool) -> None:
    def train(device: str) -> list[Any]:
        torch.manual_seed(0)
        table, head = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        head.weight = table.weight
        model = nn.Sequential(table, head).to(device)
        assert model[0].weight is model[1].weight
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, foreach=foreach)
        tokens = torch.tensor([[0, 1, 2]], device=device)
        for _ in range(2):
            logits = checkpoint(model, tokens, use_reentrant=False)
            logits.log_softmax(-1).flatten(0, 1).index_select(0, tokens[0]).sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        assert {state["exp_avg"].device.type for state in optimizer.state.values()} == {device}
        values: list[Any] = model[0].weight.flatten().tolist()
        return values

    assert train("cuda") == pytest.approx(train("cpu"), abs=1e-6)


def test_the_loops_over_lists_are_those_of_a_gpu() -> None:
    adam = sys.modules["torch.optim.adam"]
    weight = nn.Parameter(on_gpu(3))
    weight.grad = on_gpu(3)
    with mock.patch.object(adam, "_multi_tensor_adam", wraps=adam._multi_tensor_adam) as taken:  # type: ignore[attr-defined]
        torch.optim.AdamW([weight]).step()
    assert taken.call_count == 1


def test_a_gradient_of_the_other_device_is_refused() -> None:
    weight = on_gpu(3).requires_grad_()
    with pytest.raises(RuntimeError, match=MIXED):
        (weight.sin() * torch.ones(3)).sum().backward()
    weight.sin().sum().backward()
    assert isinstance(weight.grad, OnCuda)


def test_the_program_finds_it() -> None:
    assert resolve_device("auto").type == resolve_device("cuda").type == "cuda"
