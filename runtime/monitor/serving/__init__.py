"""Watching from inside a service: the session it calls, the queue behind it, the thread that counts."""
