"""What faults of the audio pipeline do to the gates of one model, and which of them a window looks like."""
