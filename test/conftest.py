"""For all tests."""

import contextlib
import signal

with contextlib.suppress(ImportError):  # not every test needs it
    from hypothesis import settings

    settings.register_profile("unhurried", deadline=None)  # an example's time says more of the machine than of the code
    settings.load_profile("unhurried")

# A shell starts what it puts into the background with SIGINT ignored, and children inherit that: what is interrupted would not end.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter):
    """Why tests were run once more (test/ros/conftest.py)."""
    for report in terminalreporter.getreports("rerun"):
        terminalreporter.section(f"run once more: {report.nodeid}", sep="-")
        terminalreporter.write_line(report.longreprtext[-4000:])
