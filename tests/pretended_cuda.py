"""A GPU that is not there: tensors on ``cuda`` whose numbers lie in main memory.

    with pretended_cuda():
        policy = Policy.load(ModelSettings(path=..., device="cuda"))

Inside, whatever is put on ``cuda`` is an ``OnCuda``: to the program a tensor on ``cuda:0``, underneath one on the CPU.
So the program runs as it is, reads of numbers included, and an operation whose tensors lie on different devices is
refused where a GPU would refuse it: ``FakeTensorMode``, which knows PyTorch's rules for that, is asked about each that
is not wholly on the GPU. (By itself ``FakeTensorMode`` has no numbers, and no backward pass on ``cuda`` in a PyTorch
that was built without CUDA.) Refused besides, as on a GPU: ``numpy()`` of what is on the GPU, and a generator of one
device for numbers on the other. ``torch.autocast("cuda")`` computes in bf16 by the CPU's rules, and
``torch.autocast("cpu")`` changes nothing.

A copy to the device or from it is a copy here too, so that sharing memory with a NumPy array by mistake shows.

What this cannot see is in ``docs/gpu.md``.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_any, tree_leaves, tree_map, tree_map_only

CUDA = torch.device("cuda:0")
CPU = torch.device("cpu")


class OnCuda(Tensor):
    """A tensor on the pretended GPU; ``numbers`` are what it holds, on the CPU."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, numbers: Tensor) -> "OnCuda":
        assert type(numbers) is Tensor, type(numbers)
        made: OnCuda = torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            layout=numbers.layout,
            device=CPU,
        )
        made.numbers = numbers
        return made

    # Any operation comes to ``__torch_dispatch__``, any question to ``Pretence``.
    __torch_function__ = torch._C._disabled_torch_function_impl

    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    def __repr__(self, **_: Any) -> str:
        return f"OnCuda({self.numbers})"

    # With these two, modules exchange their weights on ``Module.to`` instead of setting ``data``; ties stay.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["numbers"], None

    @staticmethod
    def __tensor_unflatten__(inner: Mapping[str, Tensor], *_: Any) -> "OnCuda":
        return OnCuda(inner["numbers"])

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if given.get("device") == CPU and Pretence.on_cuda:
            # PyTorch itself asked for the device of a tensor, underneath ``Tensor.device``, and was told this.
            del given["device"]
        devices = devices_of_results(func, args, given)
        if given.get("device") is not None:
            given["device"] = CPU
        if draws(func) and given.get("generator") is None:
            given["generator"] = _DRAWS
        results = func(*tree_map_only(OnCuda, _numbers, args), **tree_map_only(OnCuda, _numbers, given))
        if results is NotImplemented:
            return results
        leaves = iter(devices if devices is not None else ())

        def placed(result: Any) -> Any:
            if not isinstance(result, Tensor):
                return result
            device = next(leaves) if devices is not None else CUDA
            return OnCuda(result) if device == CUDA else result

        placed_results = tree_map(placed, results)
        if given.get("device") is not None:  # a copy elsewhere; nothing of it shares memory
            return placed_results
        return return_and_correct_aliasing(func, args, dict(kwargs or {}), placed_results)


_DRAWS = torch.Generator()
"""The GPU's own random numbers, which are not the CPU's."""
_PROPERTIES = SimpleNamespace(name="NVIDIA H100 80GB HBM3", total_memory=80 * 2**30)
_RANDOM = {torch.rand, torch.randn, torch.randint, torch.randperm}


def draws(func: Any) -> bool:
    """Tell whether an operation draws random numbers from a generator."""
    return torch.Tag.nondeterministic_seeded in func.tags and any(a.name == "generator" for a in func._schema.arguments)


_FAKE = FakeTensorMode(shape_env=ShapeEnv())


