"""SPS inside the training loops of others."""
