"""What cannot work, or means nothing: refused by ``plan``, ``doctor`` and ``run``, before anything is trained."""

import socket
import sys
from copy import deepcopy

import pytest
import torch
import yaml

from orchestrator.cli import main
from orchestrator.errors import SweepError
from orchestrator.plan.overheads import NO_OVERHEADS
from orchestrator.preparation import SweepInputs, check_inputs, check_sizes, check_spec, count_sets
from orchestrator.spec.loading import validate_spec
from tests.orchestrator.helpers import make_spec, spec_data
from tests.support import tiny_architecture, tiny_model, tiny_tokenizer
from tests.trainables.files import own_cache
from trainables.data import SetSizes, Sizes
from trainables.errors import UnlearningError
from trainables.models import limits, save_model
from trainables.preparation import Severity, SizeCheckInputs, find_size_problems

assert own_cache  # a fixture
GPT2 = {"model_type": "gpt2", "n_positions": 12, "n_embd": 16, "n_layer": 1, "n_head": 2}


def no_cluster(*_, **__):
    raise SweepError("no cluster in this test")


def out_of_reach(*_, **__):
    raise OSError("offline")


def small_vocabulary(folder):
    """A model of fewer embeddings than its tokenizer has tokens."""
    model = tiny_model()
    model.resize_token_embeddings(290)
    save_model(model, tiny_tokenizer(), folder)


def broken_weights(folder):
    model = tiny_model()
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    save_model(model, tiny_tokenizer(), folder)


def without_bos(folder):
    tokenizer = tiny_tokenizer().__class__.from_pretrained(saved(folder))
    tokenizer.bos_token = None
    save_model(tiny_model(), tokenizer, folder)


def saved(folder):
    tiny_tokenizer().save_pretrained(folder)
    return folder


MODELS = {
    "positions": (None, ("data.heldout: example '", "tokens, special tokens", "12 positions (model.architecture)")),
    "vocabulary": (small_vocabulary, ("data.heldout: example '", "token id 29", "ids 0 to 289 (model.pretrained)")),
    "weights": (broken_weights, ("1 of 16 weights of 'model.norm.weight' are NaN or infinite",)),
    "first token": (without_bos, ("data.heldout: example '", "there is nothing to predict its first token from")),
}


def sections_of(case, folder):
    make, _ = MODELS[case]
    if make is None:
        return {"model": {"architecture": GPT2}}
    make(folder)
    return {
        "model": {"architecture": None, "vocab_size": 1024, "pretrained": str(folder)},
        "preparation": {"epochs": 0, "references": 0},
    }


@pytest.fixture
def answer(tmp_path, monkeypatch, capsys):
    """Give a spec to a command; return its exit code, and what it says of it before anything starts."""
    monkeypatch.setattr("orchestrator.run.doctor.ray_session", no_cluster)
    monkeypatch.setattr("orchestrator.run.executors.ray_executor.ray_session", no_cluster)
    monkeypatch.setattr(
        "orchestrator.run.executors.ray_executor.starts_here", lambda: False
    )  # else a worker looks, as in tests/integration

    def call(data, command, *options):
        spec = tmp_path / "spec.yaml"
        spec.write_text(yaml.safe_dump(data))
        storage = [] if command == "plan" else ["--storage", str(tmp_path / "sweeps")]
        monkeypatch.setattr(sys, "argv", ["unlearn-sweep", command, str(spec), *options, *storage])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        said = " ".join((out + err).split())
        assert "Traceback" not in said
        return code, said

    return call


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("command", ["plan", "doctor", "run"])
def test_what_cannot_work_is_one_message_before_anything_starts(case, command, tmp_path, answer):
    code, said = answer(spec_data(**sections_of(case, tmp_path / "model")), command)
    assert code == 2
    assert all(part in said for part in MODELS[case][1])
    assert not (tmp_path / "sweeps" / "tiny" / "spec.yaml").exists()


def verses(**changes):
    return {"forget_sets": {"verses": {"distribution": "in", "size": 4, "population": 8, **changes}}}


OWN = {"path": "own.jsonl"}
"""Six texts in a file."""


def own(**changes):
    """Some of the six texts as population, and the rest of them to forget."""
    return {"forget_sets": {"own": {"distribution": "in", "source": OWN, **changes}}}


