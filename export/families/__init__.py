"""Plain modules that compute what the reference computes, written anew; the fusion returns its gates."""
