"""Rollouts of other programs in, demonstrations for other programs out."""
