"""Whether a broker loses messages while the CPU is busy, and what it brings per second.

    python benchmarks/broker.py [--messages 100000] [--writers 2] [--readers 2] [--busy 4] [--kill] [--transport …]

Writers, readers and busy loops are processes of their own. A reader writes a message down before it acknowledges it.
`--kill` sends SIGKILL to a reader ten times meanwhile and starts another. `--transport filesystem` is kombu's own.
Ends with 1 when a message is missing, came twice though no reader was killed, or a reader ended by itself.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "django_wxpay.broker.Transport"
STALLED_SECONDS = 60  # nothing came for so long: what is missing is lost


@dataclass
class Result:
    messages: int
    lost: int
    doubled: int
    readers_down: int
    errors: str
    seconds: float


def run(folder: Path, *, messages: int, writers=2, readers=2, busy=4, kills=0, transport=FOLDER, pause=0.0) -> Result:
    """Send that many messages and wait until all have come or nothing comes any more. pause: seconds between two."""
    folder.mkdir(parents=True, exist_ok=True)
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    running: list[subprocess.Popen] = []
    try:
        started = time.monotonic()
        reading = [_start("read", folder, transport, number, 0, 0) for number in range(readers)]
        share = [messages // writers + (number < messages % writers) for number in range(writers)]
        writing = [_start("write", folder, transport, number, share[number], pause) for number in range(writers)]
        running = [*reading, *writing]
        down, progress, changed, killed, names = 0, 0, started, 0, readers
        while True:
            time.sleep(0.2)
            came = sum(path.stat().st_size for path in folder.glob("read-*.txt"))
            if came != progress:
                progress, changed = came, time.monotonic()
            for process in [one for one in reading if one.poll() is not None]:
                reading.remove(process)
                down += 1
            is_killing = killed < kills and came > (killed + 1) * messages * 8 / (kills + 1)
            if is_killing and reading:
                reading[0].kill()
                reading.pop(0).wait()
                killed += 1
            if is_killing or not reading:
                reading.append(_start("read", folder, transport, names, 0, 0))
                running.append(reading[-1])
                names += 1
            is_sent = all(process.poll() is not None for process in writing)
            if is_sent and (len(_numbers(folder)) == messages or time.monotonic() > changed + STALLED_SECONDS):
                break
        assert [process.returncode for process in writing] == [0] * writers, _errors(folder)
        seconds = time.monotonic() - started
        time.sleep(0.5)  # what comes twice comes now
        counted = _numbers(folder)
        doubled = sum(times - 1 for times in counted.values())
        return Result(messages, messages - len(counted), doubled, down, _errors(folder), seconds)
    finally:
        for process in [*running, *burning]:
            process.kill()
            process.wait()


def _start(role, folder, transport, number, messages, pause):
    task = json.dumps([role, str(folder), transport, number, messages, pause])
    with (folder / f"{role}-{number}.err").open("w") as errors:
        return subprocess.Popen([sys.executable, __file__, "--part", task], cwd=ROOT, stderr=errors)


def _numbers(folder):
    texts = [path.read_text() for path in folder.glob("read-*.txt")]
    return Counter(line for text in texts for line in text.split("\n")[:-1])  # a killed reader's last may be cut


def _errors(folder):
    return "".join(path.read_text()[-500:] for path in sorted(folder.glob("*.err")))


def _connection(folder, transport):
    import kombu

    queue = folder / "queue"
    options = {"folder": str(queue)}
    if transport == "filesystem":
        queue.mkdir(exist_ok=True)
        control = str(folder / "control")
        options = {"data_folder_in": str(queue), "data_folder_out": str(queue), "control_folder": control}
    return kombu.Connection(transport=transport, transport_options={**options, "polling_interval": 0.1})


def part(role, folder, transport, number, messages, pause):
    import kombu

    sys.path.insert(0, str(ROOT))
    queue = kombu.Queue("traffic", kombu.Exchange("traffic"), "traffic")
    with _connection(Path(folder), transport) as connection:
        if role == "write":
            producer = connection.Producer()
            for one in range(messages):
                body = {"number": f"{number}{one:06}", "text": "x" * 500}
                producer.publish(body, exchange=queue.exchange, routing_key="traffic", declare=[queue], retry=True)
                time.sleep(pause)
            return
        with (Path(folder) / f"read-{number}.txt").open("a", buffering=1) as came:

            def note(body, message):
                came.write(body["number"] + "\n")
                message.ack()

            with connection.Consumer([queue], callbacks=[note], prefetch_count=16):
                while True:
                    connection.drain_events()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--writers", type=int, default=2)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--busy", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--transport", default=FOLDER)
    parser.add_argument("--part", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        return part(*options.part)
    kills = 10 if options.kill else 0
    asked = {name: getattr(options, name) for name in ("messages", "writers", "readers", "busy", "pause", "transport")}
    with tempfile.TemporaryDirectory(prefix="wxpay-broker-") as folder:
        result = run(Path(folder), kills=kills, **asked)
    print(
        f"{result.messages} messages in {result.seconds:.0f} s, {result.messages / result.seconds:.0f}/s: "
        f"{result.lost} lost, {result.doubled} doubled, {result.readers_down} readers down"
    )
    if result.errors:
        print(result.errors[-1000:], file=sys.stderr)
    return int(bool(result.lost or result.readers_down or (result.doubled and not kills)))


if __name__ == "__main__":
    sys.exit(main())
