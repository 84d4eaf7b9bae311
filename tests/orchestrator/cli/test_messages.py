"""Every mistake of a user's that we know of, and what it is answered with: one message, no traceback, exit code 2.

A new mistake is a line of ``MISTAKES``. ``SPEC`` is a spec of a sweep that could run, ``FOLDER`` a folder with what is
listed in ``FILES``, and ``sweeps`` in the current folder holds the sweeps ``first`` and ``second``.
"""

import shlex
import socket
import sys
from dataclasses import dataclass

import pytest
import yaml

from orchestrator.cli import main
from orchestrator.errors import SweepError
from tests.orchestrator.helpers import spec_data
from tests.s3 import forget_settings
from tests.support import tiny_architecture, tiny_model, tiny_tokenizer
from tests.trainables.files import own_cache, pairs, write_rows
from trainables.models import save_model

assert own_cache  # a fixture
pytestmark = pytest.mark.usefixtures("own_cache")

FILES = {"forget.jsonl": 6, "retain.parquet": 60, "held.csv": 12}
TEXTS = {
    "twice.yaml": "name: a\nsteps: [1]\nname: b\n",
    "list.yaml": "- a\n- b\n",
    "cut.yaml": "name: x\nsteps: [1, 2\nseeds: [0]\n",
    "latin.yaml": b"name: caf\xe9\n",
}
HUB = "model={pretrained: NAME}"
LORA = "model={pretrained: FOLDER/model, lora: {target_modules: [query]}}"
OWN = (
    "data={retain_source: {path: FOLDER/forget.jsonl}, heldout_source: {path: FOLDER/held.csv}, forget_sets: "
    "{own: {distribution: in, source: {path: FOLDER/forget.jsonl}, population_source: {path: FOLDER/retain.parquet}}}}"
)
CHOICE = "search.space.optimizer={choices: {sgd: {learning_rate: 0.01}, adamw: {}}}"


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A command, and what its answer must contain."""

    command: str
    settings: tuple[str, ...] = ()
    """Values of ``--set``."""
    said: tuple[str, ...]
    code: int = 2


def setting(*settings, said):
    return Mistake(command="plan SPEC", settings=settings, said=said)


def asked(command, *said, code=2):
    return Mistake(command=command, said=said, code=code)


MISTAKES = {
    # the file
    "no file": asked("plan nosuch.yaml", "spec 'nosuch.yaml': No such file or directory; give a YAML file or the name"),
    "a folder": asked("run FOLDER", "Is a directory; give a YAML file"),
    "not UTF-8": asked("plan FOLDER/latin.yaml", "not UTF-8 text"),
    "not YAML": asked("plan FOLDER/cut.yaml", "cut.yaml: not valid YAML", "line 3, column"),
    "a list": asked("plan FOLDER/list.yaml", "expected a mapping of settings, found a list"),
    "a key twice": asked("run FOLDER/twice.yaml", "line 3: the key 'name' was given on line 1 already; keep one"),
    # kinds of values
    "a number for a list": setting("steps=32", said=("steps: expected a list (found 32)",)),
    "a number for a mapping": setting("model=3", said=("model: expected a mapping with keys architecture, ",)),
    "a text for a number": setting("data.heldout=many", said=("data.heldout: expected a whole number (found 'many')",)),
    "a fraction for a whole number": setting("data.heldout=1.5", said=("expected a whole number (found 1.5)",)),
    "a text for yes or no": setting("model.chat_template=maybe", said=("expected true or false (found 'maybe')",)),
    "a number for a text": setting("name=7", said=("name: expected a text (found 7)",)),
    "no date": setting("model.chat_date=soon", said=("expected a date such as 2026-11-26 (found 'soon')",)),
    "nothing": setting("data.retain_evaluation=null", said=("expected a whole number (found nothing)",)),
    "one of several kinds": setting(
        "resources.concurrent_trials=all", said=("concurrent_trials: expected a whole number or 'auto' (found 'all')",)
    ),
    "no layers": setting("model.lora={target_modules: []}", said=("expected 'all-linear' or at least 1 in the list",)),
    "a value of none": setting("search.sampler=tpee", said=("'tpe'", "(found 'tpee'); did you mean 'tpe'?")),
    "below the least": setting("preparation.epochs=-1", said=("epochs: it must be greater than or equal to 0 (found",)),
    "a name with a slash": asked("run SPEC --name a/b", "name: expected letters, digits, '_', '.' and '-'"),
    "no step": setting("steps=[0]", said=("steps must be strictly increasing and end above 0; found [0]",)),
    "steps twice": setting("steps=[2, 2]", said=("steps must be strictly increasing",)),
    # names
    "an unknown key": setting("search.trails=3", said=("search: unknown key 'trails'; did you mean 'trials'?",)),
    "ga": setting("search.space.objective=ga", said=("unknown objective 'ga'; did you mean 'gradient_ascent'?",)),
    "gd": setting("search.space.objective=gd", said=("did you mean 'gradient_difference'?",)),
    "grad-diff": setting("search.space.objective=grad-diff", said=("did you mean 'gradient_difference'?",)),
    "NPO": setting("search.space.objective=NPO", said=("did you mean 'npo'?",)),
    "adam": setting("search.space.optimizer=adam", said=("unknown optimizer 'adam'; did you mean 'adamw'?",)),
    "lr": setting("search.space.lr=0.1", said=("unknown setting 'lr'", "did you mean 'learning_rate'?")),
    "bs": setting("search.space.bs=4", said=("did you mean 'batch_size'?",)),
    "a key as lr": setting("preparation.lr=0.1", said=("unknown key 'lr'; did you mean 'learning_rate'?",)),
    "beta under ascent": setting(
        "search.space.beta=0.1",
        said=("unknown setting 'beta'", "it belongs to the objectives", "npo", "objective: {choices: {"),
    ),
    "hessian_every under adamw": setting(
        "search.space.hessian_every=2", said=("it belongs to the optimizer sophia", "optimizer: {choices: {sophia:")
    ),
    "momentum under adamw": setting("search.space.momentum=0.9", said=("'adamw' has no 'momentum'; sgd has it",)),
    "a canary": setting(
        "data.forget_sets.people.canary=personal", said=("unknown canary 'personal'; did you mean 'personal_data'?",)
    ),
    # contradictions
    "two rates": setting(CHOICE, said=("'learning_rate' is given twice", "optimizer=sgd/learning_rate; keep one")),
    "a revision of a folder": setting(
        "model={pretrained: FOLDER/model, revision: main}", said=("model.revision: 'main' is of a hub id",)
    ),
    "more measured than retained": setting(
        "data.retain_evaluation=101", said=("retain_evaluation (101) must not exceed retain (100)",)
    ),
    "references of an untrained model": setting(
        "model={pretrained: FOLDER/model}", "preparation={epochs: 0, learning_rate: 1, references: 1}",
        said=("no way to train references",),
    ),
    "forget and retain alike": setting(
        OWN,
        said=(
            "data.retain_source and data.forget_sets.own.source are all", "no example can be in two sets",
            "data.forget_sets.own.size: ...",
        ),
    ),
    "a set value inside": setting("name.first=x", said=("--set 'name.first=x': 'name' is a value and has no keys",)),
    "no value set": setting("seeds", said=("--set 'seeds': expected key.path=value",)),
    # the model
    "no such folder": setting(
        HUB.replace("NAME", "FOLDER/modle"), said=("there is no such file or folder (did you mean '", "/model'?)")
    ),
    "no such path": setting(HUB.replace("NAME", "./a/b"), said=("/a/b': there is no such file", "(nor the folder '")),
    "an id where there is no hub": asked(
        "doctor SPEC --set model={pretrained:\\ nobody/nothing}", "NO model: model.pretrained: cannot load",
        "it is not in the cache, and http", "does not answer; give a local folder",
    ),
    "a package that is not installed": asked(
        "doctor SPEC --set model={pretrained:\\ package:nothing_here/x.gguf}", "needs the Python package 'nothing-here'"
    ),
    # sweeps and storages
    "no sweep": asked(
        "status frist", "no sweep at sweeps/frist or frist: there is no spec.yaml", "are, in sweeps: first, second;"
    ),
    "no sweep in a folder": asked("frontier sweeps/secnd", "there are, in sweeps: second, first;"),
    "no sweep at all": asked("status a --storage FOLDER/empty", "there is none in ", "/empty; give a sweep's name"),
    "a storage that is a file": asked(
        "run SPEC --storage FOLDER/held.csv/x", "storage '", "cannot be used: ", "nothing was begun; give a folder"
    ),
    "a storage that cannot be": asked("run SPEC --storage /proc/sweeps", "storage '/proc/sweeps' cannot be used: "),
    "S3 without credentials": asked(
        "run SPEC --storage s3://nobody-has-this/x", "storage 's3://nobody-has-this/x' cannot be used",
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "nothing was begun",
    ),
    # clusters
    "no cluster": asked(
        "submit SPEC --storage /nowhere --address 127.0.0.1:1",
        "address '127.0.0.1:1': there is no Ray cluster (Connection refused); give the --address of a cluster's",
        "or run 'ray dashboard cluster.yaml' in another terminal",
    ),
    "a variable that is not set": asked(
        "submit SPEC --storage /nowhere --address 127.0.0.1:1 --env NOT_SET", "--env NOT_SET: it is not set here"
    ),
    "a variable without a cluster": asked(
        "resume first --env HOME=/", "--env belong to a job on a cluster: give the cluster's --address too"
    ),
    "no scheme": asked("run SPEC --storage floppy://a", "storage 'floppy://a': Protocol not known: floppy"),
}  # fmt: skip

EVERYWHERE = {
    "a layer that the model lacks": ((LORA,), ("model.lora.target_modules: 'query', which is no layer of this llama",)),
    "a population of 2": (
        ("data.forget_sets.verses.population=2",), ("data.forget_sets.verses.population: 2 examples", "1.44 bits"),
    ),
    "a batch larger than the set": (
        ("search.space.batch_size=64",), ("search.space.batch_size: 64, and the largest forget set has 4", "at most 4"),
    ),
    "a training batch larger than the set": (
        ("preparation.batch_size=5000",), ("preparation.batch_size: 5000, and an epoch has 108 examples",),
    ),
    "too short a limit": (("data.max_tokens=3",), ("data.heldout: example '", "tokens, above data.max_tokens = 3")),
    "a file that does not exist": (
        ("data.heldout_source={path: nosuch.jsonl}",),
        ("data.heldout_source: '", "/nosuch.jsonl' does not exist; give"),
    ),
    "more measured than there is": (
        ("data.retain_source={path: FOLDER/retain.parquet}", "data.retain=null", "data.retain_evaluation=61"),
        ("data.retain_evaluation: 61 retain examples are to be measured, and there are 60",),
    ),
}  # fmt: skip
"""What ``plan``, ``doctor`` and ``run`` refuse alike: settings, and what is printed."""


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, count in FILES.items():
        write_rows(folder / name, pairs(count, name))
    for name, text in TEXTS.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "empty").mkdir()
    save_model(tiny_model(), tiny_tokenizer(), folder / "model")
    spec = spec_data(search={"space": {"batch_size": 4, "learning_rate": 1e-3}})
    spec["model"] = {"architecture": tiny_architecture(), "vocab_size": 300}
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    return folder


@pytest.fixture
def answer(files, written_sweeps, monkeypatch, capsys):
    """Call the command without Ray, without a hub and without AWS; return the exit code and what was printed."""

    def no_cluster(*_, **__):
        raise SweepError("no cluster in this test")

    with socket.create_server(("127.0.0.1", 0)) as server:
        nowhere = server.getsockname()[1]
    for module in ("orchestrator.run.doctor", "orchestrator.run.executors.ray_executor"):
        monkeypatch.setattr(f"{module}.ray_session", no_cluster)
    monkeypatch.setattr("orchestrator.run.executors.ray_executor.starts_here", lambda: False)  # else a worker reads
    monkeypatch.setattr("trainables.models.files.hub_access.constants.ENDPOINT", f"http://127.0.0.1:{nowhere}")
    monkeypatch.setattr("trainables.models.files.hub_access.is_offline_mode", lambda: False)
    monkeypatch.setattr("trainables.models.files.hub_access.getproxies", dict)
    forget_settings(monkeypatch)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(files / "no-such-file"))
    monkeypatch.chdir(written_sweeps.parent)

    def call(command, settings=()):
        words = [*shlex.split(command), *(word for one in settings for word in ("--set", one))]
        words = [word.replace("SPEC", f"{files}/spec.yaml").replace("FOLDER", str(files)) for word in words]
        monkeypatch.setattr(sys, "argv", ["unlearn-sweep", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, " ".join((out + err).split())

    return call


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_answered(answer, name):
    mistake = MISTAKES[name]
    code, said = answer(mistake.command, mistake.settings)
    assert [part for part in mistake.said if part not in said] == [], said
    assert code == mistake.code
    assert "Traceback" not in said
    assert "Input should" not in said
    assert "resume" not in said, "there is no sweep to go on with"


@pytest.mark.parametrize("command", ["plan SPEC", "doctor SPEC", "run SPEC --storage FOLDER/empty"])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_mistake_is_answered_by_every_command_alike(answer, name, command):
    settings, parts = EVERYWHERE[name]
    code, said = answer(command, settings)
    assert [part for part in parts if part not in said] == [], said
    assert code == 2
    assert "Traceback" not in said


def test_the_spec_itself_is_no_mistake(answer):
    assert answer("plan SPEC --no-estimate")[0] == 0
