"""The user's code in a process apart: unpacked, mounted under the names it imports, for a limited time."""
