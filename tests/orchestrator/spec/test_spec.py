"""A spec in: what is allowed, and what every mistake is answered with."""

import pytest
import yaml
from pydantic import ValidationError

from orchestrator.errors import SweepError
from orchestrator.spec import ResourcesConfig, dump_spec, load_spec, trial_config
from orchestrator.spec.loading import validate_spec
from orchestrator.yaml_text import parse_yaml
from search_spaces import grid, settings, shipped_specs
from tests.orchestrator.helpers import make_spec, spec_data
from trainables.objectives import OBJECTIVES, Objective, ObjectiveSettings
from trainables.optim import OPTIMIZERS, Horizon

FIXED = {"batch_size": 4, "learning_rate": 1e-3}


def refusal(data):
    with pytest.raises(SweepError) as caught:
        validate_spec(data, "my.yaml")
    message = str(caught.value)
    assert message.startswith("my.yaml: not a valid sweep spec\n")
    return message


def refused_search(**search):
    return refusal(spec_data(search={"trials": 4, "sampler": "random", **search}))


@pytest.fixture
def spec_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(spec_data()))
    return path


@pytest.mark.parametrize(
    ("place", "typo", "nearest"),
    [
        ((), "seedz", "seeds"),
        (("model",), "pretrainde", "pretrained"),
        (("data",), "held_out", "heldout"),
        (("data", "corpus"), "min_word", "min_words"),
        (("data", "forget_sets", "verses"), "repetition", "repetitions"),
        (("preparation",), "epoch", "epochs"),
        (("search",), "sampel", "sampler"),
        (("stop",), "max_heldout_nll", "max_heldout_nll_increase"),
        (("resources",), "cpu_per_trial", "cpus_per_trial"),
        (("evaluation",), "batchsize", "batch_size"),
        (("checkpoint",), "every", "every_s"),
    ],
)
def test_an_unknown_key_fails_with_its_place_and_the_nearest_name(place, typo, nearest):
    data = spec_data()
    inside = data
    for key in place:
        inside = inside.setdefault(key, {})
    inside[typo] = 1
    message = refusal(data)
    assert f"  {'.'.join(place)}{': ' if place else ''}unknown key '{typo}'; did you mean '{nearest}'?" in message


def test_all_bad_values_are_listed_each_with_its_place_and_what_was_found():
    message = refusal(
        spec_data(
            name="../escape",
            data={"retain": 0, "heldout": "many"},
            preparation={"learning_rate": -1},
            steps=[5, 2],
            stop={"max_heldout_nll_increase": 0},
            resources={"threads_per_trial": 0},
        )
    )
    for place, found in {
        "name": "'../escape'",
        "data.retain": "0",
        "data.heldout": "'many'",
        "preparation.learning_rate": "-1",
        "stop.max_heldout_nll_increase": "0",
        "resources.threads_per_trial": "0",
    }.items():
        assert any(line.startswith(f"  {place}: ") and f"(found {found})" in line for line in message.splitlines())
    assert "  steps: steps must be strictly increasing and end above 0; found [5, 2]" in message


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "..", "/abs", "a\\b", "a b", "x\n", "s3://x", "a" * 81])
def test_a_sweep_name_cannot_leave_the_storage(name):
    assert "  name: " in refusal(spec_data(name=name))


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", ""])
def test_a_forget_set_name_is_safe_too(name):
    assert "data.forget_sets" in refusal(
        spec_data(data={"forget_sets": {name: {"distribution": "in", "size": 1, "population": 2}}})
    )


@pytest.mark.parametrize("steps", [[], [0], [2, 2], [3, 1], [-1, 2], [1, 2, 2]])
def test_steps_increase_strictly_and_end_above_zero(steps):
    assert "\n  steps" in refusal(spec_data(steps=steps))


def test_seeds_are_distinct_and_there_is_one():
    assert "  seeds: seeds must be distinct; found [1, 1]" in refusal(spec_data(seeds=[1, 1]))
    assert "  seeds: " in refusal(spec_data(seeds=[]))


