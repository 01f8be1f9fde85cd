"""What is kept of gates: integer counts of each video, and totals that merge exactly."""
