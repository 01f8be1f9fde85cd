"""From annotation and feature files to model input: reading, preparing, batching."""
