"""Fig. 1 of arXiv 2604.16995, exactly: the same contrast on a balanced and on a peaky distribution."""

from unsqueeze.algos.squeezing import figure_1
from unsqueeze.labs.gather import Results
from unsqueeze.labs.views.cells import name_column
from unsqueeze.tables import Column, Table


def squeezing(found: Results) -> Table:
    """Who gains by a positive and three negative examples: the one that was rewarded, or the mode."""

    def percent(share: float) -> str:
        return f"{100 * share:.1f}"

    def nats(value: float) -> str:
        return f"{value:.3f}"

    rows = []
    for name, trace in figure_1().items():
        gain, (positive,) = trace.gain, trace.positives
        gains = float(gain[gain > 0].sum())
        rows.append(
            [
                name,
                float(trace.mode_probability[0]),
                float(trace.mode_probability[-1]),
                float(trace.entropy[0]),
                float(trace.entropy[-1]),
                max(float(gain[positive]), 0.0) / gains,
                trace.mode_share_of_gains,
            ]
        )
    return Table(
        columns=[
            name_column("distribution"),
            Column("mode before", show=percent),
            Column("mode after", show=percent),
            Column("entropy before", show=nats),
            Column("entropy after", show=nats),
            Column("gains to the positive", show=percent),
            Column("gains to the mode", show=percent),
        ],
        rows=rows,
        title="Squeezing, simulated",
        caption="Ten gradient steps of 0.1 on one positive at a flank and three negatives in the other tail, on 15 "
        "outcomes with a logit each (algos/squeezing.py; App. A as corrected in docs/paper.md). Probabilities and "
        "shares in %, entropy in nats. On the peaky distribution the gain goes to the mode, which nobody rewarded.",
    )
