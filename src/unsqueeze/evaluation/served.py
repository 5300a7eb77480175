"""Drawing the samples that an evaluation lacks from a server: many at a time, in any order, stored as they come."""

from collections.abc import Callable

from unsqueeze.evaluation.resumable import Asked, Storing, missing_of
from unsqueeze.evaluation.sample_store import SampleStore
from unsqueeze.rollout.served import Ask, ServedModel
from unsqueeze.seeds import derive_seed


def draw_missing_served(
    store: SampleStore,
    served: ServedModel,
    asked: Asked,
    n: int,
    *,
    seed: int,
    on_finished: Callable[[int], None] | None = None,
) -> None:
    """Bring every problem of a benchmark to ``n`` judged samples on the disk.

    A sample's seed comes from its problem and its index alone. Whatever ends the drawing (a wish to stop, raised by
    ``on_finished``; a server that fails), every answer that had come in is stored.
    """
    problems = asked.benchmark.problems
    missing = missing_of(store, asked, n)
    asks = [
        Ask(asked.prompts[place], derive_seed(seed, "eval", asked.benchmark.name, problems[place].id, index))
        for place, index in missing
    ]
    report = on_finished or (lambda count: None)
    with Storing(store, asked) as storing:

        def tick() -> None:
            storing.flush_when_due()
            report(0)

        for number, answer in served.answers(asks, asked.sampling, on_tick=tick):
            storing.take([(*missing[number], answer)])
            report(1)
