"""The run directory: everything a run leaves on disk, written atomically, never overwritten."""
