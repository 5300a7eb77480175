"""Benchmarks that are known by name: where their data stand on the hub and how to read them."""

from dataclasses import dataclass

from unsqueeze.tasks.hub import HubSource
from unsqueeze.tasks.records import DEFAULT_FIELDS, Reader, gpqa, gsm8k, mmlu, or_plain, plain

_PLAIN = plain()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSet:
    """One benchmark.

    It is read from ``NAME.jsonl`` in a data directory (or one of ``files``), in its own format or as ``problem`` and
    ``answer``; otherwise from the hub. ``id_field`` tells its problems apart there, where it has such a field.
    """

    name: str
    title: str
    hub: HubSource
    size: int
    licence: str
    aliases: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    reader: Reader = _PLAIN
    id_field: str | None = None

    @property
    def file_names(self) -> tuple[str, ...]:
        return (self.name, *self.files)


def _matharena(name: str, title: str, *aliases: str) -> KnownSet:
    return KnownSet(
        name=name,
        title=title,
        hub=HubSource(f"MathArena/{name}", None, "train"),
        size=30,
        licence="CC BY-NC-SA 4.0",
        aliases=aliases,
        id_field="problem_idx",
    )


KNOWN: tuple[KnownSet, ...] = (
    KnownSet(
        name="aime_2024",
        title="AIME 2024 I and II",
        hub=HubSource("HuggingFaceH4/aime_2024", None, "train"),
        size=30,
        licence="problems: MAA",
        aliases=("aime24",),
        id_field="id",
    ),
    _matharena("aime_2025", "AIME 2025 I and II", "aime25"),
    _matharena("brumo_2025", "BrUMO 2025", "brumo25"),
    _matharena("hmmt_feb_2025", "HMMT February 2025", "hmmt_feb25"),
    _matharena("hmmt_nov_2025", "HMMT November 2025", "hmmt_nov25"),
    KnownSet(
        name="math500",
        title="MATH-500",
        hub=HubSource("HuggingFaceH4/MATH-500", None, "test"),
        size=500,
        licence="MIT",
        aliases=("math_500",),
        files=("math_500",),
        id_field="unique_id",
    ),
    KnownSet(
        name="gsm8k",
        title="GSM8K, test",
        hub=HubSource("openai/gsm8k", "main", "test"),
        size=1319,
        licence="MIT",
        files=("gsm8k_test",),
        reader=gsm8k,
    ),
    KnownSet(
        name="mmlu",
        title="MMLU, test, 57 subjects",
        hub=HubSource("cais/mmlu", "all", "test"),
        size=14042,
        licence="MIT",
        reader=mmlu,
    ),
    KnownSet(
        name="gpqa_diamond",
        title="GPQA-Diamond",
        hub=HubSource("Idavidrein/gpqa", "gpqa_diamond", "train"),
        size=198,
        licence="CC BY 4.0; behind a form: its authors ask that it not be shown in the clear",
        aliases=("gpqa",),
        reader=gpqa,
        id_field="Record ID",
    ),
)


def find_known(name: str) -> KnownSet | None:
    """The benchmark of that name or alias; case and hyphens do not matter."""
    wanted = name.lower().replace("-", "_")
    return next((known for known in KNOWN if wanted in (known.name, *known.aliases)), None)


def format_of(source: HubSource, problem_field: str, answer_field: str) -> tuple[Reader, str | None]:
    """Return the reader of a data set, and its field of ids: in its own format where it is known and no fields are
    named.
    """
    known = next((known for known in KNOWN if known.hub.path == source.path), None)
    if known is None or (problem_field, answer_field) != DEFAULT_FIELDS:
        return plain(problem_field, answer_field), None
    return or_plain(known.reader), known.id_field
