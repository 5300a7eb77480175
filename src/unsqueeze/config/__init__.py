"""Recipes: frozen models in which an unknown key is an error. Loads no torch."""
