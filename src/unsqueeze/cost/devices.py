"""Capacities of devices. Peaks are the makers' figures (dense, no sparsity); efficiencies are ours, and rough."""

from dataclasses import dataclass

from unsqueeze.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device.

    ``peak_bf16`` and ``peak_fp32`` in floating-point operations a second, ``bandwidth`` of its memory in bytes a
    second, ``memory`` in bytes. ``efficiency`` is the share of the peak that training reaches (MFU),
    ``bandwidth_share`` the share of the bandwidth that decoding reaches. ``layer_s`` is the time one layer takes at
    least, once forward, however little there is to compute: Python and kernel launches, which decide over small models
    and small batches.
    """

    name: str
    peak_bf16: float
    peak_fp32: float
    bandwidth: float
    memory: int
    efficiency: float
    bandwidth_share: float
    layer_s: float

    def peak(self, dtype: str) -> float:
        return self.peak_bf16 if dtype == "bfloat16" else self.peak_fp32


GIB = 2**30
GPU = {"efficiency": 0.35, "bandwidth_share": 0.6, "layer_s": 5e-4}
"""Assumed of every GPU, not measured."""

DEVICES = {
    device.name: device
    for device in (
        # fp32 without TF32, as PyTorch computes unless told otherwise.
        Device(name="h100", peak_bf16=989e12, peak_fp32=67e12, bandwidth=3.35e12, memory=80 * GIB, **GPU),
        Device(name="h200", peak_bf16=989e12, peak_fp32=67e12, bandwidth=4.8e12, memory=141 * GIB, **GPU),
        Device(name="a100", peak_bf16=312e12, peak_fp32=19.5e12, bandwidth=2.04e12, memory=80 * GIB, **GPU),
        Device(name="l40s", peak_bf16=362e12, peak_fp32=91.6e12, bandwidth=0.864e12, memory=48 * GIB, **GPU),
        Device(name="4090", peak_bf16=165e12, peak_fp32=82.6e12, bandwidth=1.01e12, memory=24 * GIB, **GPU),
        # One thread of a server's CPU with AVX2: 16 multiply-adds a cycle at 2.5 GHz.
        Device(
            name="cpu",
            peak_bf16=80e9,
            peak_fp32=80e9,
            bandwidth=10e9,
            memory=16 * GIB,
            efficiency=0.4,
            bandwidth_share=0.6,
            layer_s=4e-4,
        ),
    )
}


def device_named(name: str) -> Device:
    """The device of a name. UserError naming the known ones."""
    if name.lower() not in DEVICES:
        raise UserError(f"device is {name!r}; known are {', '.join(DEVICES)}.")
    return DEVICES[name.lower()]
