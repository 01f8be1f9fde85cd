"""Whether the videos of a window are as those of the baseline were, and when that is worth an alarm."""
