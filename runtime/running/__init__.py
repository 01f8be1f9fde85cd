"""The production line of a run: features read ahead of the device, results written behind it."""
