"""Is the file equal to the model, and the model to the one that was trained?"""
