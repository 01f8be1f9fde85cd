"""The report's own chapters: answers, the numbers of every gate, how to read them, where they come from."""
