"""The reference: gates of many videos of one model, and thresholds that carry their own error."""
