"""A sweep without Ray, in one process, which a signal stops, or which hangs while another takes over."""

import signal
from pathlib import Path

import pytest

from orchestrator.ledger import Ledger
from orchestrator.storage import LocalStorage
from tests.integration.helpers import INLINE, TINY, call, rows, start_inline, wait_until
from tests.limits import HANG_S

pytestmark = pytest.mark.slow

TABLES = ("trials", "evaluations", "examples")


def test_a_signal_stops_it_in_good_order_and_a_resume_ends_as_an_unbroken_one(tiny_sweep: Path, storage: Path) -> None:
    """It has two replicates, of which the first is the sweep that was not broken off, bit for bit."""
    sweep = storage / "inline-stopped"
    both = ("--set", "replicates=2", "--set", "search.across=seeds")
    process = start_inline("run", str(TINY), "--name", sweep.name, "--storage", str(storage), *both)
    wait_until(lambda: list(sweep.glob("evaluations/*.parquet")), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=HANG_S)
    assert process.returncode == 130, err
    assert f"unlearn-sweep resume {sweep}" in err
    assert "Traceback" not in err
    stopped = {trial["trial_id"] for trial in rows(sweep, "trials") if trial["status"] == "stopped"}
    assert len(stopped) == 1, "a trial was under way"
    assert stopped <= {path.stem for path in sweep.glob("checkpoints/*")}
    done = call("resume", str(sweep), *INLINE)
    assert done.returncode == 0, done.stderr
    for table in TABLES:
        found = rows(sweep, table)
        assert [row for row in found if row["replicate"] == 0] == rows(tiny_sweep, table)
        assert sum(row["replicate"] == 1 for row in found) == sum(row["replicate"] == 0 for row in found)
    check_second_replicate(sweep)


def check_second_replicate(sweep: Path) -> None:
    """See that it is another draw of everything, and that what is made of its trials later is."""
    knows: dict[tuple[str, str], set[float]] = {}
    for row in ledger_of(sweep).baselines().rows:
        knows.setdefault((row["model"], row["forget_set"]), set()).add(row["forget_nll"])
    assert len(knows) == 3 * 2
    assert all(len(values) == 2 for values in knows.values()), "models of other data and other weights"
    texts = {(row["replicate"], row["completion"]) for row in ledger_of(sweep).forget_examples().to_pylist()}
    assert len({text for _, text in texts}) == len(texts) == 2 * 2 * 8
    trial = next(row for row in rows(sweep, "trials") if row["replicate"] == 1)
    done = call("export", str(sweep), "--trial", trial["trial_id"], "--step", "3", "--to", str(sweep / "model"))
    assert done.returncode == 0, done.stderr
    assert "equal the ledger's, bit for bit" in done.stderr + done.stdout
    point = (
        "--trial",
        trial["trial_id"],
        "--step",
        "3",
        "--probe",
        "quantization",
        "--set",
        "probes.quantization.bits=[4]",
    )
    done = call("probe", str(sweep), *point, *INLINE)
    assert done.returncode == 0, done.stderr
    found = rows(sweep, "probes")
    assert {(row["role"], row["replicate"]) for row in found} == {
        (role, 1) for role in ("unlearned", "base", "reference-0", "reference-1")
    }
    measured = {(row["model"], row["replicate"]): row for row in ledger_of(sweep).baselines().of(trial["forget_set"])}
    (base,) = [row for row in found if row["role"] == "base"]
    assert base["before_forget_nll"] == measured["base", 1]["forget_nll"]


def ledger_of(sweep: Path) -> Ledger:
    return Ledger(storage=LocalStorage(sweep), sweep=sweep.name)


def test_a_second_driver_is_refused_by_name_and_one_that_takes_over_goes_on_alone(tiny_sweep: Path) -> None:
    storage = tiny_sweep.parent
    sweep = storage / "driven"
    first = start_inline("run", str(TINY), "--name", sweep.name, "--storage", str(storage))
    wait_until(lambda: list(sweep.glob("evaluations/*.parquet")), first)
    first.send_signal(signal.SIGSTOP)  # it hangs
    refused = call("resume", sweep.name, "--storage", str(storage))
    assert refused.returncode == 2
    assert f"process {first.pid}" in refused.stderr
    assert "--take-over" in refused.stderr
    done = call("resume", sweep.name, "--storage", str(storage), "--take-over", *INLINE)
    assert done.returncode == 0, done.stderr
    first.send_signal(signal.SIGCONT)
    _, err = first.communicate(timeout=HANG_S)
    assert first.returncode == 1, err
    assert "taken over" in err
    for table in TABLES:
        assert rows(sweep, table) == rows(tiny_sweep, table)


def test_models_are_trained_in_fp32_and_adapters_unlearn_in_bf16_and_are_probed_in_one_process(tmp_path: Path) -> None:
    settings = {
        "model.precision": "bf16", "model.lora": "{rank: 2}", "preparation.references": 1, "search.trials": 1,
        "steps": "[1, 2]", "data.forget_sets": "{verses: {distribution: in, size: 8, population: 16}}",
        "search.space": "{batch_size: 4, learning_rate: 1.0e-3}", "search.sampler": "random",
        "probes.relearning.steps": "[1, 2]", "probes.relearning.learning_rate": "0.01",
    }  # fmt: skip
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    done = call("run", str(TINY), "--storage", str(tmp_path), *sets, *INLINE)
    assert done.returncode == 0, done.stderr
    sweep = tmp_path / "tiny"
    assert {trial["status"] for trial in rows(sweep, "trials")} == {"completed"}
    probes = ("relearning", "quantization", "rewording")
    done = call("probe", str(sweep), *(part for name in probes for part in ("--probe", name)), *INLINE)
    assert done.returncode == 0, done.stderr
    found = rows(sweep, "probes")
    assert {(row["probe"], row["role"]) for row in found} >= {
        (name, role) for name in probes for role in ("unlearned", "base", "reference-0")
    }
    for row in found:
        if row["probe"] == "relearning":
            assert row["forget_nll"] != row["before_forget_nll"], "steps of fine-tuning are seen"
    measured = [row for row in found if row["role"] == "unlearned" and row["probe"] == "quantization"]
    evaluated = {(row["trial_id"], row["step"]): row["gen_ex"] for row in rows(sweep, "evaluations")}
    assert measured
    for row in measured:
        assert row["before_gen_ex"] == evaluated[row["trial_id"], row["step"]], "the model that the sweep measured"


def test_a_command_that_a_test_calls_starts_no_ray(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="in a process of its own"):
        call("run", str(TINY), "--storage", str(tmp_path))
