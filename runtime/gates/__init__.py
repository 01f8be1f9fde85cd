"""What a gate is: its vocabulary, its shape, and the manifest that an exported model carries (contract 1)."""
