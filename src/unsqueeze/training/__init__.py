"""The loop: policy, batches, the RL phase, the IRL phase, and what each phase really moved."""
