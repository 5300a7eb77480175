"""Demonstrations for an IRL phase, chosen among the rollouts of any trainer."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from unsqueeze.algos.selection import Likelihood, Pool
from unsqueeze.config.irl_settings import IrlSettings
from unsqueeze.config.load import checked
from unsqueeze.config.model_settings import ModelSettings
from unsqueeze.distributed.processes import ONE, Processes
from unsqueeze.errors import UserError
from unsqueeze.evaluation.judged_again import JudgedAgain
from unsqueeze.evaluation.settings import checkpoint_of, verify_settings
from unsqueeze.interop.demonstration_files import write_demonstrations
from unsqueeze.interop.rollouts.detect import AUTO, detect
from unsqueeze.interop.rollouts.excluded import Excluded
from unsqueeze.interop.rollouts.expected import Expected, expected_rows, length_limit
from unsqueeze.interop.rollouts.format import Asked, Format
from unsqueeze.interop.rollouts.prepare import Preparation, Reading
from unsqueeze.interop.rollouts.rendered import TruePrompts, Unrendering
from unsqueeze.interop.select import Rollouts, Selection, demonstrations, run_folder, run_prompt, select_from_files
from unsqueeze.progress import Progress, Silent
from unsqueeze.store.outputs import is_same_file
from unsqueeze.store.run_directory import RunDirectory
from unsqueeze.tasks.task import task_named
from unsqueeze.verify.shared import SharedVerifier
from unsqueeze.verify.verdict import Verifier
from unsqueeze.verify.verifiers import make_verifier
from unsqueeze.wording import counted

if TYPE_CHECKING:
    from unsqueeze.evaluation.rollout_likelihood import PresentLikelihood
    from unsqueeze.policy.policy import Policy


@dataclass(frozen=True, slots=True)
class Selected:
    """Demonstrations that were chosen: to be gone through once or more, and what there was to choose from."""

    rollouts: Rollouts
    source: str
    selection: Selection
    from_run: str | None = None
    """What was taken from which run, in words; None where nothing was."""
    warnings: Sequence[str] = ()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield one plain object a demonstration: ``messages`` with ``prompt`` and ``completion``, or these as text."""
        return demonstrations(self.rollouts, self.selection, run_prompt(self.source))

    def __len__(self) -> int:
        return len(self.selection.chosen)

    @property
    def reading(self) -> Reading:
        """Return the counts of what was read: rows, repeated ones, those of an evaluation, cut off ones."""
        return self.selection.reading

    def describe(self) -> str:
        return self.selection.describe()