def devices_of_results(func: Any, args: Any, kwargs: Mapping[str, Any]) -> list[torch.device] | None:
    """The device of each tensor that an operation gives; None: all on the GPU, as its tensors are.

    RuntimeError, of ``FakeTensorMode``, where the operation does not take tensors of different devices.
    """
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if all(isinstance(tensor, OnCuda) for tensor in tensors) and kwargs.get("device") is None:
        return None
    _check_more_strictly(func, args)
    with _FAKE:
        results = func(*tree_map_only(Tensor, _fake, args), **tree_map_only(Tensor, _fake, dict(kwargs)))
    return [leaf.device for leaf in tree_leaves(results) if isinstance(leaf, Tensor)]


def _check_more_strictly(func: Any, args: Any) -> None:
    """RuntimeError for what a GPU refuses and ``FakeTensorMode`` takes: indices of the GPU for a tensor of the CPU, a
    mask of the other device, and lists of tensors of two devices that are changed in place.
    """
    on_gpu = [isinstance(leaf, OnCuda) for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
    if func is torch.ops.aten.index.Tensor and not on_gpu[0]:
        raise RuntimeError(f"indices should be either on cpu or on the same device as the indexed tensor ({CPU})")
    if func is torch.ops.aten.masked_select.default:
        raise RuntimeError("expected self and mask to be on the same device")
    if func.__name__.startswith("_foreach_") and not func.__name__.startswith("_foreach_copy"):
        lists = [arg for arg in args if isinstance(arg, list | tuple) and all(isinstance(t, Tensor) for t in arg)]
        for tensors in zip(*lists, strict=True):
            if len({isinstance(tensor, OnCuda) for tensor in tensors if tensor.dim()}) > 1:
                raise RuntimeError(f"expected all tensors of {func} to be on the same device")


def _fake(tensor: Tensor) -> Tensor:
    shape = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="meta")
    return FakeTensor(_FAKE, shape, CUDA if isinstance(tensor, OnCuda) else tensor.device)


def _numbers(tensor: OnCuda) -> Tensor:
    return tensor.numbers


