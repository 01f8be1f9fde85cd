"""Open an exported model, check what it is given, run it on a device, override its gates."""