def select(
    rollouts: str | Path,
    *,
    k: int | None = None,
    pool: str | None = None,
    quantile: float | None = None,
    likelihood: str | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    format: str = AUTO,
    reward: str | None = None,
    rejudge: str | None = None,
    exclude_prompts: str | Path | None = None,
    prompts: str | Path | None = None,
    model: str | Path | None = None,
    likelihood_under: str | None = None,
    max_length: int | None = None,
    expected: int | None = None,
    tokens_per_microbatch: int = 16384,
    device: str = "auto",
    compute_dtype: str = "float32",
    progress: Progress | None = None,
    processes: Processes = ONE,
) -> Selected:
    """Choose demonstrations for IRL among rollouts: the ones the policy finds unlikely (L2TE, arXiv 2604.16995).

    ``rollouts`` is a run, a folder of Parquet or JSONL files, or one file, of ours or of any other trainer, whose
    ``format`` is found out (docs/commands.md). What is not given is as the run has it, so that the choice is the run's
    own; else 3 of a group, ``negatives_first`` among the less likely half by their mean log-prob, with seed 0. ``out``
    is a JSON Lines or Parquet file to write, replaced once all are chosen.

    ``reward`` names the column of the reward where there are several; ``rejudge`` names a task (``math``) whose
    verifier judges anew. ``exclude_prompts`` is a file with the prompts of an evaluation that wrote into the same
    files, ``prompts`` the data set that lost prompts are joined from. ``model`` computes log-probs where there are
    none, or with ``likelihood_under`` "present", the default then, instead of those of the ``behaviour`` policy; its
    tokenizer counts tokens against ``max_length``, from which on a response was cut off (0: none was). ``expected`` is
    the number of rollouts there must be. All ``processes`` call this alike: each computes its share of the log-probs
    of ``model``, and the main one writes.
    """
    source, shown = str(rollouts), progress or Silent()
    taken, from_run = _selecting(source, k=k, pool=pool, quantile=quantile, likelihood=likelihood, seed=seed)
    k, pool, quantile, likelihood, seed = (taken[name] for name in ("k", "pool", "quantile", "likelihood", "seed"))
    _check(pool, likelihood, k, quantile, tokens_per_microbatch, likelihood_under)
    found, files = detect(source, format)
    for other in (out, *(() if out is None else (exclude_prompts, prompts))):
        if other is not None and any(is_same_file(other, file) for file in files):
            raise UserError(f"{other} is a file of rollouts itself; name another.")
    limit = max_length if max_length is not None else length_limit(found, Path(source))
    _check_enough(found, model=model, prompts=prompts, limit=limit, likelihood_under=likelihood_under)
    if processes.size > 1 and (model is None or likelihood_under == "behaviour"):
        raise UserError(
            f"{processes.size} processes share the log-probs of a model, and none are to be computed; leave out "
            f"--processes, or give --model."
        )
    with ExitStack() as stack:
        with processes.agreeing():
            policy = None if model is None else _load(str(model), device, compute_dtype, processes)
        tokenizer = None if policy is None else policy.tokenizer
        under = likelihood_under or ("behaviour" if policy is None else "present")
        asked = Asked(reward, judged_again=rejudge is not None)
        judge = None
        if rejudge is not None:
            verifier: Verifier = make_verifier(task_named(rejudge), verify_settings())
            if hasattr(verifier, "close"):
                stack.enter_context(closing(verifier))
            judge = JudgedAgain(SharedVerifier(verifier, processes), rejudge)
        preparation = _preparation(found, tokenizer, limit, exclude_prompts, prompts)
        read = Rollouts(found, files, asked, preparation, None, judge)
        score = None
        if policy is not None and under == "present":
            from unsqueeze.evaluation.rollout_likelihood import PresentLikelihood

            total = sum(1 for _ in read.read(("prompt",)))
            score = PresentLikelihood(policy, max_tokens=tokens_per_microbatch)
            advance = stack.enter_context(shown.work("log-probs", total))
            read = Rollouts(found, files, asked, preparation, score, judge, advance)
        chosen = select_from_files(read, k, pool=pool, quantile=quantile, likelihood=likelihood, seed=seed)  # type: ignore[arg-type]
    given = None if expected is None else Expected(expected, "as given")
    known = given or expected_rows(found, Path(source), files)
    if known is not None:
        chosen.reading.num_expected, chosen.reading.expected_by = known
    selected = Selected(read, source, chosen, from_run, _warnings(chosen.reading, score, exclude_prompts))
    if out is not None:
        processes.on_main(lambda: write_demonstrations(out, selected))
    return selected


def _check(
    pool: str, likelihood: str, k: int, quantile: float, tokens_per_microbatch: int, likelihood_under: str | None
) -> None:
    if pool not in get_args(Pool):
        raise UserError(f"pool is {pool!r}; it must be one of {', '.join(get_args(Pool))}.")
    if likelihood not in get_args(Likelihood):
        raise UserError(f"likelihood is {likelihood!r}; it must be one of {', '.join(get_args(Likelihood))}.")
    if k < 1:
        raise UserError(f"k is {k}; give 1 or more.")
    if not 0 < quantile <= 1:
        raise UserError(f"quantile is {quantile}; give a share above 0 and up to 1.")
    if tokens_per_microbatch < 1:
        raise UserError(f"tokens_per_microbatch is {tokens_per_microbatch}; give 1 or more.")
    if likelihood_under not in (None, "present", "behaviour"):
        raise UserError(f"likelihood_under is {likelihood_under!r}; it must be present or behaviour.")


