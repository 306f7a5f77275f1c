"""What comes from outside may hold orders to a terminal, and is not obeyed."""

from __future__ import annotations

import ast
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text

from dlcs_assets import cli
from dlcs_assets.cli.output import VisibleConsole, counting, echo, echo_data, make_console, print_lines, print_table

HIDDEN = "a\x1b[2Jb\u202egpj\u200bc\x9b1md"
SEEN = r"a\x1b[2Jb\u202egpj\u200bc\x9b1md"
PRINTING = {"typer.echo", "print", "Console", "sys.stdout.write", "sys.stderr.write", "typer.secho", "click.echo"}


def test_only_one_module_of_the_command_line_writes() -> None:
    found: dict[str, set[str]] = {}
    for path in Path(cli.__file__).parent.glob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        found[path.name] = {ast.unparse(node.func) for node in nodes} & PRINTING
    assert found.pop("output.py")
    assert {name: calls for name, calls in found.items() if calls} == {}


def test_everything_for_people_is_visible(capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console()
    console.print(HIDDEN)
    print_table(console, ("one", "two"), [(HIDDEN, Text(HIDDEN))])
    print_lines(console, [("name", HIDDEN)])
    with counting(console, "counted", 1) as show:
        show(1, HIDDEN)
    echo(HIDDEN)
    echo(HIDDEN, err=True)
    out, err = capsys.readouterr()
    assert (out.count(SEEN), err) == (6, f"{SEEN}\n")
    assert all(character.isprintable() or character == "\n" for character in out)


def test_tables_on_a_terminal_are_visible() -> None:
    console = VisibleConsole(force_terminal=True, width=200, color_system=None, markup=False)
    with console.capture() as captured:
        print_table(console, ("one", "two"), [(HIDDEN, HIDDEN)])
        print_lines(console, [("name", HIDDEN)])
        console.print(HIDDEN)
    assert captured.get().count(SEEN) == 4
    assert "\u202e" not in captured.get()


def test_data_for_programs_is_escaped_on_terminals_only(capfd: pytest.CaptureFixture[str]) -> None:
    """A pipe gets the ids as they are: another command is to find them again."""
    echo_data("b\u202egpj\u200bc")
    assert capfd.readouterr().out == "b\u202egpj\u200bc\n"
    here, there = pty.openpty()
    code = f"from dlcs_assets.cli.output import echo_data; echo_data({HIDDEN!r})"
    subprocess.run([sys.executable, "-c", code], stdout=there, check=True)
    os.close(there)
    shown = os.read(here, 4096).decode()
    os.close(here)
    assert shown.strip() == SEEN


def test_an_error_that_quotes_what_was_given_is_visible() -> None:
    command: list[str | Path] = [Path(sys.executable).with_name("dlcs"), "plan", f"2/1/{HIDDEN}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert SEEN in done.stderr
    assert all(character.isprintable() or character == "\n" for character in done.stdout + done.stderr)