class _Moved(torch.autograd.Function):
    """A tensor on the other device; its gradient comes back to the first."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.numbers.clone() if isinstance(tensor, OnCuda) else OnCuda(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return _Moved.forward(ctx, gradient)


class Pretence(TorchFunctionMode):
    """Takes the calls that would ask for a real GPU, or for the memory of a tensor that has none of its own."""

    on_cuda = False
    """Tells whether what is being called works on the GPU: so do tensors that PyTorch itself makes meanwhile."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        before = Pretence.on_cuda
        Pretence.on_cuda = func in _BACKWARD or (any_on_cuda(args, given) and given.get("device") is None)
        try:
            return self._answer(func, args, given)
        finally:
            Pretence.on_cuda = before

    @staticmethod
    def _answer(func: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
        answer = _SPECIAL.get(func)
        if answer is not None:
            return answer(func, args, given)
        generator = given.get("generator")
        if isinstance(generator, torch.Generator):
            _check_generator(generator, args, given)
        if is_cuda(given.get("device")) and not any_on_cuda(args, given):
            if func in _RANDOM and generator is None:
                given["generator"] = _DRAWS
            made = func(*args, **given | {"device": CPU})
            return OnCuda(made.detach()).requires_grad_(made.requires_grad)
        return func(*args, **given)


class PyTorchsOwn(TorchDispatchMode):
    """Puts on the GPU what PyTorch makes from nothing inside a function that works there, as in a backward pass."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        from_nothing = type(result) is Tensor and not tree_any(lambda leaf: isinstance(leaf, Tensor), (args, kwargs))
        return OnCuda(result) if from_nothing and Pretence.on_cuda else result


_BACKWARD = {Tensor.backward, torch.autograd.backward, torch.autograd.grad}


def any_on_cuda(args: Any, kwargs: Any) -> bool:
    return tree_any(lambda leaf: isinstance(leaf, OnCuda), (args, kwargs))


def is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _check_generator(generator: torch.Generator, args: Any, kwargs: Mapping[str, Any]) -> None:
    """Raise as ``check_generator`` of ATen does; a generator made here is always of the CPU."""
    wanted = "cuda" if is_cuda(kwargs.get("device")) or any(isinstance(arg, OnCuda) for arg in args) else "cpu"
    if generator.device.type != wanted:
        raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{generator.device.type}'")


def _to(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensor, *rest = args
    copy = bool(kwargs.pop("copy", False))
    if rest and isinstance(rest[0], Tensor):
        device, dtype = rest[0].device, rest[0].dtype
    else:
        device, dtype, _, _ = torch._C._nn._parse_to(*rest, **kwargs)
    if device is None or device.type == "meta" or (device.type == "cuda") == isinstance(tensor, OnCuda):
        extra = {} if device is None or device.type != "meta" else {"device": device}
        return func(tensor, dtype=dtype or tensor.dtype, copy=copy, **extra)
    moved = _Moved.apply(tensor)
    return moved if dtype is None or dtype == moved.dtype else func(moved, dtype=dtype)


def _numpy(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if isinstance(args[0], OnCuda):
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory."
        )
    return func(*args, **kwargs)


def _new_tensor(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    made = torch.tensor(args[1], **{"dtype": args[0].dtype} | kwargs)
    return OnCuda(made) if isinstance(args[0], OnCuda) and "device" not in kwargs else made


def _of_numbers(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return func(*tree_map_only(OnCuda, _numbers, args), **kwargs)


_SPECIAL: dict[Any, Callable[..., Any]] = {
    Tensor.to: _to,
    Tensor.cpu: lambda func, args, kwargs: _to(Tensor.to, (args[0], CPU), {}),
    Tensor.cuda: lambda func, args, kwargs: _to(Tensor.to, (args[0], CUDA), {}),
    Tensor.numpy: _numpy,
    Tensor.__array__: _numpy,
    Tensor.new_tensor: _new_tensor,
    Tensor.tolist: _of_numbers,
    Tensor.data_ptr: _of_numbers,
    Tensor.untyped_storage: _of_numbers,
}


@contextmanager
def pretended_cuda() -> Iterator[None]:
    """In this block PyTorch has one GPU."""
    _DRAWS.manual_seed(1)
    with ExitStack() as stack:
        for target, name, stand_in in _stand_ins():
            stack.enter_context(mock.patch.object(target, name, stand_in))
        stack.enter_context(Pretence())
        stack.enter_context(PyTorchsOwn())
        yield


def _stand_ins() -> Sequence[tuple[Any, str, Any]]:
    enabled, dtype_of, init = torch.is_autocast_enabled, torch.get_autocast_dtype, torch.autocast.__init__

    def is_autocast_enabled(device_type: str = "cuda") -> bool:
        return enabled("cpu") if device_type == "cuda" else False

    def get_autocast_dtype(device_type: str) -> torch.dtype:
        return dtype_of("cpu")

    def begin(self: torch.autocast, device_type: str, *args: Any, **kwargs: Any) -> None:
        if device_type == "cuda":
            init(self, "cpu", *args, **kwargs)
        else:  # as it is, whatever that is: what is on the GPU does not ask
            init(self, "cpu", dtype_of("cpu"), enabled("cpu"), torch.is_autocast_cache_enabled())

    # The optimizer's loops over lists of tensors are chosen for types it knows.
    listed = (torch.Tensor, torch.nn.Parameter, OnCuda)
    return (
        (importlib.import_module("torch.optim.optimizer"), "_foreach_supported_types", listed),
        (importlib.import_module("torch.utils._foreach_utils"), "_foreach_supported_types", listed),
        (torch, "is_autocast_enabled", is_autocast_enabled),
        (torch, "get_autocast_dtype", get_autocast_dtype),
        (torch.autocast, "__init__", begin),
        (torch.cuda, "is_available", lambda: True),
        (torch.cuda, "device_count", lambda: 1),
        (torch.cuda, "current_device", lambda: 0),
        (torch.cuda, "get_rng_state", lambda *_: _DRAWS.get_state()),
        (torch.cuda, "set_rng_state", lambda state, *_: _DRAWS.set_state(state)),
        (torch.cuda, "max_memory_allocated", lambda *_: 2**20),
        (torch.cuda, "get_device_name", lambda *_: _PROPERTIES.name),
        (torch.cuda, "get_device_properties", lambda *_: _PROPERTIES),
    )
