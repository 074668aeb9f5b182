"""Entry point of the node: `ros2 run perception_node perception_node`. Exit status 0, 2 with one line when it cannot start, 1 when
it had to be ended by force."""

from __future__ import annotations

import sys
from typing import Any

from perception_node.ros.runner import run_node


def main(args: list[str] | None = None) -> int:
    """Run the node `perception` until SIGINT or SIGTERM."""
    def make() -> Any:
        import cv2

        from perception_node.ros.node import PerceptionNode
        cv2.setNumThreads(1)  # its second thread waits for work by spinning: 1.1 ms of processor time a frame, and no frame faster
        return PerceptionNode()

    return run_node("perception", make, args)


if __name__ == "__main__":
    sys.exit(main())
