"""How gates relate: to each other, to a clip's place in its video, and to the strength of the audio."""
