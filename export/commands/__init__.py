"""The commands of this room, one a file; each imports its work only when it runs."""
