"""The command ``export``: what it refuses before any work, and what it hands on."""

import json
import sys
from types import SimpleNamespace

import huggingface_hub
import pytest

from orchestrator.cli import main
from orchestrator.export.verification import compare_metrics
from orchestrator.frontier import CHOSEN_NOTE
from orchestrator.ledger import Ledger
from orchestrator.storage import LocalStorage


@pytest.fixture
def call(monkeypatch, capfdbinary, written_sweeps, tmp_path):
    """Call the command; return the exit code, standard output and standard error."""

    def run(*arguments):
        where = ["first", "--storage", written_sweeps, "--to", tmp_path / "model"]
        monkeypatch.setattr(sys, "argv", ["unlearn-sweep", "export", *map(str, [*where, *arguments])])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfdbinary.readouterr()
        assert b"Traceback" not in out + err
        return caught.value.code or 0, out, err.decode()

    return run


@pytest.fixture
def trial_id(written_sweeps):
    return Ledger(storage=LocalStorage(written_sweeps / "first"), sweep="first").trials()[0]["trial_id"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name an evaluated step: --trial T --step S"),
        (["--trial", "abc"], "name an evaluated step"),
        (["--best", "exposure<=2", "--step", "2"], "name an evaluated step"),
        (["--trial", "zzz", "--step", "2"], "--trial zzz: no trial of this sweep begins so"),
        (["--trial", "", "--step", "2", "--forget-set", "verses"], "--forget-set: belongs to --best"),
        (["--best", "exposre<=2"], "did you mean 'exposure'?"),
        (["--best", "exposure<=8", "--forget-set", "verse"], "did you mean 'verses'?"),
        (
            ["--best", "exposure<=8", "--forget-set", "verses", "--public"],
            "--public: there is nothing to publish without --push",
        ),
        (["--best", "exposure<=8", "--forget-set", "verses", "--push", "model"], "--push model: no owner"),
    ],
)
def test_a_mistake_is_a_message_and_exit_code_2(call, arguments, said):
    code, out, err = call(*arguments)
    assert (code, out) == (2, b"")
    assert said in err


def test_what_is_there_is_seen_before_any_work(call, trial_id, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").touch()
    code, _, err = call("--trial", trial_id, "--step", "2", "--overwrite")
    assert code == 2
    assert "something else than an earlier export" in err
    assert "measuring" not in err


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("chosen", [False, True])
def test_a_point_that_was_chosen_is_said_to_be_too_good(call, trial_id, monkeypatch, chosen, as_json):
    def export_step(ledger, evaluated, to, **options):
        names = ("sweep", "trial_id", "step", "seed", "from_step", "verification", "files", "forget_set", "model")
        same = compare_metrics(evaluated.metrics, evaluated.metrics, tolerance=0.0)
        facts = {name: {"name": name, "class": name} for name in names}
        facts |= {"chosen_by": evaluated.chosen_by, "chosen": CHOSEN_NOTE if evaluated.chosen_by else None}
        return SimpleNamespace(folder=to, provenance=facts, verification=same)

    monkeypatch.setattr("orchestrator.export.export_step", export_step)
    which = ["--best", "exposure<=8", "--forget-set", "verses"] if chosen else ["--trial", trial_id, "--step", 2]
    code, out, _ = call(*which, *["--json"] * as_json)
    assert code == 0
    said = " ".join(out.decode().split())
    assert said.count("chosen on the same evaluations that they are shown on") == chosen
    if as_json:
        assert json.loads(out)["chosen_by"] == ("unlearning_quality<=8" if chosen else None)


@pytest.mark.parametrize("public", [False, True])
def test_what_was_exported_is_pushed_and_told(call, trial_id, tmp_path, monkeypatch, public):
    def export_step(ledger, evaluated, to, **options):
        assert options["overwrite"] is False
        assert options["tolerance"] == 0.5
        names = ("sweep", "trial_id", "step", "seed", "from_step", "verification", "files", "forget_set", "model")
        facts = {name: {"name": name, "class": name} for name in names}
        same = compare_metrics(evaluated.metrics, evaluated.metrics, tolerance=0.0)
        return SimpleNamespace(folder=to, provenance=facts | {"trial_id": evaluated.trial_id}, verification=same)

    pushed = []
    monkeypatch.setattr("orchestrator.export.export_step", export_step)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_token")
    monkeypatch.setattr(
        "orchestrator.export.push_folder", lambda *args, **kwargs: pushed.append((args, kwargs)) or "https://hub"
    )
    more = ["--public"] if public else []
    code, out, _ = call("--trial", trial_id, "--step", 2, "--tolerance", 0.5, "--push", "me/model", "--json", *more)
    assert code == 0
    assert json.loads(out)["pushed"] == "https://hub"
    assert json.loads(out)["trial_id"] == trial_id
    message = f"Export sweep 'first', trial {trial_id}, step 2"
    assert pushed == [((tmp_path / "model", "me/model"), {"public": public, "message": message})]