def test_an_unknown_canary_names_the_nearest():
    sets = {"people": {"distribution": "out", "canary": "personal_dta", "size": 4, "population": 8}}
    message = refusal(spec_data(data={"forget_sets": sets}))
    assert "forget_sets.people.canary: unknown canary 'personal_dta'; did you mean 'personal_data'?" in message


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"objective": "gradient_asent"}, "did you mean 'gradient_ascent'?"),
        ({"optimizer": "adamv"}, "unknown optimizer 'adamv'; did you mean 'adamw'?"),
        ({"schedule": "liner"}, "unknown schedule 'liner'; did you mean 'linear'?"),
        (
            {"bach_size": 8},
            "'bach_size' (objective gradient_ascent, optimizer adamw); did you mean 'batch_size'?",
        ),
        ({"retain_weight": 1.0}, "unknown setting 'retain_weight' (objective gradient_ascent, "),
        ({"objective": "gradient_difference", "retain_wait": 1.0}, "did you mean 'retain_weight'?"),
        ({"optimizer": "adamw", "momentum": 0.9}, "optimizer 'adamw' has no 'momentum'"),
        ({"optimizer": {"choices": {"lion": {"beta2": 0.9}, "sgd": {"beta2": 0.9}}}}, "'beta2' (objective gradient_as"),
        ({"optimizer": "lion", "beta_2": 0.9}, "unknown setting 'beta_2'"),
        ({"optimizer": "lion", "beta_2": 0.9}, "did you mean 'beta2'?"),
        ({"beta1": {"low": 0.9, "high": 1.0}}, "search.space: optimizer 'adamw': beta1: it must be less than 1"),
        ({"batch_size": 0}, "search.space.batch_size: "),
        ({"learning_rate": [1e-3, -1.0]}, "search.space.learning_rate: "),
        ({"optimizer": {"choices": {"sgd": {"momentun": 0.5}}}}, "did you mean 'momentum'?"),
    ],
)
def test_a_bad_setting_in_any_corner_of_the_space_is_refused(space, said):
    assert said in refused_search(space={**FIXED, **space})


def test_a_missing_setting_is_refused():
    assert "search.space.learning_rate: it is missing, and has no default" in refused_search(space={"batch_size": 4})


def test_a_range_whose_high_end_is_not_allowed_is_refused():
    """Else the sweep dies in the middle, when a sampler goes there."""
    refused_search(space={**FIXED, "optimizer": "sgd", "momentum": {"low": 0.0, "high": 1.5}})


@pytest.mark.parametrize("batch", [{"low": 8, "high": 32.0}, {"low": 8, "high": 32, "grid_points": 4}])
def test_a_real_range_of_a_whole_number_setting_is_refused_or_gives_whole_numbers(batch):
    """Else the sweep dies in the middle: batch_size 13.7."""
    try:
        spec = make_spec(search={"trials": 1, "sampler": "random", "space": {**FIXED, "batch_size": batch}})
    except SweepError as error:
        assert "batch_size" in str(error)
    else:
        assert type(spec.space.dimensions["batch_size"]).__name__ == "Integer"


def test_a_bad_space_keeps_its_place():
    message = refused_search(space={**FIXED, "learning_rate": {"low": 1.0, "hihg": 2.0}})
    assert "search.space.learning_rate: unknown key 'hihg'; did you mean 'high'?" in message


def test_weights_of_an_objective_are_settings():
    config = trial_config({**FIXED, "objective": "gradient_difference", "retain_weight": 2.0})
    assert config.objective_settings == {"retain_weight": 2.0}


