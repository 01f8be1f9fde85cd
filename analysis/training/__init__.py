"""The chapter that sets a run next to what training evaluated."""
