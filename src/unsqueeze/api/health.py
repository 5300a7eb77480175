"""Find out what works on this machine, by trying it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from unsqueeze.errors import one_line
from unsqueeze.seeds import prompt_seeds

EXTRAS = {
    "peft": ("low-rank adapters (model.lora)", "pip install 'unsqueeze[peft]'"),
    "tensorboard": ("curves of a run (trackers: [tensorboard])", "pip install 'unsqueeze[tensorboard]'"),
    "wandb": ("the same (trackers: [wandb])", "pip install 'unsqueeze[wandb]'"),
    "mlflow-skinny": ("the same (trackers: [mlflow])", "pip install 'unsqueeze[mlflow]'"),
    "trackio": ("the same (trackers: [trackio])", "pip install 'unsqueeze[trackio]'"),
    "vllm": ("sampling on a GPU (rollout.engine: vllm)", "pip install 'unsqueeze[vllm]'"),
    "reasoning-gym": ("its problems (eval --task reasoning_gym:NAME)", "pip install 'unsqueeze[reasoning-gym]'"),
    "trl": ("SPS inside TRL's trainer", "pip install 'unsqueeze[trl]'"),
    "ms-swift": ("SPS inside ms-swift, in an environment of its own", "pip install 'unsqueeze[swift]'"),
    "gguf": ("converting GGUF files (scripts/smollm2_checkpoint.py)", "pip install 'unsqueeze[gguf]'"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Finding about one thing. ``needed`` things must work; of the others ``advice`` says how to get them."""

    name: str
    works: bool
    detail: str
    needed: bool = True
    advice: str = ""


def doctor() -> list[Finding]:
    """Try what a run needs, and list what is installed for the rest, in the order in which they build on one another.

    The engine writes one answer with the embedded model on every device there is; the verifier gives one verdict in a
    process of its own.
    """
    return [
        *tried("packages", packages),
        *tried("devices", devices),
        *tried("verifier of mathematics", math_verifier),
        *tried("confinement of judged answers", confinement),
        *extras(),
    ]


def tried(name: str, check: Callable[[], list[Finding]]) -> list[Finding]:
    """Return what a check finds; that it failed, if it fails, whatever the reason."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - whatever is broken here is what this command is to report
        detail = one_line(f"{type(error).__name__}: {error}")
        return [Finding(name, False, detail, advice="pip install --force-reinstall unsqueeze")]


def packages() -> list[Finding]:
    from unsqueeze.store.provenance import provenance

    versions = provenance()["versions"]
    missing = [name for name, version in versions.items() if version is None]
    detail = ", ".join(f"{name} {version or 'MISSING'}" for name, version in versions.items())
    advice = f"pip install {' '.join(missing)}" if missing else ""
    return [Finding("packages", not missing, detail, advice=advice)]


def devices() -> list[Finding]:
    """The embedded engine on the CPU, and on a GPU where PyTorch sees one."""
    import torch

    findings = tried("hf engine on cpu", lambda: [generation("cpu")])
    if not torch.cuda.is_available():
        build = torch.version.cuda
        advice = "the GPU's driver is missing or too old" if build else "install PyTorch for CUDA (https://pytorch.org)"
        return [*findings, Finding("hf engine on cuda", False, "PyTorch sees no GPU", needed=False, advice=advice)]
    return [*findings, *tried("hf engine on cuda", lambda: [generation("cuda")])]


def generation(device: str) -> Finding:
    """One greedy answer of the embedded model to one Countdown problem, checked."""
    import torch

    from unsqueeze.config.model_settings import ModelSettings
    from unsqueeze.policy.loading import without_progress_bars
    from unsqueeze.policy.policy import Policy
    from unsqueeze.rollout.hf import HfEngine
    from unsqueeze.rollout.types import Sampling
    from unsqueeze.tasks.countdown import make_problem
    from unsqueeze.verify.countdown import check_countdown

    without_progress_bars()
    problem = make_problem([2, 3, 6, 14], 48)
    policy = Policy.load(ModelSettings.model_validate({"device": device}))
    prompt = policy.tokenizer(problem.prompt)["input_ids"]
    begun = time.perf_counter()
    answer = HfEngine(policy.model, policy.tokenizer).generate(
        [prompt], 1, Sampling(max_tokens=24, temperature=0), seeds=prompt_seeds(0, 1)
    )[0][0]
    seconds = time.perf_counter() - begun
    where = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    verdict = check_countdown(problem, answer.text).verdict
    detail = f"{where}: {problem.prompt} {answer.text} ({verdict}, {len(answer.tokens)} tokens in {seconds:.2f} s)"
    return Finding(f"hf engine on {device}", bool(answer.text), detail)


def math_verifier() -> list[Finding]:
    """One verdict of Math-Verify, from a worker process."""
    from unsqueeze.verify.math_verifier import MathVerifier
    from unsqueeze.verify.verdict import Verdict

    begun = time.perf_counter()
    # Equal only by mathematics, so that a worker must be asked.
    with MathVerifier(workers=1, timeout_s=60.0, credit="boxed") as verifier:
        judgement = verifier.verify_answers([r"\sqrt{8}"], [r"It is \boxed{2\sqrt{2}}."])[0]
    seconds = time.perf_counter() - begun
    detail = rf"\boxed{{2\sqrt{{2}}}} against \sqrt{{8}}: {judgement.verdict} in {seconds:.1f} s ({judgement.reason})"
    return [Finding("verifier of mathematics", judgement.verdict is Verdict.CORRECT, detail)]


def confinement() -> list[Finding]:
    """Whether answers are judged behind a filter of system calls."""
    from unsqueeze.verify.confine import can_confine

    works = can_confine()
    detail = (
        "a filter of system calls: no network, no processes, no file changed"
        if works
        else "limits of time, memory and files alone: this system has no filter of system calls that is known here"
    )
    advice = "judge in a container, above all with reasoning-gym, which runs answers as Python"
    return [Finding("confinement of judged answers", works, detail, needed=False, advice="" if works else advice)]


def extras() -> list[Finding]:
    """The optional packages, by their versions."""
    from importlib import metadata

    findings = []
    for name, (purpose, command) in EXTRAS.items():
        try:
            findings.append(Finding(name, True, f"{metadata.version(name)}, for {purpose}", needed=False))
        except metadata.PackageNotFoundError:
            findings.append(Finding(name, False, f"not installed; for {purpose}", needed=False, advice=command))
    return findings
