"""Ways in which a sweep's folder may be damaged, or was made to do harm. Each is a function of the folder."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Damage = Callable[[Path], None]

TABLES: dict[str, Damage] = {}
"""Of one file of a table, or all of it: a reader leaves it out."""
OTHERS: dict[str, Damage] = {}
"""Of other files."""
SPECS: dict[str, bytes] = {
    "empty": b"",
    "no text": b"\xff\xfe\x00name",
    "a list": b"- name\n",
    "null": b"null\n",
    "no name": b"model: {}\n",
    "a name that is a list": b"name: [a, b]\n",
    "of a later version": b"name: first\nschedule_of_next_year: true\n",
    "a thousand deep": b"name: first\nsteps: " + b"[" * 1000 + b"]" * 1000 + b"\n",
    "a thousand deep in blocks": b"name: first\n" + b"".join(b" " * n + b"a:\n" for n in range(1000)),
    "a billion laughs": b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 10)),
    "an alias of itself": b"name: first\nsteps: &a [*a]\n",
    "a number of five thousand digits": b"name: first\nseeds: [" + b"9" * 5000 + b"]\n",
    "a date that is none": b"name: first\nsteps: [2020-99-99]\n",
    "a Python object": b"name: !!python/object/apply:os.system [true]\n",
}


def of_table(name: str) -> Callable[[Damage], Damage]:
    def keep(damage: Damage) -> Damage:
        TABLES[name] = damage
        return damage

    return keep


def victim(folder: Path, table: str) -> Path:
    return sorted((folder / table).glob("*.parquet"))[0]


def replaced(table: str, content: bytes) -> Damage:
    return lambda folder: _write(victim(folder, table), content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def changed(table: str, column: str, value: object) -> Damage:
    """Put another value, or values of another type, into the first row of a file."""

    def damage(folder: Path) -> None:
        path = victim(folder, table) if table != "references" else folder / "references" / "baselines.parquet"
        rows = pq.read_table(path)
        at = rows.schema.get_field_index(column)
        values = [value, *rows[column].to_pylist()[1:]]
        kind = rows.schema.field(column).type if value is None or not isinstance(value, list) else None
        array = pa.array(values, kind) if kind is not None else pa.array([value] * len(rows))
        field = pa.field(column, array.type, metadata=rows.schema.field(column).metadata)
        pq.write_table(rows.set_column(at, field, array).replace_schema_metadata(rows.schema.metadata), path)

    return damage


def reshaped(table: str, change: Callable[[pa.Table], pa.Table]) -> Damage:
    def damage(folder: Path) -> None:
        path = victim(folder, table) if table != "references" else folder / "references" / "baselines.parquet"
        rows = pq.read_table(path)
        pq.write_table(change(rows).replace_schema_metadata(rows.schema.metadata), path)

    return damage


for _table in ("trials", "evaluations", "examples"):
    TABLES[f"{_table}: an empty file"] = replaced(_table, b"")
    TABLES[f"{_table}: text"] = replaced(_table, "²".encode() * 100)
    TABLES[f"{_table}: a truncated file"] = lambda folder, table=_table: _write(
        victim(folder, table), victim(folder, table).read_bytes()[:-30]
    )
    TABLES[f"{_table}: Parquet of something else"] = lambda folder, table=_table: pq.write_table(
        pa.table({"a": [1]}), victim(folder, table)
    )
    TABLES[f"{_table}: a column of another type"] = changed(_table, "learning_rate", ["text"])
    TABLES[f"{_table}: a column too few"] = reshaped(_table, lambda rows: rows.drop_columns(["seed"]))
    TABLES[f"{_table}: a column too many"] = reshaped(
        _table, lambda rows: rows.append_column("more", pa.nulls(len(rows)))
    )
    TABLES[f"{_table}: every row twice"] = reshaped(_table, lambda rows: pa.concat_tables([rows, rows]))
    TABLES[f"{_table}: another trial's rows"] = lambda folder, table=_table: shutil.copy(
        sorted((folder / table).glob("*.parquet"))[1], victim(folder, table)
    )
    TABLES[f"{_table}: a learning rate that is not a number"] = changed(_table, "learning_rate", float("nan"))
    TABLES[f"{_table}: a learning rate without end"] = changed(_table, "learning_rate", float("inf"))
    TABLES[f"{_table}: no forget set"] = changed(_table, "forget_set", None)

    @of_table(f"{_table}: a folder in place of a file")
    def _folder_for_file(folder: Path, table: str = _table) -> None:
        path = victim(folder, table)
        path.unlink()
        path.mkdir()

    @of_table(f"{_table}: a file that is a link")
    def _linked_file(folder: Path, table: str = _table) -> None:
        path = victim(folder, table)
        outside = folder.parent / "outside"
        outside.mkdir()
        path.rename(outside / path.name)
        path.symlink_to(outside / path.name)

    @of_table(f"{_table}: a pipe")
    def _pipe(folder: Path, table: str = _table) -> None:
        path = victim(folder, table)
        path.unlink()
        os.mkfifo(path)

    @of_table(f"{_table}: a file in place of the folder")
    def _file_for_folder(folder: Path, table: str = _table) -> None:
        shutil.rmtree(folder / table)
        (folder / table).write_text("x")

    @of_table(f"{_table}: the folder is a link")
    def _linked_folder(folder: Path, table: str = _table) -> None:
        shutil.move(folder / table, folder.parent / "outside")
        (folder / table).symlink_to(folder.parent / "outside")


for _table in ("evaluations", "examples"):
    TABLES[f"{_table}: a step below 0"] = changed(_table, "step", -3)
    TABLES[f"{_table}: no step"] = changed(_table, "step", None)
for _value in (
    None, "", "null", "[]", "{}", "[{}]", "[null]", '[{"number": "a"}]', "[" * 100_000,
    '[{"number": -1, "point": {}, "step_index": 0, "notes": {}}]',
):  # fmt: skip
    TABLES[f"trials: proposals {str(_value)[:30]}"] = changed("trials", "proposals", _value)
for _value in (None, "", "null", "[]", "1", "{}"):
    TABLES[f"trials: config {_value}"] = changed("trials", "config", _value)
TABLES |= {
    "trials: an unknown status": changed("trials", "status", "splendid"),
    "trials: no last step": changed("trials", "last_step", None),
    "trials: no target step": changed("trials", "target_step", None),
    "trials: a number below 0": changed("trials", "number", -1),
    "trials: no start": changed("trials", "started_at", None),
    "trials: a start in the year 300000": changed("trials", "started_at", 2**63 - 1),
    "evaluations: seconds without end": changed("evaluations", "elapsed_s", float("inf")),
    "trials: steps without end": changed("trials", "step_s", float("nan")),
    "trials: no row": reshaped("trials", lambda rows: rows.slice(0, 0)),
    "evaluations: an unknown status": changed("evaluations", "status", "splendid"),
    "evaluations: no performance": changed("evaluations", "performance", None),
    "evaluations: no RelEx": changed("evaluations", "rel_ex", None),
    "examples: no NLL": changed("examples", "nll", None),
    "baselines: nulls": changed("references", "performance", None),
    "baselines: no model": changed("references", "model", None),
    "baselines: text": lambda folder: _write(folder / "references" / "baselines.parquet", b"x"),
    "baselines: another type": changed("references", "gen_ex", ["text"]),
    "baselines: twice": reshaped("references", lambda rows: pa.concat_tables([rows, rows])),
}


def manifest(value: object) -> Damage:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda folder: _write(folder / "sweep.json", content)


MANIFESTS: dict[str, Damage] = {
    str(value)[:40]: manifest(value)
    for value in (
        None, [], 1, "text", b"", b"\xff", b"[" * 100_000, b"9" * 5000, {"packages": None}, {"packages": []},
        {"resumed": None}, {"resumed": [1]}, {"resumed": {}}, {"models": [1]}, {"models": {"base": 1}},
        {"workers": [{}]},
        {"workers": None}, {"started_at": "yesterday"}, {"started_at": []}, {"code": []}, {"code": "x"},
        {"resumed": [{"started_at": 1e999}]}, {"resumed": [{"packages": {"torch": 1}}]},
        {"started_at": "9999-12-31T23:59:59-14:00"}, {"started_at": None}, {"started_at": 1700000000},
        {"started_at": "1700000000"}, {"platform": "\ud800"}, b'{"a": ' * 700 + b"1" + b"}" * 700,
    )
}  # fmt: skip


def driver(name: str, content: bytes) -> Damage:
    return lambda folder: _write(folder / "drivers" / name, content)


_SOUND = {
    "token": "t", "host": "h", "machine": "m", "pid": 1, "process_started": 0.0,
    "since": "2026-01-01T00:00:00+00:00", "renewed_at": "2026-01-01T00:00:00+00:00",
}  # fmt: skip
NO_DRIVERS: dict[str, Damage] = {
    name: driver(name, b"{}") for name in ("²²²²²².json", "x.json", "1.json", "-00001.json", "٣٣٣٣٣٣.json", "1e5.json")
}
DRIVERS: dict[str, Damage] = {
    str(value)[:60]: driver("000001.json", value if isinstance(value, bytes) else json.dumps(value).encode())
    for value in (
        b"", b"\xff", None, [], 1, "text", {}, b"[" * 100_000, {**_SOUND, "pid": "one"}, {**_SOUND, "host": None},
        {**_SOUND, "renewed_at": "soon"}, {**_SOUND, "renewed_at": "2026-01-01T00:00:00"}, {**_SOUND, "since": 5},
        {**_SOUND, "ended_at": 5}, {**_SOUND, "pid": 10**30},
    )
}  # fmt: skip
