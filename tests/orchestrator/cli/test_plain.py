"""Hostile text: nothing that a terminal obeys is printed, nothing that a shell would run is shown unquoted."""

import html
import json
import re
import shlex
import shutil
import subprocess
import sys
import unicodedata
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markupsafe import Markup
from rich.console import Console
from rich.text import Text

from orchestrator.cli import main
from orchestrator.cli.console import err, out
from orchestrator.cli.frontier_tables import frontier_report
from orchestrator.cli.progress import RunProgress
from orchestrator.cli.tables import result_table
from orchestrator.cli.terminal import PlainConsole
from orchestrator.export.model_card import _TEMPLATES
from orchestrator.frontier import frontiers
from orchestrator.ledger import open_sweep
from orchestrator.ledger.tables.parquet import encode
from orchestrator.monitor.trackers import SCALARS, TrackedTrial
from orchestrator.monitor.trackers.tensorboard import TensorBoardTracker
from orchestrator.query import FORMATS, as_json
from orchestrator.report.data import look_up
from orchestrator.report.figures.parts import layered, rule
from orchestrator.safe_text import clean, command, file_name, one_line, quoted_sql, sql_text
from tests.orchestrator.helpers import make_spec, write_sweep

HOSTILE = {
    "title": "\x1b]0;owned\x07",
    "clipboard": "\x1b]52;c;ZXZpbA==\x1b\\",
    "colour": "\x1b[31mred",
    "C1": "\x9b31m\x85\x90q\x9c",
    "the other way": "\u202egpj.exe\u2066\u2069\u061c",
    "no width": "a\u200bb\ufeffc\u00add",
    "a line over another": "good\rbad",
    "back": "good\b\b\b\bbad\x7f",
    "separators": "a\u2028b\u2029c\x0bd\x0ce",
    "tags": "\U000e0041\U000e0042",
    "half a character": "\udc80\ud800",
    "null": "a\0b",
}
SHELL = "x';\"`touch pwned`$(touch pwned);touch pwned #!!"
ALL = "".join(HOSTILE.values()) + "[bold][link=http:x]:smile:" + SHELL
STORED = ALL.replace("\udc80\ud800", "").replace("\0", "")
"""What UTF-8 and names of files can hold."""


def obeyed(text, but="\n"):
    """Return the characters that a terminal would obey."""
    return {c for c in text if c not in but and unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_a_terminal_obeys_is_written_out(text):
    assert obeyed(text)
    assert not obeyed(clean(text))
    assert not obeyed(one_line(text))
    assert clean(clean(text)) == clean(text)
    assert one_line("\x1b\u202e\n") == "\\x1b\\u202e\\n"


@pytest.mark.parametrize(
    "text", ["plain", "ü ß 漢字 עברית ไทย 🙂 e\u0301", "a  b\u00a0c\u3000d", "[red]", "two\nlines\tx"]
)
def test_what_is_only_shown_stays(text):
    assert clean(text) == text


def test_ends_of_lines_stay_in_a_message_and_not_in_a_cell():
    assert clean("a\nb\tc") == "a\nb\tc"
    assert one_line("a\nb\tc") == "a\\nb\\tc"


@pytest.mark.parametrize("text", [*HOSTILE.values(), SHELL, ALL, "", "--help", "a b", "~", "$HOME", "*", "{a,b}"])
def test_a_command_is_one_word_a_word(tmp_path, text):
    words = ["query", text, sql_text(text)]
    assert shlex.split(command(*words)) == ["unlearn-sweep", *words]
    assert shlex.split(quoted_sql(sql_text(text))) == [sql_text(text)]
    if not set(text) & {"\0", "\udc80"}:
        shown = f"printf '%s' {quoted_sql(text)}"
        done = subprocess.run(["bash", "-c", shown], cwd=tmp_path, capture_output=True, check=True)
        assert done.stdout.decode() == text
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [*HOSTILE.values(), SHELL, "..", ".", "../../x", "/etc", "a/b", "", "*", ".hidden"])
def test_a_name_of_a_file_leads_nowhere(tmp_path, text):
    assert (tmp_path / file_name(text)).parent == tmp_path
    assert re.fullmatch(r"[\w .+=@-]+", file_name(text), re.ASCII)
    assert file_name(text) not in {".", ".."}
    assert file_name("adamw 0.0001 12ad78a2") == "adamw 0.0001 12ad78a2"


