"""Hosts, origins, tokens and allowances of the console; and what lies under a click."""

import numpy as np
import pytest

from perception_node.ros.console import main
from perception_node.ros.console_guard import Bucket, Guard, is_loopback, known_form, new_session


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(("host", "local"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("127.9.9.9", True),
                                             ("0.0.0.0", False), ("192.0.2.7", False), ("cell-1", False)])
def test_only_this_machine_is_loopback(host, local):
    assert is_loopback(host) is local


@pytest.mark.parametrize(("host", "allowed"), [("127.0.0.1:8765", True), ("localhost:8765", True), ("[::1]:8765", True),
                                               ("evil.example:8765", False), ("127.0.0.1:80", False), ("127.0.0.1", False),
                                               ("", False),
                                               ("127.0.0.1:x", False),
                                               ("localhost.evil.example:8765", False)])
def test_a_loopback_console_answers_to_its_own_names(host, allowed):
    assert Guard("127.0.0.1", 8765).host_allowed({"Host": host}) is allowed


def test_an_open_console_answers_to_addresses_and_given_names():
    guard = Guard("0.0.0.0", 8765, names=("cell-1.local",))
    assert guard.host_allowed({"Host": "192.0.2.7:8765"})
    assert guard.host_allowed({"Host": "cell-1.local:8765"})
    assert not guard.host_allowed({"Host": "evil.example:8765"})
    assert not guard.host_allowed({"Host": "192.0.2.7:80"})


@pytest.mark.parametrize(("origin", "allowed"), [("http://127.0.0.1:8765", True), ("http://localhost:8765", False),
                                                 ("null", False), ("", False), ("http://evil.example", False), ("file://", False)])
def test_only_the_own_page_may_connect(origin, allowed):
    assert Guard("127.0.0.1", 8765).origin_allowed({"Host": "127.0.0.1:8765", "Origin": origin}) is allowed


def test_guessing_tokens_is_limited_for_each_address():
    clock = Clock()
    guard = Guard("0.0.0.0", 1, token="0123456789abcdef", clock=clock)
    assert guard.token_right("0123456789abcdef", "a")
    for guess in ("", None, 7, "0123456789abcdeg", "x" * 10_000):
        assert not guard.token_right(guess, "a")
    assert not guard.token_right("0123456789abcdef", "a")
    assert guard.token_right("0123456789abcdef", "b")
    clock.now += 61
    assert guard.token_right("0123456789abcdef", "a")


def test_made_tokens_and_sessions_are_long_and_never_the_same():
    assert Guard("127.0.0.1", 1).token != Guard("127.0.0.1", 1).token
    assert len(Guard("127.0.0.1", 1).token) >= 32
    assert known_form(new_session())
    assert not any(known_form(bad) for bad in (None, 7, "", "x" * 32, "0" * 31, "0" * 32 + "\n", ["0" * 32]))


def test_a_bucket_fills_again():
    clock = Clock()
    bucket = Bucket(2.0, 3, clock)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.now += 0.5
    assert [bucket.take(), bucket.take()] == [True, False]


def test_a_click_finds_the_package_below_it():
    pytest.importorskip("cv2")
    from perception_node.ros.console_view import Moment
    labels = np.zeros((10, 20), np.uint16)
    labels[2:5, 10:15] = 3
    shown = Moment(b"", labels, {3: 17}, 0)
    assert shown.at(0.6, 0.3) == 17
    assert shown.at(0.1, 0.1) == 0
    assert shown.at(1.0, 1.0) == 0


@pytest.mark.parametrize("name", ["a b", "", "1st", "x//y", "x/", "per-ception", "~"])
def test_what_is_no_nodes_name_is_one_line(name, capsys):
    pytest.importorskip("aiohttp")
    assert main(["--node", name]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"expected a node's name (letters, digits and underscores), got {name!r}" in error


def test_arguments_that_ros_does_not_accept_are_one_line(capfd):
    pytest.importorskip("rclpy")
    assert main(["--port", "0", "--ros-args", "-r", "nonsense"]) == 2
    error = [line for line in capfd.readouterr().err.splitlines() if "[rcl]" not in line]  # rcl says it, too
    assert len(error) == 1
    assert error[0].startswith("console: --ros-args: ")
