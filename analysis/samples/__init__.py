"""Samples one by one: which, their statistics, pictures and raw gates; and a few of them side by side."""
