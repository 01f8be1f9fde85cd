"""The bounded queue between a request and the thread that counts: full, it drops and says so."""

from __future__ import annotations

import threading
from collections import deque

from ..counting.requests import TakenRequest


class Intake:
    """First in, first out; at most ``most`` requests of ``most_bytes`` in all, what comes beyond is dropped.
    A request by itself may be larger.

    Any thread may call anything.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self.most = most
        self.most_bytes = most_bytes
        #: Videos that found no room.
        self.dropped = 0
        #: Requests that were offered, and the seconds that took on their own threads.
        self.requests, self.seconds = 0, 0.0
        self._held: deque[TakenRequest] = deque()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def put(self, taken: TakenRequest, seconds: float = 0.0) -> None:
        """Add a request, or drop it; ``seconds``: how long it took on its own thread."""
        size = taken.bytes
        with self._lock:
            self.requests += 1
            self.seconds += seconds
            if self._held and (len(self._held) >= self.most or self._bytes + size > self.most_bytes):
                self.dropped += taken.videos
                return
            self._bytes += size
            self._held.append(taken)

    def take(self, most: int) -> list[TakenRequest]:
        """The oldest ``most`` requests, or fewer; they are the caller's from now on."""
        with self._lock:
            taken = [self._held.popleft() for _ in range(min(most, len(self._held)))]
            self._bytes -= sum(one.bytes for one in taken)
        return taken
