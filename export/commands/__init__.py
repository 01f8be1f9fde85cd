"""The commands of this room, one per file; each imports its work only when it runs."""