T5 = {
    "model_type": "t5", "d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 1, "num_heads": 2,
}  # fmt: skip
BATCH = {"learning_rate": 1e-3}
REFUSED = {
    "population": (
        {"data": verses(population=2)},
        "data.forget_sets.verses.population: 2 examples, so that relative exposure ends at 1.00 bits; at least 4",
    ),
    "the rest of a file": (
        {"data": own(population=4)},
        "search.space.batch_size: 4, and the largest forget set has 2 examples; at most 2, which is the whole set",
    ),
    "a batch": (
        {"search": {"space": {**BATCH, "batch_size": 64}}},
        "search.space.batch_size: 64, and the largest forget set has 4 examples; at most 4, which is the whole set",
    ),
    "a batch of preparation": (
        {"preparation": {"batch_size": 999}},
        "preparation.batch_size: 999, and an epoch has 108 examples; at most 108; give 108 or less",
    ),
    "texts written out": (
        {"model": {"architecture": T5}, "evaluation": {"generated": 999}},
        "evaluation.generated: 999 held-out examples, and there are 10; at most 10",
    ),
    "retained examples": (
        {"data": {"retain": None, "retain_source": OWN, "retain_evaluation": 7}},
        "data.retain_evaluation: 7 retain examples are to be measured, and there are 6",
    ),
    "repetitions": (
        {"data": verses(repetitions=[1, 2, 3, 4, 5])},
        "repetitions: 5 groups, and 4 examples to put into them; leave some out",
    ),
    "a file": (
        {"data": own(population=6)},
        "data.forget_sets.own.source: own.forget, own.population need 7 examples, but",
    ),
}
NOTED = {
    "population": ({"data": verses(population=5)}, "data.forget_sets.verses.population: 5 examples"),
    "held-out": ({"data": {"heldout": 5}}, "data.heldout: 5 examples, the mean of which is the performance"),
    "a batch of a smaller set": (
        {
            "data": {"forget_sets": {name: {**one, "size": size} for name, one, size in (
                ("verses", verses()["forget_sets"]["verses"], 4), ("more", verses()["forget_sets"]["verses"], 8),
            )}},
            "search": {"space": {**BATCH, "batch_size": 8}},
        },
        "search.space.batch_size: up to 8, more than the forget set 'verses' (4) has",
    ),
    "retained examples": (
        {"data": {"retain": 10}},
        "data.retain_evaluation: 64 unless set, and there are 10 retained examples: all of them are taken",
    ),
}  # fmt: skip
LOOKS = (("plan",), ("plan", "--no-estimate"), ("doctor",), ("run",))
UNREAD = "texts, token lengths and the model were not checked (--no-estimate)"


def sized(sections, folder):
    """Return a tiny spec with some sections, and write the file that it may draw from."""
    data = deepcopy(spec_data(**{"model": {"architecture": tiny_architecture()}, **sections}))
    (folder / "own.jsonl").write_text("".join(f'{{"text": "text {i}"}}\n' for i in range(6)))
    for drawing in (data["data"], *data["data"]["forget_sets"].values()):
        for key in ("source", "retain_source"):
            if drawing.get(key) == OWN:
                drawing[key] = {"path": str(folder / "own.jsonl")}
    if "retain" in sections.get("data", {}) and "retain_evaluation" not in sections["data"]:
        del data["data"]["retain_evaluation"]
    return data


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("command", LOOKS, ids=" ".join)
def test_sizes_that_cannot_be_are_refused_alike_by_whatever_looks_at_them(case, command, tmp_path, answer):
    sections, message = REFUSED[case]
    code, said = answer(sized(sections, tmp_path), *command)
    assert (code, message in said) == (2, True), said


@pytest.mark.parametrize("case", NOTED)
@pytest.mark.parametrize("command", LOOKS, ids=" ".join)
def test_sizes_that_say_little_are_noted_alike_by_whatever_looks_at_them(case, command, tmp_path, answer, monkeypatch):
    monkeypatch.setattr("orchestrator.plan.overheads.measure_overheads", lambda: NO_OVERHEADS)
    sections, message = NOTED[case]
    code, said = answer(sized(sections, tmp_path), *command)
    assert message in said
    assert code == (0 if command[0] == "plan" else 2), "there is no cluster"
    assert (UNREAD in said) == ("--no-estimate" in command)


