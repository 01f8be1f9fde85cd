"""What an analysis writes down: the JSON of its statistics and the report in Markdown."""
