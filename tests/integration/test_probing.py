"""Probes on a real sweep: resumed, and with what fails kept apart from the rest; test_sweep.py has them by Ray."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchestrator.cli import main
from orchestrator.errors import RunStoppedError, SweepError, SweepInterruptedError
from orchestrator.ledger import Ledger
from orchestrator.probing import Choice, inline, probe_sweep
from orchestrator.storage import LocalStorage
from tests.integration.helpers import INLINE, call
from trainables.config import Config
from trainables.metrics import score_set
from trainables.probes import PROBES, Finding, Probe, ProbedModel, check_probe, run_probe

pytestmark = pytest.mark.slow

NOT_DETERMINISTIC = ("elapsed_s", "host", "ended_at")
WHERE = ("--forget-set", "verses", "--frontier", "2", "--probe", "quantization")


@pytest.fixture
def copied(tiny_sweep: Path, tmp_path: Path) -> Path:
    for name in (".models", "tiny"):
        shutil.copytree(tiny_sweep.parent / name, tmp_path / name)
    return tmp_path / "tiny"


def found(sweep: Path, columns: str = f"* exclude ({', '.join(NOT_DETERMINISTIC)})") -> list[dict[str, Any]]:
    rows = duckdb.sql(f"select {columns} from read_parquet('{sweep}/probes/*.parquet') order by all").to_arrow_table()
    result: list[dict[str, Any]] = rows.to_pylist()
    return result


def test_nothing_is_probed_twice(copied: Path) -> None:
    for expected in ([5, 0], [0, 5]):
        before = {path: path.read_bytes() for path in copied.glob("probes/*")}
        done = call("probe", str(copied), *WHERE, "--json", *INLINE)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert ([said["done"], said["done_before"]], said["failed"]) == (expected, [])
    assert {path: path.read_bytes() for path in copied.glob("probes/*")} == before


class NoSettings(Config):
    """Settings of a probe that has none."""


Probing = Callable[..., Any]


@pytest.fixture
def trying(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Probing:
    """Return a function that tries a probe, given what it finds on a model, on one point in this process."""

    def probe(run: Callable[[ProbedModel, Any], Iterator[Finding]], **options: Any) -> Any:
        monkeypatch.setitem(PROBES, "mine", Probe(run=run, source="test", settings=NoSettings))
        ledger = Ledger(storage=LocalStorage(copied), sweep="tiny")
        return probe_sweep(
            ledger, Choice(on_frontier=True, most=1, forget_set="verses"), probes=["mine"], executor="inline", **options
        )

    return probe


def looking(probed: ProbedModel, _: Any) -> Iterator[Finding]:
    """Find what quantization measures before it."""
    settings = check_probe("quantization", {"bits": [8]})
    (record,) = run_probe("quantization", settings, probed)
    yield Finding(variant="looked", before=record.before, after=record.before)


def test_what_is_probed_is_the_model_that_the_sweep_measured(copied: Path, trying: Probing) -> None:
    """Bit for bit: the points as they were evaluated, the controls as baselines; a reference against the others."""
    assert trying(looking).done == 4
    measures = "forget_nll, gen_ex, gen_ex_abs, rel_ex, heldout_nll, retain_nll, unlearning_quality"
    points = duckdb.sql(
        f"select {measures} from read_parquet('{copied}/evaluations/*.parquet') semi join "
        f"(from read_parquet('{copied}/probes/*.parquet') where role = 'unlearned') using (trial_id, step)"
    ).fetchall()
    controls = duckdb.sql(
        f"select {measures} from '{copied}/references/baselines.parquet' where forget_set = 'verses' order by model"
    ).fetchall()
    assert len(points) == 1 and len(controls) == 3
    rows = found(copied, f"role, {measures}")
    assert [tuple(row.values())[1:] for row in sorted(rows, key=lambda row: row["role"])] == [*controls, *points]


def test_a_probe_knows_whose_model_it_has_and_the_models_that_it_is_compared_with(trying: Probing) -> None:
    seen, compared = {}, {}

    def noting(probed: ProbedModel, settings: Any) -> Iterator[Finding]:
        seen[probed.role] = probed
        scored = [
            score_set(model, probed.sets.forget, batch_size=16).logp_N.tolist() for model in probed.compared_models()
        ]
        known = (probed.sets.base, *probed.sets.references)
        compared[probed.role] = scored, [scores["forget"].logp_N.tolist() for scores in known]
        yield from looking(probed, settings)

    trying(noting)
    assert list(seen) == ["base", "reference-0", "reference-1", "unlearned"]
    assert len({probed.seed for probed in seen.values()}) == 1
    assert len(seen["unlearned"].sets.reference_logp_SN) == 2
    assert len(seen["reference-0"].sets.reference_logp_SN) == 1
    for scored, known in compared.values():
        assert scored == known
    assert [text.example_id for text in seen["base"].forget] == list(seen["base"].sets.forget.example_ids)
    assert len(seen["base"].population) == len(seen["base"].sets.population)


def test_what_fails_is_logged_and_tried_again_and_the_rest_is_kept(copied: Path, trying: Probing) -> None:
    def failing(probed: ProbedModel, settings: Any) -> Iterator[Finding]:
        if probed.role == "base":
            raise RuntimeError("out of luck")
        yield from looking(probed, settings)

    summary = trying(failing)
    assert summary.done == 3
    assert summary.failed == ["base on 'verses': mine failed: RuntimeError: out of luck"]
    log = Ledger(storage=LocalStorage(copied), sweep="tiny").log("probing")
    assert log is not None and "Traceback" in log and "out of luck" in log
    again = trying(looking)
    assert (again.done, again.done_before, again.failed) == (1, 3, [])


def test_a_signal_ends_it_between_two_measurements_and_it_goes_on(trying: Probing) -> None:
    def signalled(probed: ProbedModel, settings: Any) -> Iterator[Finding]:
        if probed.role == "reference-1":
            os.kill(os.getpid(), signal.SIGTERM)
        yield from looking(probed, settings)

    with pytest.raises(SweepInterruptedError):
        trying(signalled)
    again = trying(looking)
    assert (again.done_before, again.done) == (2, 2)


def test_what_fails_before_any_model_is_probed_is_logged(
    copied: Path, trying: Probing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlucky(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(inline, "prepare_start", unlucky)
    with pytest.raises(RunStoppedError, match="measuring base and reference models failed: RuntimeError: out of luck"):
        trying(looking)
    log = Ledger(storage=LocalStorage(copied), sweep="tiny").log("probing")
    assert log is not None and "Traceback" in log


def test_a_probe_that_finds_nothing_to_try_is_named(copied: Path, trying: Probing) -> None:
    def nothing(probed: ProbedModel, settings: Any) -> Iterator[Finding]:
        yield from ()

    summary = trying(nothing)
    assert (summary.done, summary.failed, len(summary.without)) == (0, [], 4)
    assert not list(copied.glob("probes/*"))


def test_a_users_mistake_ends_it_with_exit_code_2(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def mistaken(probed: ProbedModel, settings: Any) -> Iterator[Finding]:
        raise SweepError("there is no such task; choose another")
        yield

    monkeypatch.setitem(PROBES, "mine", Probe(run=mistaken, source="test", settings=NoSettings))
    monkeypatch.setattr(sys, "argv", ["unlearn-sweep", "probe", str(copied), "--probe", "mine", *INLINE])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "there is no such task; choose another" in capsys.readouterr().err


def test_a_sweep_whose_data_changed_is_refused(copied: Path) -> None:
    spec = (copied / "spec.yaml").read_text()
    (copied / "spec.yaml").write_text(spec.replace("heldout: 16", "heldout: 15"))
    done = call("probe", str(copied), *WHERE, *INLINE)
    assert done.returncode == 2
    assert "was made with other settings, data, models or code" in done.stderr


def test_after_probes_a_sweep_is_resumed_as_before(copied: Path, trying: Probing) -> None:
    trying(looking)
    done = call("resume", str(copied), "--set", "probes.quantization.bits=[4]", *INLINE)
    assert done.returncode == 0, done.stderr
    assert "nothing left to do" in done.stdout
