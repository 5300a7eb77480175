"""Check and measure everything on a GPU, in under ten minutes, without a network.

    python benchmarks/gpu_check.py --models countdown-0.4m ./smollm2 --out gpu-check

Writes gpu-check/gpu-check.json and gpu-check/gpu-check.md, anew after every check, so that whatever happens what was
found until then is there; one line a check is printed. ``--page docs/results/DEVICE.md`` writes the page there too.
``--device cpu`` runs every check on a CPU: that is how this script is tested.

A check is independent of the others: it runs in a worker process, which is killed where the check takes longer than
its budget or the whole longer than ``--seconds``, and a new worker goes on with the next. Verdicts: ``pass``; ``fail``,
a number is not as it must be; ``error``, it raised; ``late``, it took too long; ``skipped``, there was nothing to
check, as without vLLM; ``not run``, the time was over. Exit code 0 without ``fail``, ``error`` and ``late``, else 1.

docs/gpu.md says how to get all this onto a machine without a network, and what the fields of the JSON are.
"""

import argparse
import contextlib
import json
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if (ROOT / "src").is_dir():  # a checkout needs no installation, here or in the processes that are started
    sys.path.insert(0, str(ROOT / "src"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

FORMAT = 1
BAD = ("fail", "error", "late")
SECONDS = 570.0
"""Time for all; where more is given, every check has more in proportion."""
STARTING_S = 240.0
"""Time for a worker to import everything and name its checks."""
SIZES = {"cuda": (8, 8, 24), "cpu": (2, 4, 8)}
"""Prompts, responses a prompt, and tokens of a response."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=["countdown-0.4m"], help="folders, or the embedded model's name")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--out", type=Path, default=Path("gpu-check"), help="the folder to write")
    parser.add_argument("--page", type=Path, help="write the page here too")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="the whole takes no longer")
    parser.add_argument("--sizes", type=int, nargs=3, metavar=("PROMPTS", "GROUP", "TOKENS"), help="smaller or larger")
    parser.add_argument("--only", nargs="+", metavar="TEXT", help="checks whose name holds one of these")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.sizes = tuple(given.sizes or SIZES[given.device])
    if given.worker is not None:
        work(given)
        return
    wrong = bad_input(given)
    if wrong:
        print(wrong, file=sys.stderr)
        sys.exit(2)
    sys.exit(supervise(given))


def bad_input(given: argparse.Namespace) -> str | None:
    """One sentence about what was asked for and cannot be; None where all is well."""
    from unsqueeze.models import embedded_model_path

    if given.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            return (
                f"PyTorch {torch.__version__} sees no GPU here (built for CUDA: {torch.version.cuda}); install its "
                f"CUDA build or the driver, or try the script itself with --device cpu."
            )
    embedded = embedded_model_path().name
    for model in given.models:
        if model != embedded and not Path(model, "config.json").is_file():
            return (
                f"--models {model}: there is no folder of that name with a config.json. Give folders in Hugging Face "
                f"format, or {embedded}, which ships with the package; no hub is asked here."
            )
    return None


# --- the worker: runs the checks it is told, one after the other


def work(given: argparse.Namespace) -> None:
    """Say what checks there are, then run those whose numbers come in, until none does."""
    said = os.fdopen(given.worker, "w", encoding="utf-8")

    def say(**event: Any) -> None:
        said.write(json.dumps(event) + "\n")
        said.flush()

    from gpu_checks import SkipCheck, checks_of

    checks = checks_of(given.device, given.models, given.sizes)
    say(checks=[{"name": check.name, "budget_s": check.budget_s} for check in checks])
    for line in sys.stdin:
        outcome: dict[str, Any] = {"error": None, "numbers": {}}
        try:
            found = checks[int(line)].run()
            outcome |= {"verdict": "pass" if found.ok else "fail", "says": found.says, "numbers": dict(found.numbers)}
        except SkipCheck as reason:
            outcome |= {"verdict": "skipped", "says": str(reason)}
        except Exception as error:  # noqa: BLE001  (whatever it is, the others go on)
            first = (str(error).splitlines() or [""])[0]
            outcome |= {"verdict": "error", "says": f"{type(error).__name__}: {first[:300]}"}
            outcome["error"] = traceback.format_exc()[-4000:]
        say(**_plain(outcome))


def _plain(outcome: dict[str, Any]) -> dict[str, Any]:
    """The outcome as JSON has it: no NaN, no types of NumPy."""
    from unsqueeze.plain_json import dumps

    plain: dict[str, Any] = json.loads(dumps(outcome))
    return plain


class Worker:
    """A process that runs checks. Whatever it prints goes to a file."""

    def __init__(self, log: Path) -> None:
        reading, writing = os.pipe()
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], "--worker", str(writing)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        self._reading = reading
        self._rest = b""

    def ask(self, number: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n".encode())
        self._process.stdin.flush()

    def begin(self, seconds: float) -> list[dict[str, Any]]:
        """The names and budgets of its checks, once it has imported everything."""
        checks: list[dict[str, Any]] = self.answer(seconds)["checks"]
        return checks

    def answer(self, seconds: float) -> dict[str, Any]:
        """What it says next. TimeoutError where that takes longer, EOFError where it has ended."""
        until = time.monotonic() + seconds
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._reading], [], [], left)[0]:
                raise TimeoutError(f"it was killed after {seconds:.0f} s")
            more = os.read(self._reading, 1 << 16)
            if not more:
                raise EOFError(f"the worker ended with code {self._process.wait()}")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event

    def end(self) -> None:
        """Kill it and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._reading)
        self._log.close()


# --- the supervisor: time, results, the page


def supervise(given: argparse.Namespace) -> int:
    """Run all checks, each in its time, and write down each outcome. Returns the exit code."""
    given.out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = begin_report(given)
    begun = time.monotonic()
    outcomes: list[dict[str, Any]] = report["checks"]
    try:
        for outcome in outcomes_of(given, begun + given.seconds):
            outcomes.append(outcome)
            took = f"{outcome['name']} ({outcome['seconds']:.1f} s)"
            print(f"{outcome['verdict']:8} {took}: {one_line(outcome['says'])}", flush=True)
            report["seconds"] = time.monotonic() - begun
            write(report, given)
    finally:
        report["seconds"] = time.monotonic() - begun
        report["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
        write(report, given)
    print(f"{verdict_of(report)} in {report['seconds']:.0f} s; {given.out / 'gpu-check.md'}")
    return int(any(outcome["verdict"] in BAD for outcome in outcomes))


def outcomes_of(given: argparse.Namespace, until: float) -> Iterator[dict[str, Any]]:
    """The outcome of each check in turn; a worker that was killed, or ended, is replaced."""
    log = given.out / "worker.log"
    log.unlink(missing_ok=True)

    def left() -> float:
        return until - time.monotonic()

    longer = max(1.0, given.seconds / SECONDS)
    worker: Worker | None = None
    try:
        worker = Worker(log)
        checks = worker.begin(min(STARTING_S, left()))
        for number, check in enumerate(checks):
            outcome: dict[str, Any] = {"name": check["name"], "seconds": 0.0, "numbers": {}, "error": None}
            if given.only and not any(text in check["name"] for text in given.only):
                continue
            if left() <= 0:
                yield outcome | {"verdict": "not run", "says": "the time was over"}
                continue
            begun, budget = time.monotonic(), min(check["budget_s"] * longer, left())
            try:
                if worker is None:
                    worker = Worker(log)
                    worker.begin(min(STARTING_S, left()))
                worker.ask(number)
                outcome |= worker.answer(budget)
            except (OSError, EOFError) as error:
                late = isinstance(error, TimeoutError)
                outcome |= {"verdict": "late" if late else "error", "says": str(error), "error": tail_of(log)}
                if worker is not None:
                    worker.end()
                    worker = None
            yield outcome | {"seconds": time.monotonic() - begun}
    except (OSError, EOFError) as error:
        starting = {"name": "starting a worker", "seconds": 0.0, "numbers": {}, "error": tail_of(log)}
        yield starting | {"verdict": "error", "says": str(error)}
    finally:
        if worker is not None:
            worker.end()


def tail_of(log: Path) -> str:
    """The end of what a worker printed."""
    return log.read_text(encoding="utf-8", errors="replace")[-4000:] if log.exists() else ""


def begin_report(given: argparse.Namespace) -> dict[str, Any]:
    """What is known before the first check."""
    from unsqueeze.store.provenance import provenance

    return {
        "format": FORMAT,
        "device": given.device,
        "device_name": device_name(given.device),
        "models": given.models,
        "sizes": list(given.sizes),
        "only": given.only,
        "limit_s": given.seconds,
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "ended": None,
        "seconds": 0.0,
        **provenance(),
        "checks": [],
    }


def device_name(device: str) -> str:
    if device == "cpu":
        return platform.processor() or "a CPU"
    import torch

    return torch.cuda.get_device_name(0)


def write(report: dict[str, Any], given: argparse.Namespace) -> None:
    """JSON and page, each whole or as it was before."""
    text = page(report)
    targets = [(given.out / "gpu-check.json", json.dumps(report, indent=1) + "\n"), (given.out / "gpu-check.md", text)]
    for path, content in targets + ([(given.page, text)] if given.page else []):
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as aside:
            aside.write(content)
        os.replace(aside.name, path)


def verdict_of(report: dict[str, Any]) -> str:
    """How many checks came out how."""
    counts = Counter(outcome["verdict"] for outcome in report["checks"])
    order = ("pass", *BAD, "skipped", "not run")
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict]) or "nothing was checked"


