"""The shipped cluster.yaml and what is rendered from it: Ray's schema takes it, and each rule finds what breaks it."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from orchestrator.cli.app import app
from orchestrator.cluster import SHIPPED, check_cluster, dump_cluster, load_cluster, render_cluster, up_command
from orchestrator.errors import SweepError

OPTIONS = {
    "aws": {},
    "gcp": {"project": "my-project"},
    "local": {"hosts": ["head", "one", "two"], "user": "me", "ssh_key": "key"},
}
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user who has a token and a key."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("token")
    (tmp_path / "key").write_text("key")
    return tmp_path


def rendered(provider="aws", **options):
    given = {"storage": "s3://bucket/sweeps", **OPTIONS[provider], **options}
    text = dump_cluster(
        render_cluster(load_cluster(SHIPPED), provider=provider, folder=SHIPPED.parent, **given), "made"
    )
    return yaml.safe_load(text)


def refusal(config, home):
    with pytest.raises(SweepError) as error:
        check_cluster(config, where="file", folder=home)
    return str(error.value)


@pytest.mark.parametrize("provider", OPTIONS)
def test_what_is_rendered_is_ready(provider, home):
    check_cluster(rendered(provider), where="file", folder=home)


def test_as_shipped_only_the_bucket_is_missing(home):
    assert refusal(load_cluster(SHIPPED), SHIPPED.parent).splitlines()[1:] == [
        "  's3://CHANGE-ME/sweeps': replace CHANGE-ME by yours"
    ]


def test_the_five_lines_to_change_are_marked():
    marks = [line for line in SHIPPED.read_text().splitlines() if re.search(r"# \(\d\)", line)]
    assert [line.split(":")[0].strip() for line in marks] == [
        "storage", "max_workers", "region", "availability_zone", "InstanceType",
    ]  # fmt: skip


@pytest.mark.parametrize("provider", ["gcp", "local"])
def test_other_providers_have_the_same_start_commands_and_setup(provider):
    shipped, other = load_cluster(SHIPPED), rendered(provider)
    for key in ("head_setup_commands", "worker_setup_commands", "initialization_commands", *STARTS):
        assert other[key] == shipped[key]
    assert other["setup_commands"][: len(shipped["setup_commands"])] == shipped["setup_commands"]


def test_a_lost_node_is_missed_within_seconds_and_a_stopped_job_may_save():
    shipped = load_cluster(SHIPPED)
    head, worker = (" ".join(shipped[name]) for name in STARTS)
    for setting in (
        "RAY_health_check_period_ms=1000", "RAY_health_check_timeout_ms=5000", "RAY_health_check_failure_threshold=5",
        "RAY_grpc_client_keepalive_time_ms=10000", "RAY_grpc_client_keepalive_timeout_ms=5000",
    ):  # fmt: skip
        assert setting in head
        assert setting in worker
    assert "RAY_JOB_STOP_WAIT_TIME_S=120" in head
    assert "--num-cpus=0 --num-gpus=0" in head


def test_workers_storage_and_whom_to_log_in_as_can_be_set():
    config = rendered("local", workers=1, storage="/shared/sweeps")
    assert (config["max_workers"], config["min_workers"]) == (1, 1)
    assert config["metadata"]["storage"] == "/shared/sweeps"
    assert config["auth"] == {"ssh_user": "me", "ssh_private_key": "key"}
    assert config["provider"] == {"type": "local", "head_ip": "head", "worker_ips": ["one", "two"]}
    assert up_command(config, Path("file")).startswith("RAY_UP_enable_autoscaler_v2=0 ")
    assert rendered("aws", workers=3)["max_workers"] == 3
    assert (
        "my-project" in rendered("gcp")["available_node_types"]["worker"]["node_config"]["serviceAccounts"][0]["email"]
    )


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"provider": "azure"}, "unknown; allowed: aws, gcp, local"),
        ({"provider": "local", "hosts": ["head"]}, "at least one worker"),
        ({"provider": "local", "hosts": ["head", "head"]}, "each once"),
        ({"provider": "aws", "hosts": ["head", "worker"]}, "makes its own machines"),
        ({"provider": "aws", "ssh_key": "key"}, "KeyName"),
        ({"provider": "aws", "project": "p"}, "has no projects"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, found):
    with pytest.raises(SweepError, match=re.escape(found)):
        render_cluster(load_cluster(SHIPPED), folder=SHIPPED.parent, **options)


def change(path, value):
    """Make a change of one setting; ``None`` leaves it out."""

    def changed(config):
        *way, last = path.split("/")
        for name in way:
            config = config[name]
        config.pop(last, None)
        if value is not None:
            config[last] = value

    return changed


def replaced(name, old, new):
    def changed(config):
        config[name] = [command.replace(old, new) for command in config[name]]

    return changed


HEAD, WORKER = STARTS
BROKEN = {
    "a key that Ray does not know": (change("idle_timeout", 3), "top level: Additional properties are not allowed"),
    "a head type that is none": (change("head_node_type", "boss"), "Ray says: `head_node_type` must be one of"),
    "fractional resources": (change("available_node_types/head/resources", {"CPU": 0.5}), "head.resources.CPU: 0.5"),
    "no provider": (change("provider", {"type": "azure"}), "provider.type: found 'azure'"),
    "a worker without the token": (replaced(WORKER, "RAY_AUTH_MODE=token", ""), f"{WORKER}: 'ray start' without token"),
    "a head without the token": (replaced(HEAD, "RAY_AUTH_MODE=token", ""), f"{HEAD}: 'ray start' without token"),
    "the token said to another command": (
        change(WORKER, ["export RAY_AUTH_MODE=token", "ray start --address=$RAY_HEAD_IP:6379"]),
        f"{WORKER}: 'ray start' without token",
    ),
    "Ray's own start commands": (change(HEAD, None), f"{HEAD}: missing"),
    "no Ray": (change(WORKER, ["ray stop"]), f"{WORKER}: no command has 'ray start'"),
    "an open dashboard": (replaced(HEAD, "127.0.0.1", "0.0.0.0"), "--dashboard-host=0.0.0.0 opens"),
    "no autoscaler": (replaced(HEAD, "--autoscaling-config", "--"), "the head starts no workers"),
    "Ray's own setup": (change("setup_commands", None), "setup_commands: missing"),
    "an open port": (
        change("provider/security_group/IpPermissions", [{"FromPort": 8265, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]),
        "ports 8265-all are open to the world (0.0.0.0/0)",
    ),
    "no storage": (change("metadata", None), "metadata.storage: found nothing"),
    "storage on one machine": (change("metadata/storage", "/sweeps"), "metadata.storage: found /sweeps"),
    "no number of workers": (change("max_workers", None), "max_workers: missing"),
    "Ray's own machines": (
        lambda config: [config.pop(key) for key in ("available_node_types", "head_node_type")],
        "available_node_types: missing",
    ),
    "no workers": (change("max_workers", 0), "max_workers: 0 allows no worker"),
    "no worker of any type": (change("available_node_types/worker/max_workers", 0), "none but the head's"),
    "stopped machines": (change("provider/cache_stopped_nodes", True), "spot machines cannot be stopped"),
    "a spot head": (
        change("available_node_types/head/node_config/InstanceMarketOptions", {"MarketType": "spot"}),
        "a spot head takes the whole cluster",
    ),
    "a placeholder": (change("metadata/storage", "s3://CHANGE-ME/sweeps"), "replace CHANGE-ME by yours"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_rule_names_what_breaks_it_and_nothing_else(case, home):
    broken, found = BROKEN[case]
    config = copy.deepcopy(rendered())
    broken(config)
    said = refusal(config, home).splitlines()
    assert len(said) == 2, said
    assert found in said[1]


def test_a_token_that_is_not_shipped_or_not_there_is_missed(home):
    config = rendered()
    del config["file_mounts"]["~/.ray/auth_token"]
    assert "the token is not copied" in refusal(config, home)
    (home / ".ray" / "auth_token").unlink()
    assert "ray get-auth-token --generate" in refusal(rendered(), home)
    assert "auth.ssh_private_key: there is no lost" in refusal(rendered("local", ssh_key="lost"), home)


def test_all_problems_are_named_at_once(home):
    config = rendered(storage="s3://CHANGE-ME/sweeps", workers=1)
    change("setup_commands", None)(config)
    assert len(refusal(config, home).splitlines()) == 3


def test_the_commands_render_and_check(home, monkeypatch):
    monkeypatch.chdir(home)
    options = ["--provider", "local", "--hosts", "a, b", "--storage", "s3://b/s", "--ssh-key", "key", "--out", "file"]
    made = CliRunner().invoke(app, ["cluster", "render", *options], catch_exceptions=False)
    assert "RAY_UP_enable_autoscaler_v2=0 ray up file" in made.output
    checked = CliRunner().invoke(app, ["cluster", "check", "file"], catch_exceptions=False)
    assert "file: ready: local, at most 1 workers, sweeps in s3://b/s" in checked.output
    printed = CliRunner().invoke(app, ["cluster", "render", "--workers", "2"], catch_exceptions=False)
    assert yaml.safe_load(printed.stdout)["max_workers"] == 2


def test_the_file_that_others_are_made_of_is_kept_and_named_where_it_is_none(monkeypatch):
    monkeypatch.chdir(SHIPPED.parent)
    options = ["--provider", "local", "--hosts", "a,b", "--out", "cluster.yaml"]
    made = CliRunner().invoke(app, ["cluster", "render", *options])
    assert isinstance(made.exception, SweepError)
    with pytest.raises(SweepError, match="lacks metadata"):
        render_cluster(load_cluster(SHIPPED) | {"metadata": None}, provider="aws", folder=SHIPPED.parent)


@pytest.mark.parametrize(("text", "found"), [(None, "No such file"), ("[", "not valid YAML"), ("- a", "found list")])
def test_a_file_that_is_none_is_refused(text, found, tmp_path):
    path = tmp_path / "cluster.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SweepError, match=found):
        load_cluster(path)
