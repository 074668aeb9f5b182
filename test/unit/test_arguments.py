"""The command line's own types of arguments: what is wrong is found before anything is done, in one line."""

import os

import pytest

from perception_node import arguments


def refused(capsys, kind, text):
    parser = arguments.Parser(prog="try")
    parser.add_argument("--it", type=kind)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([f"--it={text}"])
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.count("\n") == 1
    assert error.startswith("try: argument --it: expected ")
    return error


@pytest.mark.parametrize(("kind", "text", "value"), [
    (arguments.zero_to_one, "0", 0.0), (arguments.zero_to_one, "1", 1.0), (arguments.above_zero, "1e-3", 0.001),
    (arguments.not_negative, "0", 0.0), (arguments.one_or_more, "1", 1), (arguments.zero_or_more, "0", 0),
    (arguments.zero_or_more, "12", 12)])
def test_good_numbers(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(("kind", "texts"), [
    (arguments.zero_to_one, ("-0.1", "1.1", "nan", "inf", "x", "")), (arguments.above_zero, ("0", "-1", "nan", "inf", "x")),
    (arguments.not_negative, ("-1", "nan", "inf", "")), (arguments.one_or_more, ("0", "-3", "1.5", "x", "")),
    (arguments.zero_or_more, ("-1", "2.0", "x"))])
def test_bad_numbers_are_one_line(kind, texts, capsys):
    for text in texts:
        assert f"got {text!r}" in refused(capsys, kind, text)


def test_words_say_something(capsys):
    assert arguments.some_words("line 2") == "line 2"
    for text in ("", "  "):
        assert "expected words, got '" in refused(capsys, arguments.some_words, text)


def test_a_name_leads_nowhere_else(capsys):
    assert arguments.file_name("autumn-2.1") == "autumn-2.1"
    for text in ("", "../x", "a/b", ".hidden", "a b", "/x"):
        assert f"got {text!r}" in refused(capsys, arguments.file_name, text)


def test_what_is_missing_or_unknown_is_one_line_too(capsys):
    parser = arguments.Parser(prog="try")
    parser.add_argument("--out", required=True)
    parser.add_argument("--a-long-name-that-fills-the-usage", nargs="+", metavar="SOMETHING")
    for argv in ([], ["--out", "x", "--unheard-of", "3"]):
        with pytest.raises(SystemExit) as ended:
            parser.parse_args(argv)
        error = capsys.readouterr().err
        assert (ended.value.code, error.count("\n")) == (2, 1)
        assert "`try --help` says more" in error


def test_a_file_to_write(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    for good in (tmp_path / "new", tmp_path / "file", tmp_path / "new folder" / "below" / "new"):
        assert arguments.file_to_write(str(good)) == good
    assert not (tmp_path / "new folder").exists()  # nothing is made yet
    assert "got the folder" in refused(capsys, arguments.file_to_write, tmp_path)
    assert f"below the file {tmp_path}/file" in refused(capsys, arguments.file_to_write, tmp_path / "file" / "new")
    assert "got no name" in refused(capsys, arguments.file_to_write, "")


def test_a_folder_to_write(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    for good in (tmp_path, tmp_path / "new", tmp_path / "new" / "below"):
        assert arguments.folder_to_write(str(good)) == good
    assert not (tmp_path / "new").exists()
    assert f"got the file {tmp_path}/file" in refused(capsys, arguments.folder_to_write, tmp_path / "file")
    assert f"below the file {tmp_path}/file" in refused(capsys, arguments.folder_to_write, tmp_path / "file" / "new")
    assert "got no name" in refused(capsys, arguments.folder_to_write, "")


def test_where_nothing_may_be_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    for kind in (arguments.file_to_write, arguments.folder_to_write):
        assert f"in {tmp_path}, where you may not write" in refused(capsys, kind, tmp_path / "new" if kind is
                                                                    arguments.folder_to_write else tmp_path / "file")


def test_a_name_that_is_too_long_is_left_to_whoever_opens_it(tmp_path):
    for kind in (arguments.file_to_write, arguments.folder_to_write):
        assert kind(str(tmp_path / ("x" * 300) / "y")).name == "y"
