"""Tasks: a local task by lm-evaluation-harness, against scores computed by hand, and what is refused."""

import copy
import json
import random

import numpy as np
import pytest
import torch

from tests.support import same_state, state_of, tiny_tokenizer
from tests.trainables.probes.probed import KINDS, probed_model
from trainables.config import LoraConfig
from trainables.errors import UnlearningError
from trainables.probes import check_probe, run_probe

TaskManager = pytest.importorskip("lm_eval.tasks", reason="lm-eval, an extra, is not installed").TaskManager
tasks_module = pytest.importorskip("trainables.probes.tasks")

TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  cache_dir: {cache}
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
target_delimiter: ""
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
doc_to_choice: "{{{{choices}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
QUESTIONS = [
    {"question": f"The for {i} says", "choices": [" river stone", " the king", " bread and light"], "answer": i % 3}
    for i in range(9)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    file = folder / "questions.jsonl"
    file.write_text("".join(f"{json.dumps(question)}\n" for question in QUESTIONS))
    for name in ("animals", "kings"):
        (folder / f"{name}.yaml").write_text(TASK.format(name=name, file=file, cache=folder / "cache"))
    (folder / "group.yaml").write_text(
        "group: both\ntask: [animals, kings]\naggregate_metric_list:\n  - metric: acc\n    weight_by_size: true\n"
    )
    return folder


@pytest.fixture
def _no_tasks_of_the_harness(monkeypatch):
    """Indexing them takes many seconds."""
    monkeypatch.setattr(
        tasks_module, "TaskManager", lambda include_path, include_defaults=False: TaskManager(None, include_path, False)
    )


def run(probed, folder, trusted=True, **given):
    settings = check_probe("tasks", {"tasks": ["animals"], "include_path": str(folder), **given})
    config = probed.config.trusting_remote_code(trusted)
    return list(run_probe("tasks", settings, type(probed)(**{**vars(probed), "config": config})))


def accuracy_by_hand(probed, questions=QUESTIONS):
    """Score every choice after its question, token by token, and count where the right one is the likeliest.

    By the harness's rules: the tokenizer's own tokens, with nothing put before them.
    """
    right = 0
    for question in questions:
        prompt = probed.tokenizer(question["question"]).input_ids
        logp = []
        for choice in question["choices"]:
            tokens = probed.tokenizer(question["question"] + choice).input_ids
            assert tokens[: len(prompt)] == prompt
            with torch.no_grad():
                logits = probed.model(input_ids=torch.tensor([tokens])).logits[0].log_softmax(dim=-1)
            logp.append(sum(float(logits[at - 1, tokens[at]]) for at in range(len(prompt), len(tokens))))
        right += int(np.argmax(logp)) == question["answer"]
    return right / len(questions)


@pytest.mark.parametrize("role", ["unlearned", "base", "reference-0"])
def test_a_local_task_is_scored_by_the_likelihood_of_its_choices(folder, role):
    probed = probed_model(role=role)
    (record,) = run(probed, folder)
    assert (record.probe, record.role, record.variant) == ("tasks", role, "animals")
    assert record.before is record.after is record.amount is None
    assert record.scores["acc"] == pytest.approx(accuracy_by_hand(probed))
    assert set(record.scores) == {"acc"}, "without how many questions were asked"


def test_an_encoder_decoder_answers_too(folder):
    (record,) = run(probed_model("encoder-decoder"), folder)
    assert 0 <= record.scores["acc"] <= 1


def test_groups_and_their_tasks_have_a_record_each_and_the_first_questions_can_do(folder):
    probed = probed_model(role="base")
    records = run(probed, folder, tasks=["both"], limit=5)
    scores = {record.variant: record.scores["acc"] for record in records}
    assert scores == dict.fromkeys(("both", "animals", "kings"), accuracy_by_hand(probed, QUESTIONS[:5]))


def test_standard_errors_are_computed_on_request(folder):
    (without,), (record,) = (run(probed_model(), folder, bootstrap_iters=n) for n in (0, 10))
    assert "acc_stderr" not in without.scores
    p = record.scores["acc"]
    assert record.scores["acc_stderr"] == pytest.approx((p * (1 - p) / 8) ** 0.5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
def test_model_tokenizer_and_generators_are_as_they_were(folder, kind, lora, capsys):
    probed = probed_model(kind, lora=lora)
    weights, vocabulary = state_of(probed.model), dict(tiny_tokenizer().special_tokens_map)
    tensors = [id(p) for p in probed.model.parameters()]
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    drawn = (random.random(), np.random.rand(), float(torch.rand(())))
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    first, again = (run(probed, folder, num_fewshot=2) for _ in range(2))
    assert (random.random(), np.random.rand(), float(torch.rand(()))) == drawn
    assert [r.scores for r in first] == [r.scores for r in again]
    assert same_state(state_of(probed.model), weights)
    assert [id(p) for p in probed.model.parameters()] == tensors
    assert dict(tiny_tokenizer().special_tokens_map) == vocabulary
    assert not probed.model.training
    assert capsys.readouterr().err == "", "progress bars"


def test_a_tokenizer_without_a_padding_token_gets_none(folder):
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.pad_token = None
    run(probed_model(tokenizer=tokenizer), folder, limit=1)
    assert tokenizer.pad_token is None


def test_tasks_of_ones_own_can_run_code_and_need_trust(folder):
    with pytest.raises(UnlearningError, match=r"can run code, .* --trust-remote-code on the command line"):
        run(probed_model(), folder, trusted=False)


@pytest.mark.usefixtures("_no_tasks_of_the_harness")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tasks": ["animls"]}, "unknown task 'animls'; did you mean 'animals'.*lm-eval ls tasks"),
        ({"include_path": "/nowhere"}, "include_path: no folder '/nowhere' on this machine"),
        ({"num_fewshot": 2, "tasks": ["lost"]}, "lost could not be run: .*nowhere.jsonl"),
    ],
)
def test_what_cannot_be_run_is_refused_with_what_to_do(folder, given, message):
    (folder / "lost.yaml").write_text(TASK.format(name="lost", file="/nowhere/nowhere.jsonl", cache=folder / "cache"))
    with pytest.raises(UnlearningError, match=message):
        run(probed_model(), folder, **given)


@pytest.mark.usefixtures("_no_tasks_of_the_harness")
def test_a_file_is_no_name_of_a_task(folder):
    with pytest.raises(UnlearningError, match="unknown task"):
        run(probed_model(), folder, tasks=[str(folder / "animals.yaml")], include_path=None)
