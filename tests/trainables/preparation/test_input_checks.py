"""Every check on data and model: what it finds, where, and what it says."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.support import tiny_architecture, tiny_encoded, tiny_examples, tiny_model, tiny_tokenizer
from tests.trainables.files import own_cache, pairs, write_rows
from trainables.config import (
    EvaluationConfig,
    LoraConfig,
    ModelConfig,
    PreparationConfig,
    SourceConfig,
    TrialConfig,
)
from trainables.data import Example, SetSizes, Sizes
from trainables.data.sources import open_source
from trainables.encoding import EncodedSet
from trainables.errors import UnlearningError
from trainables.metrics import chosen_metrics
from trainables.models import ModelLimits, add_adapters, save_model, structure_of
from trainables.preparation import CheckInputs, Problem, Severity, Training, find_problems
from trainables.preparation.input_checks import CHECKS

assert own_cache  # a fixture
NO_LIMITS = ModelLimits(positions=None, target_positions=None, ids=None, target_ids=None)


def subject(limits=NO_LIMITS, **changes):
    return CheckInputs(
        **{
            "configuration": SimpleNamespace(is_encoder_decoder=False, model_type="llama"),
            "limits": limits,
            "tokenizer": tiny_tokenizer(),
            "encoded": {"data.heldout": tiny_encoded(5)},
            **changes,
        }
    )


def limits(**given):
    return ModelLimits(**{"positions": None, "target_positions": None, "ids": None, "target_ids": None, **given})


def one(found) -> Problem:
    (problem,) = found
    return problem


def test_nothing_is_wrong():
    assert find_problems(subject()) == []
    assert len(CHECKS) >= 9


def test_a_sequence_of_as_many_tokens_as_positions_is_no_problem_and_one_more_is():
    encoded = tiny_encoded(5)
    longest = int(np.diff(encoded.offsets).max())
    assert find_problems(subject(limits(positions=longest))) == []
    problem = one(find_problems(subject(limits(positions=longest - 1))))
    assert problem.where == f"data.heldout: example 'example-{encoded.longest}'"
    assert problem.found.startswith(f"{longest} tokens, special tokens included")
    assert f"has {longest - 1} positions (model.pretrained)" in problem.allowed
    assert f"data.max_tokens: {longest - 1}" in problem.advice


def test_source_and_target_have_limits_of_their_own():
    encoded = {"data.heldout": tiny_encoded(8, encoder_decoder=True)}
    source, target = (
        int(encoded["data.heldout"].target_starts_N.max()),
        int(encoded["data.heldout"].num_targets_N.max()),
    )
    assert find_problems(subject(limits(positions=source, target_positions=target), encoded=encoded)) == []
    problem = one(find_problems(subject(limits(positions=source - 1, target_positions=target), encoded=encoded)))
    assert problem.where.startswith("data.heldout: source of example 'example-")
    problem = one(find_problems(subject(limits(positions=source, target_positions=target - 1), encoded=encoded)))
    assert problem.where.startswith("data.heldout: target of example 'example-")


def encoded_of(*rows, starts, encoder_decoder=False):
    return EncodedSet(
        example_ids=tuple(f"row-{index}" for index in range(len(rows))),
        tokens=np.array([token for row in rows for token in row]),
        offsets=np.cumsum([0, *map(len, rows)]),
        target_starts_N=np.array(starts),
        prefix_ends_N=np.array(starts),
        encoder_decoder=encoder_decoder,
    )


def test_a_token_id_beyond_the_embedding_is_named_with_its_example_and_token():
    encoded = {"data.heldout": encoded_of([1, 2, 3], [1, 299, 4], starts=[1, 1])}
    assert find_problems(subject(limits(ids=300, target_ids=300), encoded=encoded)) == []
    problem = one(find_problems(subject(limits(ids=299, target_ids=299), encoded=encoded)))
    assert problem.where == "data.heldout: example 'row-1'"
    assert problem.found.startswith(f"token id 299 ({tiny_tokenizer().convert_ids_to_tokens(299)!r})")
    assert "ids 0 to 298" in problem.allowed


def test_ids_of_source_and_target_are_of_two_vocabularies():
    encoded = {"data.heldout": encoded_of([250, 250, 5], [3, 3, 5], starts=[2, 2], encoder_decoder=True)}
    assert find_problems(subject(limits(ids=251, target_ids=6), encoded=encoded)) == []
    assert "token id 250" in one(find_problems(subject(limits(ids=250, target_ids=6), encoded=encoded))).found
    assert "token id 5 " in one(find_problems(subject(limits(ids=251, target_ids=5), encoded=encoded))).found


@pytest.mark.parametrize("start", [None, 0])
def test_a_decoder_needs_a_start(start):
    model = SimpleNamespace(is_encoder_decoder=True, model_type="bart", decoder_start_token_id=start)
    found = find_problems(subject(configuration=model))
    assert [problem.where for problem in found] == (["model.pretrained"] if start is None else [])
    assert all("this bart has no decoder_start_token_id" in problem.found for problem in found)


@pytest.mark.parametrize(("generates", "padding", "wrong"), [(True, None, 1), (False, None, 0), (True, 1, 0)])
def test_texts_that_are_written_out_need_a_padding_token(generates, padding, wrong):
    tokenizer = SimpleNamespace(pad_token_id=padding)
    assert len(find_problems(subject(tokenizer=tokenizer, generates=lambda: generates))) == wrong


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_weights_that_are_no_numbers_are_found_in_their_file(tmp_path, number, dtype):
    if dtype is torch.float8_e4m3fn and number == number:
        pytest.skip("this type has no infinity")
    weights = {"good.weight": torch.ones(3, dtype=dtype), "bad.weight": torch.tensor([1.0, number, 2.0]).to(dtype)}
    file = tmp_path / "model.safetensors"
    save_file(weights | {"causal_mask": torch.tensor([float("-inf")]), "ids": torch.arange(3)}, file)
    problem = one(find_problems(subject(files={"model.safetensors": file, "config.json": tmp_path / "config.json"})))
    assert problem.where == "model.pretrained (model.safetensors)"
    assert problem.found == "1 of 3 weights of 'bad.weight' are NaN or infinite"


def test_weights_in_a_folder_beside_the_model_are_not_looked_at(tmp_path):
    (tmp_path / "checkpoint-5").mkdir()
    file = tmp_path / "checkpoint-5" / "model.safetensors"
    save_file({"weight": torch.tensor([float("nan")])}, file)
    assert not find_problems(subject(files={"checkpoint-5/model.safetensors": file}))


def training(config, examples=None):
    return Training(
        model=config,
        preparation=PreparationConfig(epochs=0, learning_rate=1e-3),
        tokenizer=tiny_tokenizer(),
        examples=examples if examples is not None else tiny_examples(4),
        max_tokens=200,
        seed=0,
        threads=1,
        use_gpu=False,
    )


def test_a_worker_looks_at_the_weights_that_it_has_loaded(tmp_path):
    """Of a model of the hub, or in another format, no file was looked at before."""
    model = tiny_model()
    save_model(model, tiny_tokenizer(), tmp_path / "sound")
    training(ModelConfig(pretrained=str(tmp_path / "sound")))
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    save_model(model, tiny_tokenizer(), tmp_path / "broken")
    with pytest.raises(UnlearningError, match=r"model.pretrained: 1 of 16 weights of 'model.norm.weight' are NaN"):
        training(ModelConfig(pretrained=str(tmp_path / "broken")))


GPT2 = {"model_type": "gpt2", "n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}
LONG = Example(example_id="long", prompt="", completion=" ".join(["the lord said"] * 20))


def test_a_worker_looks_at_all_that_it_will_train_on():
    config = ModelConfig(architecture=GPT2, vocab_size=300)
    with pytest.raises(
        UnlearningError, match=r"training: example 'long': \d+ tokens.*16 positions \(model.architecture"
    ):
        training(config, [*tiny_examples(4), LONG])


@pytest.mark.usefixtures("own_cache")
def test_a_worker_finds_the_longest_of_a_stored_set(tmp_path):
    rows = pairs(600, "kept")
    rows[555] = {"prompt": "a", "completion": LONG.completion}
    write_rows(tmp_path / "retain.jsonl", rows)
    stored = open_source(
        SourceConfig(path=str(tmp_path / "retain.jsonl")), where="data.retain_source", needs_prompt=False
    )
    with pytest.raises(UnlearningError, match=r"example 'retain.jsonl:556': \d+ tokens"):
        training(ModelConfig(architecture={**GPT2, "n_positions": 40}, vocab_size=300), stored)


def sizes(heldout=10, **forget_sets):
    """Forget sets by name: (forget, population)."""
    return Sizes(
        retain=100,
        heldout=heldout,
        forget_sets={
            name: SetSizes(forget=forget, population=population, distractors=0)
            for name, (forget, population) in forget_sets.items()
        },
    )


def trials(*batch_sizes):
    return [TrialConfig(learning_rate=1e-3, batch_size=size) for size in batch_sizes]


def graded(found):
    return [(problem.where, problem.severity) for problem in found]


def test_a_layer_to_adapt_that_the_model_lacks_is_named_with_those_it_has():
    modules = structure_of(tiny_model().config, ModelConfig(architecture=tiny_architecture())).adaptable_modules
    for targets in ("all-linear", ("q_proj", "v_proj"), ("model.layers.0.self_attn.q_proj", "embed_tokens")):
        assert find_problems(subject(modules=modules, lora=LoraConfig(target_modules=targets))) == []
    problem = one(find_problems(subject(modules=modules, lora=LoraConfig(target_modules=("q_proj", "query_key")))))
    assert (problem.where, problem.severity) == ("model.lora.target_modules", Severity.FAILS)
    assert "'query_key', which is no layer of this llama" in problem.found
    assert "q_proj" in problem.allowed
    whole_blocks = LoraConfig(target_modules=("self_attn",))
    assert "'self_attn'" in one(find_problems(subject(modules=modules, lora=whole_blocks))).found, (
        "no layer, but several"
    )
    with pytest.raises(UnlearningError, match=r"model\.lora: "):
        add_adapters(tiny_model(), LoraConfig(target_modules=("query_key",)), seed=0)
    add_adapters(tiny_model(), LoraConfig(target_modules=("q_proj", "embed_tokens")), seed=0)


def test_a_population_that_cannot_rank_is_refused_and_a_coarse_one_is_said():
    assert graded(find_problems(subject(sizes=sizes(a=(5, 2), b=(5, 3), c=(5, 4), d=(5, 7), e=(5, 8))))) == [
        ("data.forget_sets.a.population", Severity.MISLEADS),
        ("data.forget_sets.b.population", Severity.MISLEADS),
        ("data.forget_sets.c.population", Severity.NOTE),
        ("data.forget_sets.d.population", Severity.NOTE),
    ]
    assert graded(find_problems(subject(sizes=sizes(heldout=7, a=(5, 8))))) == [("data.heldout", Severity.NOTE)]
    scored = replace(sizes(a=(5, 8)), evaluation={"facts": 7, "authors": 8})
    assert graded(find_problems(subject(sizes=scored))) == [("data.evaluation_sets.facts.size", Severity.NOTE)]


@pytest.mark.parametrize(
    ("metrics", "wanted"),
    [
        ({}, []),
        ({"probability": {}, "privleak": {}}, []),
        (
            {"mia_loss": {}},
            ["data.forget_sets.small.population: 99 examples, of which mia_loss may take 0.01 for members"],
        ),
        ({"mia_loss": {"nonmembers": "heldout"}}, ["data.heldout: 49 examples, of which mia_loss may take 0.01"]),
        ({"mia_loss": {"false_positives": 0.02, "nonmembers": "heldout"}}, ["data.heldout: 49 examples"]),
        ({"mia_loss": {"false_positives": 0.05}}, []),
        ({"exposure_tail": {}}, []),
        (
            {"exposure_tail": {"relative_threshold": 6.63}},
            ["data.forget_sets.small.population: 99 examples, so that no relative exposure is above 6.63 bits"],
        ),
    ],
)
def test_never_trained_sets_too_small_for_what_chosen_metrics_count_are_said(metrics, wanted):
    chosen = chosen_metrics(EvaluationConfig(metrics=metrics))
    own = sizes(heldout=49, small=(4, 99), large=(4, 100))
    problems = find_problems(subject(sizes=own, metrics=chosen))
    assert len(problems) == len(wanted)
    for problem, text in zip(problems, wanted, strict=True):
        assert str(problem).startswith(text)
        assert problem.severity is Severity.NOTE


def test_a_batch_larger_than_every_set_is_refused_and_one_larger_than_some_is_said():
    both = sizes(a=(16, 8), b=(32, 8))
    assert find_problems(subject(sizes=both, trials=trials(8, 16))) == []
    assert graded(find_problems(subject(sizes=both, trials=trials(8, 32)))) == [
        ("search.space.batch_size", Severity.NOTE)
    ]
    problem = one(find_problems(subject(sizes=both, trials=trials(8, 64))))
    assert (problem.where, problem.severity) == ("search.space.batch_size", Severity.MISLEADS)
    assert (problem.found, problem.allowed[:10]) == ("64, and the largest forget set has 32 examples", "at most 32")


def test_a_batch_of_preparation_that_was_asked_for_is_refused_and_the_default_takes_what_there_is():
    def found(**preparation):
        recipe = PreparationConfig(**{"epochs": 1, "learning_rate": 1e-3, **preparation})
        return find_problems(subject(preparation=recipe, training_examples=20))

    assert graded(found(batch_size=21)) == [("preparation.batch_size", Severity.MISLEADS)]
    assert found(batch_size=20) == found(batch_size=21, epochs=0) == []
    assert graded(found()) == [("preparation.batch_size", Severity.NOTE)]


def test_more_texts_to_write_out_than_are_held_out_are_refused():
    assert graded(find_problems(subject(generates=lambda: True, generated=11, sizes=sizes(a=(5, 8))))) == [
        ("evaluation.generated", Severity.MISLEADS)
    ]
    for generated in (10, None):
        assert find_problems(subject(generates=lambda: True, generated=generated, sizes=sizes(a=(5, 8)))) == []
