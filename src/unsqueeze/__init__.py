"""Unsqueeze: RL on verifiable rewards without squeezing out exploration (SPS, arXiv 2604.16995)."""

__version__ = "0.1.0"