@pytest.mark.parametrize("sections", [{}, {"model": {"architecture": T5}, "evaluation": {"generated": 10}}])
def test_whether_a_model_writes_is_asked_only_where_that_decides(sections, monkeypatch):
    monkeypatch.setattr(
        "orchestrator.preparation.checking.size_checks._is_encoder_decoder", lambda _: pytest.fail("asked")
    )
    looked = check_sizes(make_spec(**sections))
    assert (looked.sizes.heldout, looked.unchecked) == (10, None)


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("on_bad", ["refuse", "skip"])
def test_what_a_source_holds_turns_on_the_model_only_where_it_leaves_examples_out(on_bad, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("orchestrator.preparation.checking.size_checks._is_encoder_decoder", asked.append)
    data = sized({"data": own(population=4)}, tmp_path)
    data["data"]["forget_sets"]["own"]["source"]["on_bad"] = on_bad
    spec = validate_spec(data, "test")
    assert count_sets(spec).forget_sets["own"].forget == 2
    assert len(asked) == (on_bad == "skip")


def test_a_dataset_of_the_hub_is_not_fetched_to_be_counted(answer):
    data = spec_data(data={"retain": None, "retain_source": {"dataset": "nobody/nothing-here"}})
    code, said = answer(data, "plan", "--no-estimate", "--json")
    assert code == 0
    unknown = "set sizes were not checked: how many examples data.retain_source has is not known before it is fetched"
    assert unknown in said
    assert '"training_steps": null' in said
    code, said = answer(data, "plan", "--no-estimate")
    assert "models to train, unless cached" in said
    assert "training steps" not in said


def test_a_dataset_of_the_hub_whose_size_is_given_counts_as_that():
    source = {"dataset": "nobody/nothing-here"}
    looked = check_sizes(make_spec(data={"retain": 70, "retain_source": source}))
    assert (looked.sizes.retain, looked.unchecked) == (70, None)


def test_what_goes_together_is_not_refused():
    looked = check_spec(make_spec())
    assert looked.unchecked is None
    assert looked.inputs is not None


def test_a_plan_without_the_hub_says_what_it_has_not_checked(monkeypatch):
    monkeypatch.setattr("trainables.models.files.hub_access.is_offline_mode", lambda: True)
    monkeypatch.setattr("trainables.models.files.loading.AutoConfig.from_pretrained", out_of_reach)
    hub = {"architecture": None, "vocab_size": 1024, "pretrained": "nobody/nothing-here"}
    said = check_spec(make_spec(model=hub)).unchecked
    assert said is not None
    assert said.startswith(
        "data, tokenizer and model were not checked against each other: model.pretrained: cannot load"
    )


def test_a_plan_does_not_wait_for_a_hub_that_does_not_answer(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr("trainables.models.files.hub_access.constants.ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr("trainables.models.files.hub_access.is_offline_mode", lambda: False)
    monkeypatch.setattr("trainables.models.files.hub_access.getproxies", dict)
    hub = {"architecture": None, "vocab_size": 1024, "pretrained": "nobody/nothing-here"}
    said = check_spec(make_spec(model=hub)).unchecked
    assert said is not None
    assert "the model 'nobody/nothing-here' is not on this machine, and the Hugging Face hub does not answer" in said


def test_a_plan_of_a_package_that_is_not_installed_says_so(monkeypatch):
    monkeypatch.setattr("trainables.models.files.hub_access.is_offline_mode", lambda: True)
    package = {"architecture": None, "vocab_size": 1024, "pretrained": "package:not_installed_here/model.gguf"}
    said = check_spec(make_spec(model=package)).unchecked
    assert said is not None
    assert "needs the Python package 'not-installed-here'" in said


def test_a_folder_that_is_wrong_is_a_mistake(tmp_path):
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(UnlearningError, match=r"model\.pretrained: cannot load"):
        check_spec(make_spec(model={"architecture": None, "vocab_size": 1024, "pretrained": str(tmp_path)}))


def test_a_model_with_adapters_is_built_once_to_be_checked(monkeypatch):
    built = []
    real = limits._without_weights
    monkeypatch.setattr(limits, "_without_weights", lambda *given: built.append(given) or real(*given))
    check_inputs(SweepInputs.of(make_spec(model={"lora": {"rank": 2, "target_modules": ["q_proj"]}})))
    assert len(built) == 1


def test_one_held_out_example_is_not_divided():
    sizes = Sizes(retain=9, heldout=1, forget_sets={})
    (problem,) = [
        problem
        for problem in find_size_problems(SizeCheckInputs(sizes=sizes, selection_share=0.5))
        if problem.where == "evaluation.selection_share"
    ]
    assert problem.severity is Severity.FAILS
    assert not any(
        problem.where == "evaluation.selection_share" for problem in find_size_problems(SizeCheckInputs(sizes=sizes))
    )


@pytest.mark.parametrize(("size", "severity"), [(2, Severity.FAILS), (3, Severity.NOTE), (24, None)])
def test_thirds_of_a_source_of_few_examples_are_refused_or_noted(size, severity):
    data = make_spec(
        data={"forget_sets": {"own": {"distribution": "in", "source": {"path": "a.jsonl"}, "population": 8,
                                      "buckets": ["memorization", "difficulty"]}}},
        preparation={"references": 1},
    ).data  # fmt: skip
    counted = Sizes(
        retain=9, heldout=9, forget_sets={"own": SetSizes(forget=size, population=8, distractors=0)}
    ).with_buckets(data)
    assert sum(own.forget for own in counted.buckets.values()) == 2 * size
    found = find_size_problems(SizeCheckInputs(sizes=counted))
    assert [(one.where, one.severity) for one in found] == (
        [] if severity is None else [("data.forget_sets.own.buckets", severity)]
    )