@pytest.fixture(scope="module")
def hostile_sweep(tmp_path_factory):
    """A sweep in a folder of a hostile name, whose rows hold hostile texts, one trial's id among them."""
    storage = tmp_path_factory.mktemp("storage") / f"it's {HOSTILE['title']}$(touch pwned)[bold]"
    spec = make_spec(name="tiny", description=STORED)
    ledger = write_sweep(storage, spec)
    folder = storage / "tiny"
    shutil.rmtree(folder / "merged", ignore_errors=True)
    victim = ledger.trials()[0]["trial_id"]
    for name in ("trials", "evaluations", "examples"):
        for path in (folder / name).glob("*.parquet"):
            rows = pq.ParquetFile(path).read()
            texts = {"objective": STORED, "optimizer": STORED, "message": STORED}
            if path.stem == victim:
                texts["trial_id"] = STORED.replace("\\", "|")
            for column, text in texts.items():
                if column in rows.schema.names:
                    index = rows.schema.get_field_index(column)
                    rows = rows.set_column(index, rows.schema.field(index), pa.array([text] * rows.num_rows))
            path.with_stem(texts.get("trial_id", path.stem)).write_bytes(encode(rows))
        (folder / name / f"{victim}.parquet").unlink()
    (folder / "evaluations" / f"{HOSTILE['title']}.parquet").write_bytes(b"no Parquet")
    return folder


@pytest.fixture
def call(monkeypatch, capfdbinary, hostile_sweep, tmp_path):
    """Call the command; return exit code and what it printed."""

    def run(*arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["unlearn-sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = b"".join(capfdbinary.readouterr()).decode()
        assert "Traceback" not in printed
        assert "pwned" not in {path.name for path in tmp_path.iterdir()}
        return caught.value.code or 0, printed

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ["query", "SWEEP", "from trials"],
        ["query", "SWEEP", "select message, objective, optimizer, trial_id from trials"],
        ["query", "SWEEP", "from trials", "--format", "markdown"],
        ["query", "SWEEP", "from trials", "--format", "json"],
        ["query", "SWEEP", 'select 1 as "a\x1b[31m\nb"'],
        ["query", "SWEEP", "select error('\x1b[31m\u202e')"],
        ["query", "SWEEP", "select \x1b[31m from trials"],
        ["frontier", "SWEEP"],
        ["frontier", "SWEEP", "--json"],
        ["frontier", "SWEEP", "--forget-set", "\x1b[31mverses"],
        ["status", "SWEEP"],
        ["status", "SWEEP", "--json"],
        ["status", "--storage", "STORAGE"],
        ["status", "--storage", "STORAGE", "--json"],
        ["status", "\x1b]0;owned\x07"],
        ["merge", "SWEEP"],
        ["report", "SWEEP"],
        ["export", "SWEEP", "--to", "model"],
        ["export", "SWEEP", "--to", "model", "--trial", "\x1b[31m", "--step", "1"],
        ["track", "SWEEP", "--tensorboard", "runs\x1b[31m"],
        ["plan", "\x1b[31m.yaml"],
        ["plan", "--set", "search.\x1b[31m=3"],
        ["plan", "--set", "name=\u202ex"],
        ["cluster", "check", "\x1b[31m.yaml"],
    ],
    ids=lambda arguments: " ".join(arguments).encode("unicode_escape").decode(),
)
def test_no_command_prints_what_a_terminal_obeys(call, hostile_sweep, tmp_path, arguments):
    places = {"SWEEP": str(tmp_path / "tiny"), "STORAGE": str(tmp_path)}
    shutil.copytree(hostile_sweep, tmp_path / "tiny")
    _, printed = call(*(places.get(word, word) for word in arguments))
    assert printed
    assert not obeyed(printed)


def test_the_place_of_a_sweep_is_quoted_in_what_is_pasted(call, hostile_sweep):
    code, printed = call("export", hostile_sweep, "--to", "model")
    assert code == 2
    shown = printed.partition("(unlearn-sweep frontier ")[2].partition(" lists the best)")[0]
    assert shlex.split(shown) == [clean(str(hostile_sweep))]


