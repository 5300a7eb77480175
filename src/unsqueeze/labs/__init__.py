"""Suites: a declared grid of arms, seeds and learning rates, run side by side and gathered into one table."""
