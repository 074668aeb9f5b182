"""Entry point of the node: `ros2 run perception_node perception_node`. Exit status 0, or 2 with one line when it cannot start."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

SPIN_S = 0.1
"""How long the executor waits at most before a signal is noticed, s."""


def main(args: list[str] | None = None) -> int:
    """Run the node `perception`."""
    def make() -> Any:
        from perception_node.ros.node import PerceptionNode
        return PerceptionNode()

    return run_node("perception", make, args)


def run_node(name: str, make: Callable[[], Any], args: list[str] | None) -> int:
    """Make a lifecycle node and run it until SIGINT or SIGTERM: then stop the worker, the node, ROS; nothing is cut off half-way.

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

    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.lifecycle import TransitionCallbackReturn
    from rclpy.signals import SignalHandlerOptions

    from perception_node.errors import PerceptionError

    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # arguments or a parameter file that rcl does not accept, in types of its own
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    node = None
    try:
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.config.node.autostart and not stop.is_set():
            started = node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            if not started or (not stop.is_set() and node.trigger_activate() != TransitionCallbackReturn.SUCCESS):
                return 2  # the node has said why
        while not stop.is_set():
            executor.spin_once(timeout_sec=SPIN_S)
        executor.shutdown()
    except PerceptionError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    finally:
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