def test_settings_of_an_objective_may_be_names_and_belong_to_it_alone():
    """Else a space would search a weight that does nothing."""
    objective = {"choices": {"npo": {"beta": [0.1, 0.5], "retain_loss": ["nll", "kl"]}, "wga": {"beta": 1.0}}}
    spec = make_spec(search={"space": {**FIXED, "objective": objective}})
    weights = [(config.objective, config.objective_settings) for config in spec.corner_configs]
    assert ("npo", {"beta": 0.5, "retain_loss": "kl"}) in weights
    assert ("wga", {"beta": 1.0}) in weights
    choices = {"npo": {"beta": 0.1}, "wga": {"delta": 1.0}}
    message = refused_search(space={**FIXED, "objective": {"choices": choices}})
    assert "unknown setting 'delta' (objective wga, optimizer adamw); it belongs to the objective" in message
    message = refused_search(space={**FIXED, "objective": {"choices": {"npo": {}, "gradient_ascent": {}}}, "beta": 0.1})
    assert "unknown setting 'beta' (objective gradient_ascent, optimizer adamw)" in message


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"objective": "npo", "retain_loss": "KL"},
            "objective 'npo': retain_loss: expected 'nll' or 'kl' (found 'KL'); did you mean 'kl'?",
        ),
        ({"objective": "npo", "beta": "high"}, "objective 'npo': beta: expected a number (found 'high')"),
        ({"objective": "npo", "beta": 0}, "objective 'npo': beta: it must be greater than 0 (found 0.0)"),
        (
            {"objective": "npo", "compat": "open-unlearnin"},
            "compat: expected 'open-unlearning' (found 'open-unlearnin'); did you mean 'open-unlearning'?",
        ),
        ({"objective": "kl_ascent", "compat": "open-unlearning"}, "open-unlearning has no objective 'kl_ascent'"),
        ({"compat": "open-unlearning", "reduction": "token"}, "compat: open-unlearning decides 'reduction'"),
    ],
)
def test_a_wrong_setting_of_an_objective_is_refused(settings, said):
    assert said in refused_search(space={**FIXED, **settings})


def test_numbers_of_an_objective_may_be_spelt_as_yaml_reads_them():
    config = trial_config({**FIXED, "objective": "npo", "beta": "1e-1", "compat": "open-unlearning"})
    assert config.objective_settings == {"beta": 0.1}
    assert config.compat == "open-unlearning"


def test_settings_of_an_optimizer_are_plain_names_that_exist_under_it():
    choices = {"sophia": {"beta1": [0.9, 0.95], "hessian_every": 5}, "sgd": {"momentum": 0.9}}
    spec = make_spec(search={"space": {**FIXED, "optimizer": {"choices": choices}}})
    found = [trial_config(settings(spec.space, point)) for point in grid(spec.space)]
    assert [(c.optimizer, c.momentum, c.optimizer_settings) for c in found] == [
        ("sophia", 0.0, {"beta1": 0.9, "hessian_every": 5.0}),
        ("sophia", 0.0, {"beta1": 0.95, "hessian_every": 5.0}),
        ("sgd", 0.9, {}),
    ]


def test_a_name_that_objective_and_optimizer_both_have_is_asked_for(monkeypatch):
    class WithBeta1(ObjectiveSettings):
        beta1: float = 1.0

    objective = Objective(loss=lambda inputs, settings: 0, source="", settings=WithBeta1)
    monkeypatch.setitem(OBJECTIVES, "with_beta1", objective)
    both = {**FIXED, "objective": "with_beta1", "optimizer": "adamw"}
    message = refused_search(space={**both, "beta1": 0.5})
    assert "objective and optimizer both have a 'beta1' (objective with_beta1, optimizer adamw); write " in message
    config = trial_config({**both, "objective_beta1": 5.0, "optimizer_beta1": 0.5})
    assert (config.objective_settings, config.optimizer_settings) == ({"beta1": 5.0}, {"beta1": 0.5})
    assert trial_config({**both, "optimizer": "sgd", "beta1": 5.0}).objective_settings == {"beta1": 5.0}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_that_needs_whole_matrices_is_refused_where_models_are_cut(optimizer):
    wide = {"workers_per_trial": 2, "cpus_per_trial": 2}
    space = {**FIXED, "optimizer": ["sgd", optimizer] if optimizer != "sgd" else "sgd"}
    make_spec(search={"space": space}, resources=wide)
    data = spec_data(search={"space": space}, resources={**wide, "parallelism": "fsdp"})
    if OPTIMIZERS[optimizer].works_on_shards:
        validate_spec(data, "test")
    else:
        assert f"search.space.optimizer: '{optimizer}' needs whole matrices" in refusal(data)
        assert "use ddp, or one of sgd, adamw, lion, sophia" in refusal(data)


