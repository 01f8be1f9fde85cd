"""``gatescope monitor``: its subcommands, one a file."""
