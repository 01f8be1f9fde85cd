"""The QVHighlights benchmark's metrics, in aggregate and per query."""
