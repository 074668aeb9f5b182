"""The console's threads give way to the node's; those of the middleware do not."""

import os
import subprocess
import sys
import threading

import pytest

from perception_node.ros import console_priority

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")


def test_a_thread_gives_way_and_others_stay_as_they_are():
    found = {}

    def quiet():
        console_priority.give_way()
        mine = threading.get_native_id()
        found["quiet"] = os.getpriority(os.PRIO_PROCESS, mine), os.sched_getscheduler(mine)

    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), os.sched_getscheduler(0)
    thread = threading.Thread(target=quiet)
    thread.start()
    thread.join()
    assert found["quiet"] == (max(console_priority.NICENESS, before[0]), os.SCHED_BATCH)
    assert (os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), os.sched_getscheduler(0)) == before


def test_only_a_session_of_its_own_is_changed(tmp_path):
    code = ("import sys; from pathlib import Path; from perception_node.ros.console_priority import give_way_as_session; "
            "print(give_way_as_session(Path(sys.argv[1])))")
    for own in (False, True):
        group = tmp_path / f"autogroup_{own}"
        group.touch()
        done = subprocess.run([sys.executable, "-c", code, str(group)], capture_output=True, text=True, check=True, timeout=60,
                              start_new_session=own)
        assert done.stdout.strip() == str(own)
        assert group.read_text() == (str(console_priority.NICENESS) if own else "")


def test_freed_memory_is_kept_for_the_next_picture():
    code = ("import resource, sys\nimport numpy as np\nfrom perception_node.ros.console_priority import keep_memory\n"
            "kept = keep_memory() if sys.argv[1] == 'keep' else False\n"
            "def draw():\n    a, b = np.ones(1_000_000, np.uint8), np.ones(900_000, np.uint8)\n"
            "draw()\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
            "for _ in range(50):\n    draw()\n"
            "print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)")
    faults = {}
    for how in ("keep", "leave"):
        done = subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True, timeout=60)
        kept, faults[how] = (int(word) for word in done.stdout.split())
        if how == "keep" and not kept:
            pytest.skip("this C library has no mallopt")
    assert faults["keep"] < 1000
    assert faults["keep"] <= faults["leave"]