def test_a_schedule_that_depends_on_the_total_cannot_have_step_zero():
    message = refused_search(space={**FIXED, "schedule": "linear"})
    assert "leave 0 out of steps" in message
    make_spec(steps=[2, 5], search={"space": {**FIXED, "schedule": "linear"}})


def test_a_grid_cannot_mix_schedules():
    message = refusal(
        spec_data(
            steps=[2, 5],
            search={"sampler": "grid", "space": {**FIXED, "schedule": ["linear", "constant"]}, "trials": 1},
        )
    )
    assert "a grid cannot mix schedules" in message


def test_a_grid_walks_the_whole_axis():
    message = refusal(spec_data(search={"sampler": "grid", "extent": "sampled", "trials": None, "space": FIXED}))
    assert "search.extent: a grid walks the whole step axis" in message


def test_a_grid_counts_its_points():
    space = {**FIXED, "learning_rate": [1e-3, 1e-2, 1e-1]}
    message = refusal(spec_data(search={"sampler": "grid", "trials": 2, "space": space}))
    assert "search.trials: the grid has 3 points, found 2" in message
    make_spec(search={"sampler": "grid", "trials": 3, "space": space})


def test_a_grid_over_a_range_without_points_is_refused():
    space = {**FIXED, "learning_rate": {"low": 1e-5, "high": 1e-3}}
    assert "learning_rate: a grid needs 'grid_points'" in refusal(
        spec_data(search={"sampler": "grid", "trials": None, "space": space})
    )


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_other_samplers_need_a_number_of_trials(sampler):
    assert f"search.trials: sampler '{sampler}' needs a number of trials" in refusal(
        spec_data(search={"sampler": sampler, "trials": None})
    )


def test_an_unknown_sampler_is_told_what_is_allowed():
    message = refused_search(sampler="annealing")
    assert "  search.sampler: " in message
    assert all(name in message for name in ("grid", "random", "tpe", "nsga2", "'annealing'"))


def test_overrides_reach_any_depth_and_are_yaml(spec_file):
    spec = load_spec(
        spec_file,
        overrides=(
            "search.trials=12",
            "seeds=[3, 4]",
            "stop.max_heldout_nll_increase=1.5",
            "data.forget_sets.verses.size=7",
            "description=a=b",
        ),
        name="other",
    )
    assert (spec.search.trials, spec.seeds, spec.stop.max_heldout_nll_increase) == (12, (3, 4), 1.5)
    assert spec.data.forget_sets["verses"].size == 7
    assert (spec.description, spec.name) == ("a=b", "other")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search.trials", "expected key.path=value"),
        ("=3", "expected key.path=value"),
        ("search..trials=3", "expected key.path=value"),
        ("name.first=x", "'name' is a value and has no keys inside"),
        ("search.sampler.kind=x", "'search.sampler' is a value and has no keys inside"),
        ("seeds.0=3", "'seeds' is a value and has no keys inside"),
        ("seeds=[1", "the value: not valid YAML"),
    ],
)
def test_a_bad_override_is_named(spec_file, override, said):
    with pytest.raises(SweepError) as caught:
        load_spec(spec_file, overrides=(override,))
    assert str(caught.value).startswith(f"--set '{override}': ")
    assert said in str(caught.value)


def test_an_override_of_an_unknown_key_names_the_nearest(spec_file):
    with pytest.raises(SweepError, match="search: unknown key 'trails'; did you mean 'trials'"):
        load_spec(spec_file, overrides=("search.trails=3",))


