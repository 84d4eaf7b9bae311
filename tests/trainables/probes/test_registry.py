"""The registry: what is listed, what is refused and how, a probe of a user's own, and how records are made."""

import subprocess
import sys

import pytest

from tests.support import FakeClock
from tests.trainables.probes.probed import probed_model
from trainables.config import Config
from trainables.errors import UnlearningError
from trainables.probes import PROBES, Finding, Probe, check_probe, register, run_probe
from trainables.probes import registry as registry_module

GIVEN = {"tasks": {"tasks": ["animals"]}}


def test_listing_and_checking_loads_no_pytorch() -> None:
    code = (
        "import sys; from trainables.probes import PROBES, check_probe; check_probe('relearning', {}); "
        "print(*sorted({'torch', 'transformers', 'lm_eval', 'scipy'} & sys.modules.keys()), *PROBES)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["relearning", "quantization", "rewording", "tasks"]


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_has_a_source_settings_and_a_function(name: str) -> None:
    probe = PROBES[name]
    assert probe.source
    assert isinstance(check_probe(name, GIVEN.get(name, {})), probe.settings)
    undescribed = [field for field, info in probe.settings.model_fields.items() if not info.description]
    assert undescribed == []
    assert callable(probe.run.resolve())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("relearnig", {}, "unknown probe 'relearnig'; did you mean 'relearning'?"),
        ("quantization", {"steps": [1]}, "probe 'quantization' has no 'steps'; relearning has it; .*group_size"),
        ("relearning", {"steps": [2, 1]}, r"strictly increasing; found \[2, 1\]"),
        ("relearning", {"steps": []}, "at least 1"),
        ("relearning", {"share": 1.0}, "share: .*less than 1"),
        ("relearning", {"variants": ["in-domian"]}, "did you mean 'in-domain'"),
        ("relearning", {"variants": ["control", "control"]}, "variants must differ"),
        ("relearning", {"optimizer": "adamv"}, "unknown optimizer 'adamv'; did you mean 'adamw'"),
        ("relearning", {"optimizer_settings": {"beta3": 1}}, "optimizer 'adamw' has no 'beta3'"),
        ("quantization", {"bits": [3]}, "bits.*8 or 4.*found 3"),
        ("quantization", {"bits": [8, 8]}, "bits must differ"),
        ("quantization", {"backend": "torch"}, "'torchao'"),
        ("rewording", {"templates": ["no prompt"]}, "templates need one '{prompt}' each"),
        ("rewording", {"changes": ["case"]}, "did you mean 'changed-case'"),
        ("tasks", {}, "tasks: it is missing"),
        ("tasks", {"tasks": ["a", "a"]}, "tasks must differ"),
        ("tasks", {"tasks": ["a"], "limit": 0}, "limit"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_allowed(name: str, given: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(UnlearningError, match=message):
        check_probe(name, given)


class OwnSettings(Config):
    """Settings of a user's own probe."""

    times: int = 2
    """Number of measurements."""


@pytest.fixture
def own_probe():
    def run(probed, settings):
        clock.now += 3
        for number in range(settings.times):
            probed.model.train()
            yield Finding(variant="own", amount=number, scores={"seed": float(probed.seed)})

    clock = FakeClock()
    register("own", Probe(run=run, source="a test", settings=OwnSettings))
    yield clock
    del PROBES["own"]


def test_a_users_own_probe_is_checked_and_run_like_the_others(own_probe: FakeClock) -> None:
    with pytest.raises(UnlearningError, match="registered already"):
        register("own", PROBES["tasks"])
    with pytest.raises(UnlearningError, match="'own' has no 'time'; did you mean 'times'"):
        check_probe("own", {"time": 1})
    probed = probed_model(role="reference-1")
    records = []
    for record in run_probe("own", check_probe("own", {"times": 3}), probed, clock=own_probe):
        own_probe.now += 50  # what is done with a record is no time of the probe's
        records.append((record.probe, record.role, record.variant, record.amount, record.scores, record.elapsed_s))
    assert records == [("own", "reference-1", "own", i, {"seed": 5.0}, 3.0 if i == 0 else 0.0) for i in range(3)]
    assert not probed.model.training


def test_a_probe_that_is_left_early_leaves_the_models_mode(own_probe: FakeClock) -> None:
    probed = probed_model()
    running = run_probe("own", check_probe("own", {}), probed)
    next(running)
    assert probed.model.training
    running.close()  # type: ignore[attr-defined]
    assert not probed.model.training


def test_a_probe_that_is_left_early_puts_back_what_it_has_changed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done, held = list[str](), []  # a probe that something still holds is not collected

    def changing(*_: object):
        try:
            yield Finding(variant="own")
        finally:
            done.append("put back")

    def run(*_: object):
        held.append(changing())
        return held[-1]

    monkeypatch.setitem(PROBES, "own", Probe(run=run, source="a test", settings=OwnSettings))
    running = run_probe("own", check_probe("own", {}), probed_model())
    next(running)
    assert done == []
    running.close()  # type: ignore[attr-defined]
    assert done == ["put back"]


def test_a_probe_whose_package_is_missing_says_so_before_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "find_spec", lambda name: None)
    with pytest.raises(UnlearningError, match=r"'lm_eval' is not installed .*pip install 'unlearn-sweep\[tasks\]'"):
        run_probe("tasks", check_probe("tasks", {"tasks": ["animals"]}), probed_model())


def test_an_unknown_probe_is_not_run() -> None:
    with pytest.raises(UnlearningError, match="unknown probe 'relearn'; did you mean 'relearning'"):
        run_probe("relearn", OwnSettings(), probed_model())
