"""`perception console`: the operator's page beside a perception node, a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import Sequence

from perception_node.arguments import Parser
from perception_node.errors import PerceptionError, one_line
from perception_node.ros.console_guard import TOKEN_CHARACTERS, Guard, is_loopback

TOKEN_VARIABLE = "PERCEPTION_CONSOLE_TOKEN"
RATE_HZ = 12.0
"""Source: 10 Hz are promised (docs/advise.md); each picture costs this machine work."""

_NODE_NAME = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
"""Source: REP-144, and design.ros2.org, "Topic and Service name mapping": names and namespaces."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = Parser(
        prog="perception console", description="The operator's page: live picture, ranking, questions, choices, outcomes.",
        epilog=f"From other machines: --host ADDRESS; operators then need a token, which is taken from the environment variable "
               f"{TOKEN_VARIABLE} or made and printed. ROS arguments (-r, -p) may follow --ros-args.")
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)")
    made.add_argument("--port", type=int, default=8765, help="port to listen on, 0 = any free one (default: 8765)")
    made.add_argument("--name", action="append", default=[], metavar="NAME", help="a host name that the page is called by, too")
    made.add_argument("--node", default="perception", help="name of the perception node (default: perception)")
    made.add_argument("--compressed", action="store_true", help="read image/compressed in place of image")
    made.add_argument("--rate", type=float, default=RATE_HZ, metavar="HZ",
                      help=f"pictures shown a second at most (default: {RATE_HZ:g})")
    return made


def main(args: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; exit status 0, or 2 with one line when it cannot start."""
    arguments = list(sys.argv[1:] if args is None else args)
    ros = arguments.index("--ros-args") if "--ros-args" in arguments else len(arguments)
    options = parser().parse_args(arguments[:ros])
    try:
        check(options)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(options, os.environ.get(TOKEN_VARIABLE, ""), arguments[ros:]))
    except PerceptionError as error:
        print(f"console: {error}", file=sys.stderr)
        return 2
    return 0


def check(options: argparse.Namespace) -> None:
    """Refuse arguments that cannot be served.

    Raises:
        PerceptionError: with words.
    """
    token = os.environ.get(TOKEN_VARIABLE, "")
    if not _NODE_NAME.fullmatch(options.node):
        raise PerceptionError(f"--node: expected a node's name (letters, digits and underscores), got {options.node!r}")
    if not 0.5 <= options.rate <= 60.0:
        raise PerceptionError(f"--rate: expected 0.5 to 60 Hz, got {options.rate:g}")
    if token and len(token) < TOKEN_CHARACTERS:
        raise PerceptionError(f"{TOKEN_VARIABLE}: expected at least {TOKEN_CHARACTERS} characters, got {len(token)}")


async def serve(options: argparse.Namespace, token: str, ros_arguments: Sequence[str]) -> None:
    """Join ROS and the web server; returns when a signal comes.

    Raises:
        PerceptionError: the address cannot be listened on, or ROS does not accept its arguments.
    """
    import rclpy
    from aiohttp import web
    from rclpy.signals import SignalHandlerOptions

    from perception_node.ros.console_link import ConsoleLink
    from perception_node.ros.console_priority import give_way, give_way_as_session, keep_memory
    from perception_node.ros.console_web import Console

    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    with contextlib.closing(_listener(options.host, options.port)) as listener:
        port = listener.getsockname()[1]
        guard = Guard(options.host, port, token, tuple(options.name))
        try:
            rclpy.init(args=list(ros_arguments), signal_handler_options=SignalHandlerOptions.NO)
        except Exception as error:  # arguments that rcl does not accept, in types of its own
            raise PerceptionError(f"--ros-args: {one_line(error)}") from None
        node = rclpy.create_node("console", start_parameter_services=False)
        link = ConsoleLink(node, options.node, options.compressed, options.rate)
        for quiet in (give_way, give_way_as_session, keep_memory):  # after the middleware has made its threads
            quiet()
        console = Console(link, guard)
        runner = web.AppRunner(console.application, access_log=None, handle_signals=False, shutdown_timeout=2.0)
        try:
            await runner.setup()
            await web.SockSite(runner, listener).start()
            link.start(console.show)
            name = "localhost" if is_loopback(options.host) else options.name[0] if options.name else options.host
            print(f"console: http://{name}:{port}/" + ("" if guard.loopback else f"#token={guard.token}"), flush=True)
            await ended.wait()
        finally:
            await runner.cleanup()
            link.stop()
            link.node.destroy_node()
            rclpy.try_shutdown()


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(64)
    except (OSError, OverflowError) as error:
        listener.close()
        raise PerceptionError(f"--host {host} --port {port}: expected an address to listen on: {error}") from None
    listener.setblocking(False)
    return listener


if __name__ == "__main__":
    sys.exit(main())
