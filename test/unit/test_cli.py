"""The command line: verbs exist, help is readable, mistakes are one clear line."""

import errno
import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest

from perception_node import __version__, cli
from perception_node.errors import DatasetError


def test_help_lists_the_verbs(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in cli.VERBS)
    assert "VERB" in text


def test_the_nodes_help_does_not_start_it(capsys):
    assert cli.main(["node", "--help"]) == 0
    assert "--ros-args" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["juggle"], ["bench", "juggle"]])
def test_an_unknown_verb_is_one_line(argv, capsys):
    assert cli.main(argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "juggle" in error
    assert "segment" in error


@pytest.mark.parametrize("argv", [[], ["bench"]])
def test_nothing_asked_for_shows_the_help(argv, capsys):
    assert cli.main(argv) == 2
    assert "verbs:" in capsys.readouterr().out


@pytest.mark.parametrize("verb", [v for v in (*cli.VERBS.values(), *cli.BENCHES.values()) if v.module], ids=lambda v: v.module)
def test_every_verb_has_its_module(verb):
    spec = importlib.util.find_spec(verb.module)
    assert spec is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    wanted = ["def main("] if verb.whole else ["def add_arguments(", "def run("]
    assert all(words in source for words in wanted)


def use(monkeypatch, run, add_arguments=lambda parser: None):
    module = types.ModuleType("stand_in_verb")
    module.add_arguments, module.run = add_arguments, run
    monkeypatch.setitem(sys.modules, "stand_in_verb", module)
    monkeypatch.setattr(cli, "VERBS", {"try": cli.Verb("stand_in_verb", "try it")})


def raising(error):
    def run(options):
        raise error
    return run


def test_exit_status_is_the_verbs(monkeypatch):
    use(monkeypatch, lambda options: 1)
    assert cli.main(["try"]) == 1


def test_bad_input_is_one_line_and_2(monkeypatch, capsys):
    use(monkeypatch, raising(DatasetError("expected this, got that")))
    assert cli.main(["try"]) == 2
    assert capsys.readouterr().err == "perception: expected this, got that\n"


def test_a_file_that_cannot_be_written_is_one_line(monkeypatch, capsys, tmp_path):
    use(monkeypatch, lambda options: (tmp_path / "missing" / "file").write_text("x"))
    assert cli.main(["try"]) == 2
    assert capsys.readouterr().err == f"perception: {tmp_path}/missing/file: No such file or directory\n"


def test_a_full_disk_is_one_line(monkeypatch, capsys):
    use(monkeypatch, raising(OSError(errno.ENOSPC, "No space left on device")))
    assert cli.main(["try"]) == 2
    assert capsys.readouterr().err == "perception: No space left on device\n"


@pytest.mark.parametrize("argv", [["try", "--unheard-of"], ["try", "--count", "x"]])
def test_a_wrong_argument_is_one_line(monkeypatch, capsys, argv):
    use(monkeypatch, lambda options: 0, lambda parser: parser.add_argument("--count", type=int))
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    error = capsys.readouterr().err
    assert (ended.value.code, error.count("\n")) == (2, 1)
    assert error.startswith("perception try: ")


def test_ctrl_c_is_quiet(monkeypatch, capsys):
    use(monkeypatch, raising(KeyboardInterrupt()))
    assert cli.main(["try"]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("missing", "remedy"), [
    ("torch", "requirements/train.txt"), ("rclpy", "env.sh"), ("sensor_msgs", "env.sh"), ("perception_node_msgs.msg", "make build"),
    ("cv2", "requirements/runtime.txt")])
def test_a_missing_library_comes_with_its_remedy(monkeypatch, capsys, missing, remedy):
    use(monkeypatch, raising(ModuleNotFoundError(f"No module named {missing!r}", name=missing)))
    assert cli.main(["try"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert remedy in error


def test_our_own_missing_module_is_a_bug_and_says_so(monkeypatch):
    use(monkeypatch, raising(ModuleNotFoundError("x", name="perception_node.nothing")))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["try"])


def test_the_command_line_itself_imports_nothing_heavy():
    words = "import sys, perception_node.cli; print([m for m in ('numpy', 'cv2', 'torch', 'rclpy', 'mujoco') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
