"""Files that earlier versions wrote, and whether they are still read."""
