"""The ``gatescope`` command: finds subcommands by entry point and turns failures into messages."""
