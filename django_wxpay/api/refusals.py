"""A log of refused requests that cannot be flooded: one line a while per merchant, and how many it stands for."""

import logging
import threading
import time

logger = logging.getLogger(__name__)
QUIET_SECONDS = 10


class RefusalLog:
    """Writes the first refusal at once, then at most one line every QUIET_SECONDS, with the number left out.

    Memory stays constant: it holds a number for each merchant of the settings, and one for all other names.
    """

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = {}  # merchant -> (when a line was written, refusals since then)

    def note(self, merchant, status, reason):
        """Log that a message was refused, unless a line about this merchant has just been written."""
        now = self._clock()
        with self._lock:
            written_at, unwritten = self._seen.get(merchant, (None, 0))
            if written_at is not None and now - written_at < QUIET_SECONDS:
                self._seen[merchant] = (written_at, unwritten + 1)
                return
            self._seen[merchant] = (now, 0)
        logger.warning(
            "notification refused merchant=%s status=%s reason=%s left_out=%s",
            merchant or "-",
            status,
            reason,
            unwritten,
        )
