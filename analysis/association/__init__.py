"""Gates joined with what became of each query: which fail, and what their gates did."""
