"""Put together all that is estimated of one run."""

from dataclasses import dataclass

from unsqueeze.config.recipe import Recipe
from unsqueeze.cost.compute import Duration, Speed, estimate_duration
from unsqueeze.cost.devices import Device
from unsqueeze.cost.disk import Disk, estimate_disk
from unsqueeze.cost.memory import Layout, Memory, estimate_memory
from unsqueeze.cost.shape import ModelShape, adapter_parameters
from unsqueeze.cost.workload import Lengths, Workload, count_workload

ASSUMED_RESPONSE_SHARE = 0.5


def assumed_response(recipe: Recipe, expected: float | None) -> float:
    """Return the mean tokens of a response: as the task expects, or else half of ``rollout.max_tokens``."""
    longest = recipe.rollout.max_tokens
    return ASSUMED_RESPONSE_SHARE * longest if expected is None else min(longest, expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problems:
    """Numbers of problems of each kind in a run."""

    train: int
    test: int
    validation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    workload: Workload
    lengths: Lengths
    memory: Memory
    duration: Duration
    disk: Disk


def estimate_run(
    recipe: Recipe,
    shape: ModelShape,
    problems: Problems,
    lengths: Lengths,
    device: Device,
    layout: Layout,
    *,
    judged_in_place: bool,
) -> Estimate:
    """The estimates of a recipe with a model of this shape, on so many problems of these lengths, on these devices."""
    workload = count_workload(
        recipe, num_train=problems.train, num_test=problems.test, num_validation=problems.validation
    )
    lora = recipe.model.lora
    trained = shape.num_parameters if lora is None else adapter_parameters(shape, lora)
    disk = estimate_disk(recipe, workload, lengths, num_parameters=shape.num_parameters, num_trainable=trained)
    return Estimate(
        workload=workload,
        lengths=lengths,
        memory=estimate_memory(recipe, shape, workload, lengths, layout),
        duration=estimate_duration(
            recipe,
            Speed(recipe, shape, lengths, device, layout),
            workload,
            num_trained=trained,
            checkpoint_bytes=disk.checkpoint,
            judged_in_place=judged_in_place,
        ),
        disk=disk,
    )
