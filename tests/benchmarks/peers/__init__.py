"""Ways to get gates and predictions out of a model, gatescope's among them; one a file."""
