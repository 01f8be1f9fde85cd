"""The monitor over what is already stored: a run or a gate log judged once, a gate log replayed."""
