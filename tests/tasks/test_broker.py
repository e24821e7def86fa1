"""The broker in a folder: what kombu and Celery ask of one, and what happens between two steps of a process."""

import os
import subprocess
import sys
import threading
from queue import Empty

import kombu
import pytest
from celery import Celery

from django_wxpay import broker

QUEUE = kombu.Queue("tea", kombu.Exchange("tea"), "tea")


@pytest.fixture
def connect(tmp_path):
    opened = []

    def make(folder="queue"):
        transport_options = {"folder": str(tmp_path / folder), "polling_interval": 0.01}
        opened.append(kombu.Connection(transport="django_wxpay.broker.Transport", transport_options=transport_options))
        return opened[-1]

    yield make
    for connection in opened:
        connection.release()


def send(connection, *bodies):
    producer = connection.Producer()
    for body in bodies:
        producer.publish(body, exchange=QUEUE.exchange, routing_key="tea", declare=[QUEUE])


def take(connection, **options):
    return QUEUE.bind(connection.default_channel).get(**options)


def bodies(connection):
    return [message.payload for message in iter(lambda: take(connection, no_ack=True), None)]


def files(tmp_path):
    folders = (tmp_path / "queue" / kind for kind in ("aside", "ready", "taken"))
    return [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


def test_messages_come_once_in_the_order_they_were_sent(connect, tmp_path):
    send(connect(), *range(20))
    assert bodies(connect()) == list(range(20))
    assert files(tmp_path) == []


def test_what_is_sent_while_a_long_list_is_worked_off_comes_after_it(connect):
    writer, reader = connect(), connect()
    send(writer, 1, 2)
    assert take(reader, no_ack=True).payload == 1
    send(writer, 3)
    assert bodies(reader) == [2, 3]


def test_two_readers_of_one_list_take_each_message_once(connect):
    send(connect(), *range(10))
    first, second = connect(), connect()
    came = [take(reader, no_ack=True).payload for _ in range(5) for reader in (first, second)]
    assert sorted(came) == list(range(10))
    assert take(first) is take(second) is None


@pytest.mark.scenario("S65")
def test_message_that_is_not_yet_whole_is_not_there(connect, monkeypatch):
    reader, writer = connect(), connect()
    send(writer, "the exchange and the queue are made")
    bodies(reader)
    in_between, go_on = threading.Event(), threading.Event()
    rename = os.rename

    def slow(source, target):
        if threading.current_thread() is sending:
            in_between.set()
            assert go_on.wait(10)
        rename(source, target)

    sending = threading.Thread(target=send, args=(writer, "whole"))
    monkeypatch.setattr(broker.os, "rename", slow)
    sending.start()
    assert in_between.wait(10)
    assert take(reader) is None
    go_on.set()
    sending.join()
    assert bodies(reader) == ["whole"]


@pytest.mark.scenario("S65")
def test_message_under_its_final_name_too_early_would_be_lost_with_its_reader(tmp_path, monkeypatch):
    """The opposite: kombu's own transport, whose writer opens, locks and writes."""
    from kombu.transport import filesystem

    options = {"data_folder_in": str(tmp_path), "data_folder_out": str(tmp_path)}
    options["control_folder"] = str(tmp_path / "control")
    with kombu.Connection("filesystem://", transport_options=options) as connection:
        in_between, go_on = threading.Event(), threading.Event()
        lock = filesystem.lock

        def slow(file, flags):
            if threading.current_thread() is sending and str(file.name).endswith(".msg"):
                in_between.set()
                assert go_on.wait(10)
            lock(file, flags)

        sending = threading.Thread(target=send, args=(connection, "whole"))
        monkeypatch.setattr(filesystem, "lock", slow)
        sending.start()
        assert in_between.wait(10)
        with pytest.raises(ValueError, match="Expecting value"):
            take(connection)
        go_on.set()
        sending.join()
        assert take(connection) is None


def test_what_was_taken_and_not_acknowledged_goes_back_when_its_reader_leaves(connect, tmp_path):
    send(connect(), 1, 2, 3)
    reader = connect()
    take(reader)
    take(reader).ack()
    take(reader)
    reader.release()
    assert bodies(connect()) == [1, 3]
    assert files(tmp_path) == []


@pytest.mark.scenario("S65")
def test_what_a_killed_reader_had_taken_goes_back_and_a_living_readers_does_not(connect, tmp_path):
    send(connect(), 1, 2, 3)
    living = connect()
    take(living)
    script = (
        "import os, sys, kombu\n"
        "options = {'folder': sys.argv[1]}\n"
        "connection = kombu.Connection(transport='django_wxpay.broker.Transport', transport_options=options)\n"
        "kombu.Queue('tea', kombu.Exchange('tea'), 'tea').bind(connection.default_channel).get()\n"
        "os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "queue")])
    assert killed.returncode == -9
    assert bodies(connect()) == [2, 3]


def test_rejected_message_is_gone_and_a_requeued_one_comes_again(connect, tmp_path):
    send(connect(), 1, 2)
    reader = connect()
    take(reader).reject()
    take(reader).requeue()
    assert bodies(reader) == [2]
    assert files(tmp_path) == []


def test_acknowledgement_after_the_channel_was_closed_hurts_nobody(connect):
    send(connect(), 1)
    reader = connect()
    message = take(reader)
    reader.release()
    message.ack()
    assert bodies(connect()) == [1]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"body": "e30="}', "\x00"])
def test_file_that_is_no_message_is_kept_aside_and_stops_nobody(connect, tmp_path, caplog, text):
    connection = connect()
    send(connection, 1)
    (tmp_path / "queue" / "ready" / "tea.d" / "00000").write_text(text)
    assert bodies(connection) == [1]
    assert (tmp_path / "queue" / "unreadable" / "00000").read_text() == text
    assert "unreadable" in caplog.text


def test_folder_that_was_cleared_away_meanwhile_is_made_again(connect, tmp_path):
    writer, reader = connect(), connect()
    send(writer, 1)
    assert bodies(reader) == [1]
    (tmp_path / "queue").rename(tmp_path / "elsewhere")
    producer = writer.Producer()
    producer.publish(2, exchange="", routing_key="tea")
    assert bodies(reader) == [2]


def test_queue_is_purged_and_deleted_and_named_as_one_likes(connect, tmp_path):
    connection = connect()
    queue = kombu.Queue("../a b", kombu.Exchange("../x"), "k")(connection.default_channel)
    producer = connection.Producer()
    for number in range(3):
        producer.publish(number, exchange=queue.exchange, routing_key="k", declare=[queue])
    assert queue.queue_declare(passive=True).message_count == 3
    assert queue.purge() == 3
    with pytest.raises(Empty):
        connection.default_channel._get("../a b")
    queue.delete()
    with pytest.raises(kombu.exceptions.ChannelError):
        queue.queue_declare(passive=True)
    assert {path.name for path in tmp_path.iterdir()} == {"queue"}


def test_binding_that_one_process_made_is_known_to_all_and_gone_when_the_queue_is(connect):
    news = kombu.Exchange("news", type="fanout")
    first, second, writer = connect(), connect(), connect()
    queues = [kombu.Queue(name, news)(one.default_channel) for name, one in (("morning", first), ("evening", second))]
    for queue in queues:
        queue.declare()
    writer.Producer().publish("rain", exchange=news, declare=[news])
    assert [queue.get(no_ack=True).payload for queue in queues] == ["rain", "rain"]
    queues[0].delete()
    writer.Producer().publish("sun", exchange=news)
    assert queues[1].get(no_ack=True).payload == "sun"
    assert not first.default_channel._has_queue("morning")


def test_broker_without_a_folder_says_which_setting_is_missing():
    with pytest.raises(ValueError, match="CELERY_BROKER_TRANSPORT_OPTIONS"):
        kombu.Connection(transport="django_wxpay.broker.Transport").connect()


def test_celery_finds_it_by_its_setting_and_asks_its_workers(tmp_path):
    app = Celery("tea", set_as_current=False)
    app.conf.broker_transport = "django_wxpay.broker.Transport"
    app.conf.broker_transport_options = {"folder": str(tmp_path)}
    assert app.connection().as_uri() == f"folder {tmp_path}"
    assert app.control.ping(timeout=0.2) == []
    app.send_task("pour")
    assert app.control.purge() == 1
