"""One run on many processes: who takes part, what each does of the work, and how they agree."""
