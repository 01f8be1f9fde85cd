"""What of the documentation is generated: pictures, command reference, schemas, tables of measurements."""
