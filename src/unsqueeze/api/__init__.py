"""The Python interface: every name that ``import unsqueeze`` gives, in rooms by what it does (docs/api.md)."""
