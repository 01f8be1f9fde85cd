"""How fast gatescope is, measured beside what its users could do instead."""
