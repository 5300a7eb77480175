"""The maths of the method: pure functions over tensors and plain values.

Nothing here opens a file, starts a process, reads a clock or knows an engine. Axes: P prompts, G rollouts a prompt,
N = P·G rollouts, T tokens, V vocabulary. Log-probs are in nats. Equation numbers are those of arXiv 2604.16995.
"""