def test_a_missing_file_names_the_shipped_specs(tmp_path):
    with pytest.raises(SweepError, match=r"No such file or directory; give a YAML file or the name of .*demo"):
        load_spec(tmp_path / "none.yaml")


def test_a_folder_is_no_spec(tmp_path):
    with pytest.raises(SweepError, match="Is a directory"):
        load_spec(tmp_path)


def test_binary_is_no_spec(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(SweepError, match="not UTF-8 text"):
        load_spec(tmp_path / "weights.bin")


def test_bad_yaml_names_line_and_column(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: x\nsteps: [1, 2\nseeds: [0]\n")
    with pytest.raises(SweepError, match=r"bad.yaml: not valid YAML: (?s:.*)line 3, column"):
        load_spec(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("text", "kind"), [("- a\n- b", "a list"), ("just text", "a text"), ("", "nothing"), ("3", "a number")]
)
def test_yaml_that_is_no_mapping_is_refused(text, kind):
    with pytest.raises(SweepError, match=f"here: expected a mapping of settings, found {kind}"):
        parse_yaml(text, "here")


@pytest.mark.parametrize("name", sorted(shipped_specs()))
def test_a_dumped_shipped_spec_reads_back_equal(name):
    spec = load_spec(name)
    again = validate_spec(parse_yaml(dump_spec(spec), "dumped"), "dumped")
    assert again == spec
    assert dump_spec(again) == dump_spec(spec)


def test_a_dumped_spec_names_every_default_and_keeps_small_numbers():
    spec = make_spec(description="naïve: yes", preparation={"learning_rate": 1e-5})
    text = dump_spec(spec)
    data = yaml.safe_load(text)
    assert data["resources"]["max_failures"] == spec.resources.max_failures
    assert data["preparation"]["learning_rate"] == 1e-5
    assert validate_spec(data, "dumped") == spec


def test_a_forget_set_that_does_not_exist_names_the_nearest():
    spec = make_spec()
    assert spec.require_forget_sets(None) == ["verses", "people"]
    assert spec.require_forget_sets("people") == ["people"]
    with pytest.raises(SweepError, match="sweep 'tiny' has no forget set 'verse'; did you mean 'verses'"):
        spec.require_forget_sets("verse")


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"workers_per_trial": 2, "gpus_per_trial": 1}, "2 workers take one GPU each, 2 in all, or none; found 1"),
        ({"parallelism": "fsdp"}, "set workers_per_trial above 1"),
        ({"gpus_per_trial": 1.5}, "a share of one GPU, or whole GPUs; found 1.5"),
    ],
)
def test_a_width_that_cannot_be_is_refused(resources, message):
    with pytest.raises(ValidationError, match=message):
        ResourcesConfig(**resources)


def test_a_trials_resources_are_shared_by_its_workers():
    wide = ResourcesConfig(workers_per_trial=4, cpus_per_trial=8, gpus_per_trial=4)
    assert wide.worker_resources == {"CPU": 2.0, "GPU": 1.0}
    assert not wide.tune_resources.keys() & {"CPU", "GPU"}, "a trial takes its workers' resources, and no more"
    assert ResourcesConfig(gpus_per_trial=0.25).tune_resources == {"CPU": 1, "GPU": 0.25}


def test_only_a_pretrained_model_goes_untrained():
    untrained = {"epochs": 0, "learning_rate": 1e-3, "references": 0}
    pretrained = {"architecture": None, "pretrained": "my-model"}
    assert validate_spec(spec_data(model=pretrained, preparation=untrained), "my.yaml")
    assert "takes model.pretrained as the base model as it is" in refusal(spec_data(preparation=untrained))
    trained = spec_data(model=pretrained, preparation=untrained | {"references": 1})
    assert "no way to train references" in refusal(trained)


