"""Estimators of advantages, one file each: a module defines the function of its own name (``algos.groups``)."""