def test_a_table_stays_in_line(hostile_sweep):
    console = Console(width=300, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    texts = [*HOSTILE.values(), "[bold]x", ":smile:", "a\nb"]
    console.print(result_table(pa.table({"text": [t.replace("\udc80\ud800", "") for t in texts]}), width=300))
    lines = [line for line in console.export_text().splitlines() if line.startswith("│")]
    assert len(lines) == len(texts)
    assert len({len(line) for line in lines}) == 1
    assert any("[bold]x" in line for line in lines)
    assert any(":smile:" in line for line in lines)
    assert any("a\\nb" in line for line in lines)


def test_a_frontier_is_clean_on_any_console(hostile_sweep):
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(frontier_report(frontiers(open_sweep(str(hostile_sweep)))))
    assert not obeyed(console.export_text())


def test_progress_is_clean(capfd):
    progress = RunProgress(out(), err())
    with progress.live():
        progress.doing(ALL)
        progress.preparing([ALL])
        progress.model_ready(ALL)
        progress.shared(ALL)
        progress.sweeping(total=2, ended=0, concurrent=1)
        progress.trial_ended(status=ALL)
        progress.trial_retried(trial_id=ALL, message=f"x\n{ALL}")
    printed = capfd.readouterr()
    for text in printed:
        assert not obeyed(text)
        assert "[bold]" in text


def test_the_console_cleans_whatever_it_shows(capfd):
    PlainConsole(width=200).print("\x1b[31m[red]:smile:\u202e\x07\r", Text("\x1b[31m"))
    assert capfd.readouterr().out.rstrip() == "\\x1b[31m[red]:smile:\\u202e\\x07\\r \\x1b[31m"


def test_formats_for_programs_stay_exact():
    value = ALL.replace("\udc80\ud800", "")
    table = pa.table({"text": [value]})
    assert json.loads(FORMATS["json"](table)) == [{"text": value}]
    assert not obeyed(FORMATS["json"](table).decode())
    assert json.loads(as_json({ALL: ALL})) == {ALL: ALL}
    assert pq.read_table(pa.BufferReader(FORMATS["parquet"](table))).to_pylist() == [{"text": value}]
    assert value.replace('"', '""').encode() in FORMATS["csv"](table)
    assert not obeyed(FORMATS["markdown"](table).decode())


def test_a_report_quotes_and_escapes_what_it_shows(hostile_sweep, tmp_path):
    (tmp_path / "x").mkdir()
    storage = tmp_path / "x" / hostile_sweep.parent.name
    shutil.copytree(hostile_sweep.parent, storage)
    from orchestrator.report.data import read_report_data  # noqa: PLC0415
    from orchestrator.report.page import render  # noqa: PLC0415

    ledger = open_sweep(str(storage / "tiny"))
    page = render(ledger, read_report_data(ledger), [], "", redact=False)
    assert "<script>alert" not in page
    commands = [html.unescape(found) for found in re.findall(r'<code class="command">(.*?)</code>', page)]
    assert commands
    for shown in commands:
        words = shlex.split(shown)
        assert words[:3] == ["unlearn-sweep", "query", one_line(ledger.storage.uri)]
        assert len(words) == 4


@pytest.mark.parametrize("trial_id", [SHELL, "x' or 1=1 --", "\x1b[31m", 'a"b'])
def test_a_look_up_is_sql_inside_a_shell(trial_id):
    sql = f"from evaluations where trial_id = {sql_text(trial_id)} and step = 3"
    assert shlex.split(look_up("a b", trial_id, 3)) == ["unlearn-sweep", "query", "a b", one_line(sql)]


def test_a_figure_gives_a_command_for_what_is_an_id():
    chart = layered(rule(1.0), rows=[{"trial_id": SHELL, "step": 3}], title="t", height=10, uri="$(x)").to_dict()
    (calculated,) = [step["calculate"] for step in chart["transform"]]
    assert calculated.startswith("isValid(datum.trial_id) && test(/^[0-9A-Za-z]+$/, datum.trial_id)")
    assert "'$(x)'" in calculated


def test_a_model_card_holds_a_hostile_name_in_its_cell():
    text = _TEMPLATES.from_string("| `{{ name }}` | {{ whole }} |").render(name=f"a|b`c\n{ALL}", whole=Markup("a|b"))
    assert text.startswith("| `a\\|b'c\\n")
    assert text.endswith("` | a|b |")
    assert not obeyed(text, but="")
    assert text.count("`") == 2


def test_tensorboard_stays_in_its_folder(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    row = {**dict.fromkeys(SCALARS), "step": 1, "performance": 3.0, "elapsed_s": 1.0}
    trial = TrackedTrial(
        trial_id="../mine",
        sweep="tiny",
        forget_set="../mine",
        seed=0,
        replicate=0,
        stratum="s",
        config={"optimizer": "../../mine", "learning_rate": 1e-3},
        status=None,
        message=None,
        started_at=datetime.now(UTC),
        evaluations=[row],
        fresh=[row],
    )
    TensorBoardTracker(str(tmp_path / "runs" / "a"), "tiny").write(trial)
    assert (tmp_path / "mine" / "file").read_text() == "x"
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "runs"}
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]
