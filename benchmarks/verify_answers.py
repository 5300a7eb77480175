"""The answers that benchmarks/verify.py judges: 150 contest problems, 128 seeded samples each, repeated realistically.

Gold answers are those of the five contests of the paper (111 of the 150 are integers); wrong answers are variations of
them and the answers of other problems. Wrong answers to AIME are integers, as the contest says all its answers are;
elsewhere one in ten wrong answers to an integer is LaTeX. To LaTeX two in three are the gold answer with other digits,
and one is another problem's. Of every problem a share of the samples, drawn from Beta(0.4, 1),
is correct, in one of a few spellings; the wrong ones follow Zipf's law over the problem's own forty wrong answers, as
models prefer some mistakes. Two samples in a hundred end without an answer.
"""

import json
import os
import random
from pathlib import Path

CONTESTS = ("aime_2024", "aime_2025", "brumo_2025", "hmmt_feb_2025", "hmmt_nov_2025")
SYMBOLIC_SOURCES = ("math500", "deepmath_5k")
SAMPLES = 128
WRONG_ANSWERS = 40

_STEPS = (
    "Let $n = {a}$ and consider the remaining cases one at a time.",
    "Since $\\frac{{{a}}}{{{b}}} > 1$, we may write the sum as $S = {a} + {b}x + x^2$.",
    "By symmetry the count is the same for both sides, which gives {a} times {b}.",
    "Substituting, \\[ x^2 - {a}x + {b} = 0, \\] and the roots follow.",
    "Wait, the case of {b} was counted twice, so we subtract it again.",
    "Hence there are $\\binom{{{b}}}{{2}}$ choices left, and each works.",
)
_ENDINGS = (
    "Therefore the answer is $\\boxed{{{answer}}}$.",
    "The final answer is $\\boxed{{{answer}}}$.",
    "So we get \\[\\boxed{{{answer}}}\\]",
    "Thus, \\boxed{{{answer}}}",
)


def problem_sets() -> Path:
    """The folder of the problem sets; it is said where there is none."""
    folder = Path(os.environ.get("UNSQUEEZE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    if not folder.is_dir():
        raise SystemExit(f"no problem sets in {folder}; set UNSQUEEZE_DATA to their folder")
    return folder


def answers_of(folder: Path, name: str) -> list[tuple[str, str]]:
    records = map(json.loads, (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    return [(record["id"], record["answer"]) for record in records]


def is_integer(answer: str) -> bool:
    return answer.lstrip("-").isdigit()


def _spelled(rng: random.Random, answer: str) -> str:
    return rng.choice([answer, answer, answer, answer.replace("\\frac", "\\dfrac"), answer.replace(" ", "")])


def _wrong_answers(rng: random.Random, contest: str, gold: str, symbolic: list[str]) -> list[str]:
    found: dict[str, None] = {}
    share = 0.0 if contest.startswith("aime") else 0.1
    while len(found) < WRONG_ANSWERS:
        if is_integer(gold):
            nearby, other = str(abs(int(gold) + rng.randint(-60, 60))), str(rng.randint(0, 999))
            wrong = rng.choices([nearby, other, rng.choice(symbolic)], [0.6, 0.4 - share, share])[0]
        else:
            digit, other = rng.choice("123456789"), rng.choice("123456789")
            wrong = rng.choice([gold.replace(digit, other), gold.replace(digit, other), rng.choice(symbolic)])
        if wrong != gold:
            found[wrong] = None
    return list(found)


def _response(rng: random.Random, answer: str | None) -> str:
    steps = [rng.choice(_STEPS).format(a=rng.randint(2, 400), b=rng.randint(2, 40)) for _ in range(rng.randint(5, 12))]
    ending = "and so on, until" if answer is None else rng.choice(_ENDINGS).format(answer=answer)
    return "\n".join([*steps, ending])


def contest_samples(folder: Path, *, seed: int, samples: int = SAMPLES) -> list[dict[str, str]]:
    """``problem_id``, ``gold`` and ``prediction`` of every sample, problem by problem."""
    rng = random.Random(seed)
    symbolic = symbolic_answers(folder)
    rows = []
    for contest in CONTESTS:
        for problem_id, gold in answers_of(folder, contest):
            wrong = _wrong_answers(rng, contest, gold, symbolic)
            weights = [1 / rank for rank in range(1, len(wrong) + 1)]
            rate = rng.betavariate(0.4, 1)
            for _ in range(samples):
                answer: str | None = _spelled(rng, gold) if rng.random() < rate else rng.choices(wrong, weights)[0]
                if rng.random() < 0.02:
                    answer = None
                rows.append({"problem_id": problem_id, "gold": gold, "prediction": _response(rng, answer)})
    return rows


def symbolic_answers(folder: Path) -> list[str]:
    """Distinct short LaTeX answers that are no plain integers and bring no dollars of their own."""
    answers = {answer for name in SYMBOLIC_SOURCES for _, answer in answers_of(folder, name)}
    return sorted(a for a in answers if len(a) < 80 and not is_integer(a) and "$" not in a and "\\(" not in a)


def distinct_latex_pairs(folder: Path, count: int, *, seed: int) -> list[dict[str, str]]:
    """Pairs of LaTeX answers, no pair twice, in boxes: half equal but for spelling, half of another problem."""
    rng = random.Random(seed)
    symbolic = symbolic_answers(folder)
    golds = rng.sample(symbolic, count)
    answers = [gold.replace("\\frac", "\\dfrac") if rng.random() < 0.5 else rng.choice(symbolic) for gold in golds]
    return [
        {"problem_id": str(place), "gold": gold, "prediction": f"\\boxed{{{answer}}}"}
        for place, (gold, answer) in enumerate(zip(golds, answers, strict=True))
    ]
