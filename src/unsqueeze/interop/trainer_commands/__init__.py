"""A recipe's RL settings as the command line of another trainer, every constant from the recipe."""