HUGE = {"low": 1, "high": 10**12}
RATES = [number * 1e-6 for number in range(1, 1002)]


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (
            {"sampler": "grid", "trials": None, "space": {"learning_rate": 1e-3, "batch_size": HUGE}},
            "1,000,000,000,000",
        ),
        ({"space": {"batch_size": list(range(1, 1001)), "learning_rate": RATES}}, "1,001,000 combinations"),
    ],
)
def test_a_space_that_cannot_be_listed_is_counted_and_refused(search, said):
    with pytest.raises(SweepError, match=f"search.*{said}"):
        make_spec(search=search)


def test_yaml_may_repeat_itself_by_aliases_within_bounds():
    assert parse_yaml("a: &a [1, 2]\nb: *a\nc: {<<: {x: *a}}\n", "here")["c"] == {"x": [1, 2]}


@pytest.mark.parametrize(
    ("text", "line", "first", "key"),
    [
        ("name: a\nsteps: [1]\nname: b\n", 3, 1, "name"),
        ("search:\n  space:\n    {batch_size: 4, batch_size: 8}\n", 3, 3, "batch_size"),
        ("a: &a {x: 1}\nb: [{y: 1, 'y': 2}]\n", 2, 2, "y"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(text, line, first, key):
    message = f"here: line {line}: the key '{key}' was given on line {first} already; keep one"
    with pytest.raises(SweepError, match=message):
        parse_yaml(text, "here")


def test_a_merged_key_may_be_given_otherwise():
    assert parse_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: *a}\n", "here")["b"] == {"x": 1, "y": 3}


def contradictory(spec_file, **sections):
    spec_file.write_text(yaml.safe_dump(spec_data(**sections)))
    with pytest.raises(SweepError) as caught:
        load_spec(spec_file)
    return str(caught.value)


def test_a_rate_for_all_beside_those_of_the_optimizers_is_refused(spec_file):
    optimizer = {"choices": {"sgd": {"learning_rate": 1e-2}, "adamw": {}}}
    said = contradictory(spec_file, search={"space": {**FIXED, "optimizer": optimizer}})
    assert "search.space: 'learning_rate' is given twice for one trial, as learning_rate and " in said
    assert "optimizer=sgd/learning_rate; keep one" in said
    sweep_that_exists = spec_data(search={"space": {**FIXED, "optimizer": optimizer}})
    assert validate_spec(sweep_that_exists, "stored"), "it can still be looked at"


def test_a_revision_of_a_folder_is_refused(spec_file, tmp_path):
    model = {"architecture": None, "vocab_size": 1024, "pretrained": str(tmp_path), "revision": "main"}
    assert "model.revision: 'main' is of a hub id" in contradictory(spec_file, model=model)


@pytest.mark.parametrize("rate", ["1e-4", "1.0e-4", ".0001", "+1E-4"])
def test_a_rate_as_text_is_that_number_wherever_it_is_read(spec_file, rate):
    """YAML reads 1e-4 as a text."""
    number = make_spec(search={"space": {**FIXED, "learning_rate": 1e-4}, "sampler": "grid", "trials": None})
    text = make_spec(search={"space": {**FIXED, "learning_rate": rate}, "sampler": "grid", "trials": None})
    assert text == number
    spec_file.write_text(dump_spec(text).replace("0.0001", rate))
    assert load_spec(spec_file).search == number.search
    ranged = make_spec(search={"space": {**FIXED, "learning_rate": {"low": "1e-5", "high": rate, "log": True}}})
    assert (ranged.space.dimensions["learning_rate"].low, ranged.space.dimensions["learning_rate"].high) == (1e-5, 1e-4)
    listed = make_spec(search={"space": {**FIXED, "learning_rate": [rate, "2"], "objective": "gradient_ascent"}})
    assert listed.search.space["learning_rate"] == [1e-4, 2]


@pytest.mark.parametrize(
    ("schedule", "horizon"),
    [
        ("constant", Horizon.FREE),
        (["constant", "inverse_sqrt"], Horizon.FREE),
        (["linear", "cosine"], Horizon.FIXED),
        (["constant", "linear"], Horizon.MIXED),
    ],
)
def test_a_sweeps_horizon_is_that_of_the_schedules_that_its_trials_may_have(schedule, horizon):
    spec = make_spec(steps=[2, 5], search={"space": {"batch_size": 4, "learning_rate": 1e-3, "schedule": schedule}})
    assert spec.horizon is horizon
    if horizon is Horizon.MIXED:
        with pytest.raises(ValueError, match="a grid cannot mix schedules"):
            _ = spec.listed_trials
    else:
        assert spec.listed_trials == (len(schedule) if isinstance(schedule, list) else 1) * (
            2 if horizon is Horizon.FIXED else 1
        )


@pytest.mark.parametrize(
    ("probes", "said"),
    [
        ({"relearnin": {}}, "unknown probe 'relearnin'; did you mean 'relearning'?"),
        ({"quantization": {"bitz": [4]}}, "probe 'quantization' has no 'bitz'; did you mean 'bits'?"),
        ({"quantization": {"bits": [3]}}, "probe 'quantization': bits"),
        ([1], "probes"),
    ],
)
def test_a_probe_that_cannot_be_is_refused(probes, said):
    assert said in refusal(spec_data(probes=probes))


def test_a_probe_without_settings_has_its_defaults_and_survives_the_file():
    spec = make_spec(probes={"rewording": None, "quantization": {"bits": [4]}})
    assert spec.probes == {"rewording": {}, "quantization": {"bits": [4]}}
    assert validate_spec(parse_yaml(dump_spec(spec), "dumped"), "dumped") == spec


def test_probes_and_replicates_are_no_part_of_what_a_sweep_without_them_was():
    later = {"probes", "replicates"}
    assert not later & make_spec().identity().keys()
    before = {name: value for name, value in make_spec().model_dump(mode="json").items() if name not in later}
    assert make_spec().identity() == before


BUCKETED = {"distribution": "in", "size": 6, "population": 8, "buckets": ["difficulty", "memorization"]}


def test_buckets_are_sets_that_are_unlearned_in_one_order_beside_the_given_ones():
    sets = {"verses": BUCKETED, "psalms": {**BUCKETED, "buckets": "difficulty"}, "others": {**BUCKETED, "buckets": []}}
    spec = make_spec(data={"forget_sets": sets}, preparation={"references": 1})
    names = ["verses"] + [f"verses-{t}-{n}" for t in ("memorization", "difficulty") for n in ("low", "middle", "high")]
    names += ["psalms", "psalms-difficulty-low", "psalms-difficulty-middle", "psalms-difficulty-high", "others"]
    assert spec.require_forget_sets(None) == list(spec.data.unlearned) == names
    assert [stratum.forget_set for stratum in spec.strata] == names
    assert list(spec.data.forget_sets) == list(sets)
    assert spec.data.forget_set_of("psalms-difficulty-low") == spec.data.forget_sets["psalms"]


@pytest.mark.parametrize(
    ("sets", "references", "said"),
    [
        (
            {"v": BUCKETED},
            0,
            "data.forget_sets.v.buckets: memorization and difficulty of examples are measured",
        ),
        ({"v": {**BUCKETED, "size": 2}}, 1, "buckets: thirds need at least 3 examples, and size is 2"),
        ({"v": BUCKETED, "v-difficulty-low": BUCKETED}, 1, "forget_sets.v-difficulty-low: it is the name of a bucket"),
        ({"v-difficulty-low": BUCKETED, "v": BUCKETED}, 1, "forget_sets.v-difficulty-low: it is the name of a bucket"),
        ({"v" * 70: BUCKETED}, 1, "names have at most 80"),
        ({"v": {**BUCKETED, "buckets": "exposure"}}, 1, "buckets"),
    ],
    ids=["no_reference", "few_examples", "taken_after", "taken_before", "long", "unknown"],
)
def test_buckets_that_cannot_be_are_refused(sets, references, said):
    assert said in refusal(spec_data(data={"forget_sets": sets}, preparation={"references": references}))
