"""The broker in a folder between real processes, while the CPU has other things to do."""

import pytest

from benchmarks.broker import run

pytestmark = pytest.mark.real


@pytest.mark.scenario("S65")
def test_no_message_is_lost_or_half_read_while_the_cpu_is_busy(tmp_path):
    result = run(tmp_path, messages=3000, busy=4)
    assert (result.lost, result.doubled, result.readers_down, result.errors) == (0, 0, 0, "")


@pytest.mark.scenario("S65")
def test_messages_that_killed_readers_had_taken_reach_others(tmp_path):
    result = run(tmp_path, messages=2000, busy=2, kills=4)
    assert (result.lost, result.readers_down, result.errors) == (0, 0, "")
