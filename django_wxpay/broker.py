"""A Celery broker in a folder: for one machine, the tutorial, the demo and tests. A real shop takes Redis or RabbitMQ.

    CELERY_BROKER_TRANSPORT = "django_wxpay.broker.Transport"
    CELERY_BROKER_TRANSPORT_OPTIONS = {"folder": str(BASE_DIR / "var" / "queue")}

It works like a maildir. A message is written aside and gets its name once it is whole; a reader takes it by renaming
it into a folder of its own and removes it when it is acknowledged. A rename happens or does not: nothing is half read,
no message has two takers, and nobody waits for a lock. What a reader had taken when it died goes back: its death shows
by a lock (`flock`) that the kernel lets go.

Whoever is killed when, a message that was sent is delivered; again, if its taker died before it acknowledged (Celery
does when the task begins, unless `acks_late`). Not promised: priorities, an order stricter than the clocks of the
senders, anything after a power cut (nothing is synced), network file systems, Windows.

kombu's own filesystem transport opens a message under its final name before it is written: a reader that comes between
loses it and ends (celery/kombu issue 1551). The tables of its exchanges have the same gap.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import time
from collections import defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any, TextIO
from urllib.parse import quote
from uuid import uuid4

from kombu.transport import virtual
from kombu.utils.json import dumps, loads

logger = logging.getLogger(__name__)

CHECK_DEAD_SECONDS = 5.0


class Channel(virtual.Channel):
    """What kombu asks of a broker, in files. A message's delivery tag is its path below `ready` and below its taker."""

    supports_fanout = True

    def __init__(self, connection: "Transport", **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._transport = connection  # stays when the channel is closed: Celery may acknowledge afterwards
        # A folder is listed once for all messages that are in it, so that a long queue costs no more than a short one.
        self._listed: defaultdict[str, deque[str]] = defaultdict(deque)

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        self._transport.write(self._ready(queue) / f"{time.time_ns():020}-{uuid4().hex}", dumps(message))

    def _put_fanout(self, exchange: str, message: dict[str, Any], routing_key: str, **kwargs: Any) -> None:
        for _, _, queue in self.get_table(exchange):
            self._put(queue, message)

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        listed = self._listed[queue]
        if not listed:
            self._transport.give_back_from_dead()
            listed.extend(_names(self._ready(queue)))
        while listed:
            tag = f"{_file_name(queue)}/{listed.popleft()}"
            taken = self._transport.take(tag)
            if taken is None:
                continue  # another reader was first
            try:
                message = loads(taken.read_text())
                message["properties"]["delivery_tag"] = tag
            except (ValueError, LookupError, TypeError):  # a power cut, or somebody's file
                self._transport.set_aside(taken)
                continue
            return message
        raise Empty

    def basic_consume(
        self, queue: str, no_ack: bool, callback: Callable[[Any], Any], consumer_tag: str, **kwargs: Any
    ) -> None:
        def settle_first(message: Any) -> Any:
            self._settle(message.delivery_tag)
            return callback(message)

        super().basic_consume(queue, no_ack, settle_first if no_ack else callback, consumer_tag, **kwargs)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> Any:
        message = super().basic_get(queue, no_ack, **kwargs)
        if message is not None and no_ack:
            self._settle(message.delivery_tag)
        return message

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        super().basic_ack(delivery_tag, multiple)
        self._settle(delivery_tag)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        super().basic_reject(delivery_tag, requeue)  # asks `_restore` when it is to come again
        if not requeue:
            self._settle(delivery_tag)

    def _settle(self, tag: str) -> None:
        (self._transport.mine / tag).unlink(missing_ok=True)

    def _restore(self, message: Any) -> None:
        self._transport.give_back(self._transport.mine / message.delivery_tag)

    def _size(self, queue: str) -> int:
        return len(_names(self._ready(queue)))

    def _purge(self, queue: str) -> int:
        return sum(_is_removed(self._ready(queue) / name) for name in _names(self._ready(queue)))

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return self._ready(queue).is_dir()

    def _new_queue(self, queue: str, **kwargs: Any) -> None:
        self._ready(queue).mkdir(parents=True, exist_ok=True)

    def _delete(self, queue: str, exchange: str, *binding: str, **kwargs: Any) -> None:
        self._binding(exchange, binding).unlink(missing_ok=True)
        shutil.rmtree(self._ready(queue), ignore_errors=True)

    # Which queues get what is sent to an exchange: a file for each binding, known to all processes.

    def _queue_bind(self, exchange: str, *binding: str) -> None:
        self._transport.write(self._binding(exchange, binding), dumps(binding))

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        folder = self._transport.folder / "bindings" / _file_name(exchange)
        texts = filter(None, (_text(folder / name) for name in _names(folder)))
        return [tuple(loads(text)) for text in texts]

    def _binding(self, exchange: str, binding: tuple[str, ...]) -> Path:
        name = hashlib.sha256(dumps(binding).encode()).hexdigest()
        return self._transport.folder / "bindings" / _file_name(exchange) / name

    def _ready(self, queue: str) -> Path:
        return self._transport.folder / "ready" / _file_name(queue)


class Transport(virtual.Transport):
    """One process' connection to the folder, and as a reader the owner of what it has taken."""

    Channel = Channel
    polling_interval = 0.1  # seconds
    default_connection_params: dict[str, Any] = {}
    driver_type = driver_name = "folder"
    can_parse_url = True  # there is none, and `as_uri` says so
    implements = virtual.Transport.implements.extend(exchange_type=frozenset({"direct", "topic", "fanout"}))

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        if not client.transport_options.get("folder"):
            raise ValueError("CELERY_BROKER_TRANSPORT_OPTIONS lacks the broker's folder.")
        self.folder = Path(client.transport_options["folder"])
        self.mine = self.folder / "taken" / uuid4().hex
        self._lock: TextIO | None = None
        self._checked_dead = 0.0

    def as_uri(self, uri: str | None, include_password: bool = False, mask: str = "**") -> str:
        """What Celery's banner and the doctor call it."""
        return f"folder {self.folder}"

    def driver_version(self) -> str:
        return "N/A"

    def write(self, path: Path, text: str) -> None:
        """Let a file appear under its name, whole or not at all."""
        aside = self.folder / "aside" / uuid4().hex
        for is_last in (False, True):
            try:
                aside.write_text(text)
                return os.rename(aside, path)
            except FileNotFoundError:  # the first of its folder, or somebody cleared all of them away
                if is_last:
                    raise
                aside.parent.mkdir(parents=True, exist_ok=True)
                path.parent.mkdir(parents=True, exist_ok=True)

    def take(self, tag: str) -> Path | None:
        """Make a message ours; None when it was somebody else's by then."""
        if self._lock is None:
            self._appear()
        taken = self.mine / tag
        taken.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(self.folder / "ready" / tag, taken)
        except FileNotFoundError:
            return None
        return taken

    def give_back(self, taken: Path) -> None:
        ready = self.folder / "ready" / taken.parent.name / taken.name
        ready.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(taken, ready)
        except FileNotFoundError:
            pass  # settled meanwhile

    def give_back_from_dead(self) -> None:
        """Put back what readers had taken that live no more; now and then, whoever has nothing else to do."""
        now = time.monotonic()
        if now < self._checked_dead:
            return
        self._checked_dead = now + CHECK_DEAD_SECONDS
        for name in _names(self.folder / "taken"):
            reader = self.folder / "taken" / name
            try:
                with (reader / "lock").open() as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._clear(reader)
            except (BlockingIOError, FileNotFoundError):
                continue  # it lives, or somebody else is at it

    def set_aside(self, taken: Path) -> None:
        kept = self.folder / "unreadable" / taken.name
        kept.parent.mkdir(exist_ok=True)
        os.rename(taken, kept)
        logger.error("message unreadable, kept as %s", kept)

    def close_connection(self, connection: Any) -> None:
        super().close_connection(connection)
        if self._lock is not None:
            self._clear(self.mine)
            self._lock.close()
            self._lock = None

    def _appear(self) -> None:
        """Make our folder, which has its lock from the first moment that others can see it."""
        made = self.folder / "aside" / self.mine.name
        made.mkdir(parents=True, exist_ok=True)
        self.mine.parent.mkdir(parents=True, exist_ok=True)
        self._lock = (made / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        os.rename(made, self.mine)

    def _clear(self, reader: Path) -> None:
        for taken in reader.glob("*/*"):
            self.give_back(taken)
        shutil.rmtree(reader, ignore_errors=True)


def _names(folder: Path) -> list[str]:
    """The files of a folder, oldest first; none where there is no folder."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _is_removed(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _file_name(name: str) -> str:
    return f"{quote(name, safe='@')}.d"  # never "", "." or ".."