def _check_enough(found: Format, *, model: Any, prompts: Any, limit: int | None, likelihood_under: str | None) -> None:
    """UserError for what the files of a format lack and nobody gave: nothing is guessed."""
    if limit is not None and limit < 0:
        raise UserError(f"max_length is {limit}; give the trainer's limit of tokens, or 0 where nothing was cut off.")
    if likelihood_under == "present" and model is None:
        raise UserError("likelihood_under is 'present', and no model is given; give the checkpoint with --model.")
    if not found.has_likelihood and model is None:
        raise UserError(
            f"{found.trainer}'s files hold no log-probs; give the checkpoint that is to rank the rollouts with --model."
        )
    if not found.has_likelihood and likelihood_under == "behaviour":
        raise UserError(
            f"likelihood_under is 'behaviour', and {found.trainer}'s files hold no log-probs; rank by the model, with "
            "present."
        )
    if not found.says_ends and limit is None:
        raise UserError(
            f"{found.trainer}'s files do not say which responses were cut off; give the trainer's limit of new tokens "
            f"with --max-length, or 0 where nothing was cut off."
        )
    if found.prompts == "decoded" and prompts is None:
        raise UserError(
            f"{found.trainer}'s files hold prompts without their special tokens, which are not what the model was "
            f"given; give the data set it was trained on with --prompts."
        )
    if prompts is not None and model is None:
        raise UserError("prompts are joined by a model's tokenizer; give the checkpoint with --model.")


def _load(model: str, device: str, compute_dtype: str, processes: Processes) -> "Policy":
    from unsqueeze.policy.loading import without_progress_bars
    from unsqueeze.policy.policy import Policy
    from unsqueeze.training.trainer_checkpoint import is_adapter

    adapter = is_adapter(Path(model))
    path = model if adapter else checkpoint_of(model)
    settings = checked(ModelSettings, {"path": path, "device": device, "compute_dtype": compute_dtype}, "model")
    without_progress_bars()
    return Policy.load_adapter(settings, Path(model), processes) if adapter else Policy.load(settings, processes)


def _preparation(
    found: Format, tokenizer: Any, limit: int | None, exclude_prompts: str | Path | None, prompts: str | Path | None
) -> Preparation | None:
    excluded = None if exclude_prompts is None else Excluded.of_file(str(exclude_prompts))
    if tokenizer is None and excluded is None and not limit and found.name == "plain":
        return None
    return Preparation(
        found,
        tokenizer,
        limit or None,
        None if prompts is None else TruePrompts(str(prompts), tokenizer),
        None if tokenizer is None else Unrendering(tokenizer),
        excluded,
    )


def _warnings(reading: Reading, score: "PresentLikelihood | None", exclude_prompts: str | Path | None) -> list[str]:
    """List what no one may miss."""
    found = []
    if reading.num_expected is not None and reading.num_expected > reading.num_distinct:
        found.append(
            f"{counted(reading.num_distinct, 'rollout', 'is', 'are')} there and {reading.num_expected:,} were expected "
            f"({reading.expected_by}): logging less often than generating keeps the last batch alone."
        )
    if reading.num_expected is not None and reading.num_expected < reading.num_rollouts and exclude_prompts is None:
        found.append(
            f"{counted(reading.num_rollouts, 'rollout', 'is', 'are')} there and {reading.num_expected:,} were expected "
            f"({reading.expected_by}): those of an evaluation may be among them; name its prompts with "
            f"--exclude-prompts."
        )
    if exclude_prompts is not None and not reading.num_evaluation:
        found.append(f"no rollout has a prompt of {exclude_prompts}.")
    if score is not None and score.num_refused:
        found.append(f"{counted(score.num_refused, 'rollout')} cannot be scored ({score.first_refusal}).")
    return found


def _selecting(source: str, **given: Any) -> tuple[dict[str, Any], str | None]:
    """Return the settings of L2TE: as given, else of the run, else the defaults; and in words which are the run's."""
    defaults = {name: 0 if name == "seed" else IrlSettings.model_fields[name].default for name in given}
    folder = run_folder(source)
    recipe = None if folder is None else RunDirectory.open(folder).info.get("recipe")
    own: dict[str, Any] = {}
    if isinstance(recipe, dict) and recipe.get("irl") is not None:
        own = {**checked(IrlSettings, recipe["irl"], "irl").model_dump(), "seed": recipe.get("seed", 0)}
    from_run = {name: own[name] for name, value in given.items() if value is None and name in own}
    settings = {name: from_run.get(name, defaults[name]) if value is None else value for name, value in given.items()}
    if not from_run or folder is None:
        return settings, None
    told = ", ".join(f"{name} {value}" for name, value in from_run.items())
    return settings, f"settings of the run {folder / 'run.json'}: {told}"