def page(report: dict[str, Any]) -> str:
    """The result as Markdown."""
    git = report["git"]
    commit = "unknown" if git is None else f"{git['commit'][:10]}{' (modified)' if git['modified'] else ''}"
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items() if version)
    lines = [
        f"# Everything checked on {report['device_name']}",
        "",
        f"Made by `benchmarks/gpu_check.py` on {report['begun']}, commit {commit}, in {report['seconds']:.0f} s; "
        f"models {', '.join(Path(model).name for model in report['models'])}; "
        f"{' × '.join(map(str, report['sizes']))} prompts, responses a prompt, tokens. {versions}; "
        f"{report['platform']}.",
        "",
        f"**{verdict_of(report)}.** [docs/gpu.md](../gpu.md) says what each check is.",
        "",
        "| check | verdict | s | found |",
        "| --- | --- | ---: | --- |",
        *(
            f"| {outcome['name']} | {outcome['verdict']} | {outcome['seconds']:.1f} | {cell(outcome['says'])} |"
            for outcome in report["checks"]
        ),
    ]
    for outcome in report["checks"]:
        if outcome["error"]:
            lines += ["", f"## {outcome['name']}", "", "```", outcome["error"].rstrip(), "```"]
    return "\n".join([*lines, ""])


def cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")


def one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    main()
