"""Many runs as one experiment: settings, their repeats by seed, and what can be told apart."""
