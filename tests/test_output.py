"""What reaches a terminal: nothing that data could do to it, no table wider than it, and each line once."""

import fcntl
import json
import logging
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import NO_CHECK, Stage, Workspace
from hypothesis import given
from hypothesis import strategies as st

from aam_onboard import output

Prepare = Callable[[Stage], Workspace]

# the clipboard, a title, a C1 control, a turned direction, an invisible space, a line end, a name that is no UTF-8
HOSTILE = "\x1b]52;c;aGk=\x07\x1b[2J\x85\x9b31m\u202e\u2066\u200b\u2028\n\r\x08\x7f\udcff[red]Żółć 中文 é"
READABLE = "[red]Żółć 中文 é"


def assert_harmless(text: str) -> None:
    assert all(letter.isprintable() or letter == "\n" for letter in text), repr(text)


@given(st.text(st.characters()))
def test_what_is_shown_is_printable_and_letters_stay(text: str) -> None:
    shown = output.shown(text)
    assert shown.isprintable()
    if "\\" not in text:
        left = re.sub(r"\\(x..|u....|U.{8}|[nrt])", "", shown)
        assert left == "".join(letter for letter in text if letter.isprintable())
    written = output._json_text({text: [text]}, indent=2)
    assert_harmless(written)
    assert json.loads(written) == {text: [text]}


@pytest.mark.parametrize("log_format", list(output.LogFormat))
def test_every_door_to_the_terminal(
    log_format: output.LogFormat, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_log_format", output.LogFormat.text)
    output.start_logging(log_format)
    output.complain(HOSTILE)
    output.say(HOSTILE)
    output.pass_on(f"\x1b[32m{HOSTILE}\x1b[0m\x1b[8m hidden\n")
    logging.getLogger("aam").warning("%s", HOSTILE, extra={"fields": {"feed": HOSTILE}})
    output.table(HOSTILE, ("feed", "file"), [(HOSTILE, [HOSTILE, HOSTILE])])
    output.print_json({HOSTILE: HOSTILE})
    out, err = capsys.readouterr()
    for text, times in ((out, 1 + 1 + 3 + 2), (err, 1 + 1 + 2)):
        assert_harmless(text)
        assert text.count(READABLE) == times
    monkeypatch.setattr(logging.getLogger("aam"), "handlers", [])


def test_rejected_rows_and_reasons_are_escaped(workspace: Prepare) -> None:
    project = workspace("built")
    project.sql(
        "update inbound.rejected_rows set user_id = chr(27) || ']52;c;aGk=' || chr(7) || chr(155) || chr(8238) || 'é'"
        " where feed = 'crm_traits'"
    )
    text = project.ok("plan", "--rejected", "crm_traits").out
    assert_harmless(text)
    assert r"\x1b]52;c;aGk=\x07\x9b\u202eé" in text
    written = project.ok("plan", "--rejected", "crm_traits", "--json").out
    assert_harmless(written)
    assert json.loads(written)["rejected"][0]["user_id"] == "\x1b]52;c;aGk=\x07\x9b\u202eé"


def test_files_of_anyone_and_their_names_are_escaped(
    duckdb_workspace: Prepare, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = duckdb_workspace("seeded")
    folder = tmp_path_factory.mktemp("theirs")
    sound = folder / "ftp_dpm_58342_1700000000.sync"
    sound.write_bytes(
        f'u1\t"gender"="{HOSTILE[:-20]}"\n'.encode("utf-8", "surrogateescape") + b"u2\x1b[2J\tx\n"
    )
    odd = folder / "ftp_dpm_58342\x1b[2J\u202e[red]_1700000000.sync"
    odd.write_bytes(b"u1\td_sid=1\n")
    done = project.aam("check", str(sound), str(odd))
    assert done.code == 1
    assert_harmless(done.out + done.err)
    assert r"ftp_dpm_58342\x1b[2J\u202e[red]_1700000000.sync" in done.out
    written = project.aam("check", str(sound), str(odd), "--json").out
    assert_harmless(written)
    assert json.loads(written)["files"][1]["file"] == odd.name
    missing = project.refused(2, "check", str(folder / "no\x1b[2J"))
    assert_harmless(missing)
    assert r"no\x1b[2J: no such file" in missing
    latin = project.aam("check", str(sound), str(odd), extra={"PYTHONIOENCODING": "latin-1"})
    assert latin.code == 1


# --- On a terminal ----------------------------------------------------------------------------------------------------


def on_terminal(project: Workspace, width: int, *arguments: str) -> str:
    """What a command writes to a terminal of this width, stdout and stderr together."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    process = project.start(
        *arguments,
        stdout=slave,
        stderr=slave,
        stdin=subprocess.DEVNULL,
        extra={"TERM": "xterm"},
        anew=width == 80,
    )
    os.close(slave)
    written = b""
    while True:
        try:
            data = os.read(master, 1 << 16)
        except OSError:  # the other end is closed
            break
        written += data
    os.close(master)
    assert process.wait() == 0
    return written.decode()


def lines_of(text: str) -> list[str]:
    """Lines as a person sees them, without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r\n", "\n").split("\n")


@pytest.mark.parametrize("width", [80, 100, 160])
def test_tables_fit_and_break_no_name(duckdb_workspace: Prepare, width: int) -> None:
    project = duckdb_workspace("delivered")
    files = [path for path in project.out() if path.suffix == ".gz"]
    feeds = ("hashed_email_sync", "mobile_id_sync", "crm_profile", "android_traits")
    shown: dict[str, Any] = {
        "plan": (feeds, ("plan",)),
        "rejected": ((), ("plan", "--rejected", "crm_profile")),
        "status": ([path.name for path in files], ("status",)),
        "check": ([path.name for path in files], ("check", *map(str, files))),
    }
    for names, arguments in shown.values():
        lines = lines_of(on_terminal(project, width, *arguments))
        assert max(map(len, lines)) <= width
        for name in names:
            assert any(name in line for line in lines), (name, lines)
        assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_log_and_bar_share_the_terminal(duckdb_workspace: Prepare, width: int) -> None:
    project = duckdb_workspace("built")
    text = on_terminal(project, width, "deliver", *NO_CHECK, "-s", "ios_traits", "-s", "crm_traits")
    assert "━" in text and "290 lines" in text  # the bar
    # what a log line begins on is a line without a bar
    for begin in re.finditer(r"\d{4}-\d\d-\d\dT[0-9:]+Z ", text):
        before = text[: begin.start()]
        assert before == "" or before.endswith(("\n", "\x1b[2K", "\x1b[?25l")), repr(before[-80:])
    for feed in ("ios_traits", "crm_traits"):
        assert len(re.findall(rf"Z\s+exporting\s+delivery={feed}", text)) == 1
        assert len(re.findall(rf"Z\s+delivered\s+delivery={feed}", text)) == 1
    table = text[text.index("Delivered to local") :]
    for path in project.out():
        assert path.name in table
        assert str(path.parent) not in table
    assert max(map(len, lines_of(table))) <= width
    [delivered, *_] = json.loads(project.ok("status", "--json", "--limit", "1").out)["deliveries"]
    assert Path(delivered["files"][0]["uri"].removeprefix("file://")).is_file()
