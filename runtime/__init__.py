"""Run an exported model with every gate tracked, prepare its features, write and read runs."""
