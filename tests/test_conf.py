"""`settings.WXPAY` as the app reads it: clients of a process, paths and keys, times, sub-merchants."""

import os
import select
import signal
import threading

import pytest

from django_wxpay import conf


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_process_forked_while_another_thread_makes_a_client_can_make_its_own(wxpay_sandbox):
    """The thread that holds the lock is not in the child: nobody there would ever let go of it."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with conf._lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, repr(conf.client("default")).encode())
        os._exit(0)
    done.set()
    thread.join()
    os.close(write)
    answered, _, _ = select.select([read], [], [], 5)
    if not answered:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(read) as answer:
        assert "<Client" in answer.read()
