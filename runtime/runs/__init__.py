"""The run folder of contract 2: writing it part by part, resuming it, reading it."""
