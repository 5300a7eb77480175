"""Estimates of what a recipe will need, made before anything is loaded: memory, time, disk. The cost model of
docs/planning.md.

Pure functions of plain numbers. Sizes are in bytes, times in seconds, computation in floating-point operations.
"""
