"""Does the file compute what the model computes, and is the model the one that was trained?"""
