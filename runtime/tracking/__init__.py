"""Gates tracked while a model runs: under sample ids, within bounded memory, with or without torch."""
