"""Lines on a terminal fold between words; what goes to a file or a pipe is one line."""

import sys

from orchestrator.cli.console import show_folded

LINE = "ok storage: /a/folder/whose-path-is-longer-than-a-line is read and written by 1 machine"


def test_a_line_folds_between_words_and_a_path_stays_whole(capfdbinary, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show_folded(f"{LINE}\n  and {LINE}", indent="    ")
    lines = capfdbinary.readouterr().out.decode().splitlines()
    assert "/a/folder/whose-path-is-longer-than-a-line" in "\n".join(lines)
    assert all(len(line) <= 40 for line in lines if "/" not in line)
    assert len(lines) > 4
    assert all(line.startswith(("ok", "    ", "  and ok")) for line in lines)
    assert " ".join(" ".join(lines).split()) == f"{LINE} and {LINE}"


def test_elsewhere_it_is_one_line(capfdbinary, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    show_folded(LINE)
    assert capfdbinary.readouterr().out.decode() == f"{LINE}\n"
