"""Runs a node as a process and ends that process in time, whatever hangs."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

SPIN_S = 0.1
"""How long the executor waits at most before a signal is noticed, s."""

END_S, KILL_S = 8.0, 9.5
"""From a signal or a refusal to start until what hangs is said and the process is ended, and until the kernel ends it, s.
Source: `ros2 launch` sends SIGKILL 10 s after its SIGINT (launch.actions.ExecuteLocal, sigterm_timeout and sigkill_timeout)."""


class Deadline:
    """Ends the process when it does not end by itself. Make it in the main thread, before anything that may hang.

    A signal starts it at once, even while the main thread is inside a library: the interpreter writes into a pipe that a thread
    reads. After `END_S` that thread says what hangs and ends the process. Where it cannot run either (a library keeps the
    interpreter's lock, the interpreter is gone and a library's destructor hangs), the kernel ends the process by SIGALRM after
    `KILL_S`; while the interpreter is there, the threads' stacks are printed first.
    """

    def __init__(self, name: str) -> None:
        self._name, self._status = name, 1
        self._heard, self._tell = os.pipe()
        os.set_blocking(self._tell, False)
        signal.set_wakeup_fd(self._tell, warn_on_full_buffer=False)
        faulthandler.register(signal.SIGALRM, chain=True)
        threading.Thread(target=self._run, name="deadline", daemon=True).start()

    def begin(self, status: int) -> None:
        """From now on the process must end; `status` is its exit status if it is ended by force."""
        self._status = status
        self._arm()
        os.write(self._tell, b"\0")

    def _arm(self) -> None:
        if signal.getitimer(signal.ITIMER_REAL)[0] == 0.0:
            signal.setitimer(signal.ITIMER_REAL, KILL_S)

    def _run(self) -> None:
        os.read(self._heard, 1)
        self._arm()
        time.sleep(END_S)
        line = f"{self._name}: did not end within {END_S:g} s, ended by force with status {self._status}: {_where()}\n"
        os.write(2, line.encode())
        os._exit(self._status)


def _where() -> str:
    """What each other thread is doing: its innermost call in this package, and where that has led."""
    frames, found = sys._current_frames(), []
    for thread in threading.enumerate():
        inner = frames.get(thread.ident or 0)
        if thread is threading.current_thread() or inner is None:
            continue
        own: FrameType | None = inner
        while own is not None and Path(__file__).parents[1] not in Path(own.f_code.co_filename).parents:
            own = own.f_back
        places = [inner] if own is None or own is inner else [own, inner]
        found.append(f"{thread.name} in " + " -> ".join(
            f"{Path(place.f_code.co_filename).name}:{place.f_lineno} {place.f_code.co_name}" for place in places))
    return "; ".join(found)


def run_node(name: str, make: Callable[[], Any], args: list[str] | None) -> int:
    """Make a lifecycle node and run it until SIGINT or SIGTERM: then stop the worker, the node, ROS; nothing is cut off half-way
    unless it hangs (`Deadline`). The process must end after this.

    Args:
        name: for messages. make: gives a node with `config.node.autostart` and `close()`. args: of the command line.

    Returns:
        The exit status: 0, or 2 when it cannot start.
    """
    stop = threading.Event()

    def on_signal(number: int, stack: Any) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):  # before the slow imports, so that these can be interrupted cleanly, too
        signal.signal(number, on_signal)
    deadline = Deadline(name)

    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.lifecycle import TransitionCallbackReturn
    from rclpy.signals import SignalHandlerOptions
    from rclpy.utilities import remove_ros_args

    from perception_node.errors import ConfigError, PerceptionError, one_line
    from perception_node.parameters import blamed
    from perception_node.ros.params import origin

    given = sys.argv if args is None else args
    try:
        unread = remove_ros_args(given)
        unread = unread[unread[:1] == sys.argv[:1]:]  # the program's name comes first, or not
        if unread:  # rcl would pass over them, and the node would run with other parameters than meant
            raise ConfigError(f"expected --ros-args before all arguments, got {' '.join(unread)}")
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # arguments or a parameter file that rcl does not accept, in types of its own
        print(f"{name}: {one_line(error)}", file=sys.stderr)
        deadline.begin(2)
        return 2
    node, forced = None, 2
    try:
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.config.node.autostart and not stop.is_set():
            started = node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            if not started or (not stop.is_set() and node.trigger_activate() != TransitionCallbackReturn.SUCCESS):
                return 2  # the node has said why
        forced = 1
        while not stop.is_set():
            executor.spin_once(timeout_sec=SPIN_S)
        executor.shutdown()
    except PerceptionError as error:
        words = blamed(error, origin(given)) if isinstance(error, ConfigError) else error
        print(f"{name}: {words}", file=sys.stderr)
        return 2
    finally:
        deadline.begin(forced)
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 0
