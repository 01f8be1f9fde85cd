"""The demo: a dataset with planted cues, a model that was built to find them, and a report on both."""
