"""What a fault of the audio pipeline does to the gates of one model, and which of them a window looks like."""
