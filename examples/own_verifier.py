"""Train with a reward of one's own: a function of a problem and a response.

    python examples/own_verifier.py runs/sums-only

From a recipe or the command line the same function is named by its place, with this folder on PYTHONPATH:

    unsqueeze train smoke --set verify.verifier=own_verifier:right_without_products
"""

import sys

import unsqueeze as uq


def right_without_products(problem: uq.Problem, response: str) -> bool:
    """Reward a response that reaches the target and multiplies nowhere. None would say that it cannot be told."""
    return "*" not in response and uq.judge([problem], [response])[0].verdict is uq.Verdict.CORRECT


def main(run: str) -> None:
    trained = uq.train("smoke", run=run, verifier=right_without_products)
    for report in trained.reports:
        print(
            f"phase {report.phase}, {report.kind}: NLL {report.nll_before:.4f} -> {report.nll_after:.4f} nats per token"
        )
    print(f"Avg@n before {trained.before.avg.mean:.3f}, after {trained.after.avg.mean:.3f}; all in {trained.path}")
    rollouts = trained.run.rollouts()
    print(f"{rollouts.num_rows} rollouts, columns {', '.join(rollouts.column_names[:6])}, …")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/sums-only")
