"""Speed, memory and the cost of tracking of an exported model, measured on this machine."""
