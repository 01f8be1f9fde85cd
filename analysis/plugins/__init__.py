"""Statistics and figures of users' own: how they are registered, loaded, computed and reported."""
