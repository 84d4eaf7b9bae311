"""Ray's own AWS launcher, on a simulated AWS (moto), starts what the shipped cluster.yaml asks for."""

import json
from unittest.mock import Mock

import boto3
import pytest
from moto import mock_aws
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.v2 import autoscaler
from ray.autoscaler.v2.instance_manager.config import FileConfigReader
from ray.core.generated.autoscaler_pb2 import (
    ClusterResourceState,
    NodeState,
    NodeStatus,
    ResourceRequest,
    ResourceRequestByCount,
)

from orchestrator.cluster import SHIPPED, load_cluster, render_cluster
from tests.e2e.hosts import wait_until

WORLD = {"0.0.0.0/0", "::/0"}
REGION = "us-west-2"


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    """An account with the profile that the file's comments make; its user has an empty home."""
    with pytest.MonkeyPatch.context() as patch, mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        iam = boto3.client("iam", REGION)
        iam.create_role(RoleName="unlearn-sweep", AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName="unlearn-sweep")
        iam.add_role_to_instance_profile(InstanceProfileName="unlearn-sweep", RoleName="unlearn-sweep")
        yield boto3.client("ec2", REGION)


@pytest.fixture(scope="module")
def provider(aws):
    return _get_node_provider(shipped()["provider"], "unlearn-sweep")


@pytest.fixture(scope="module")
def bootstrapped(aws, provider):
    """The file after Ray has made keys and security group, and detected what the machines have."""
    config = provider.fillout_available_node_types_resources(prepare_config(shipped()))
    return provider.bootstrap_config(config)


def shipped():
    return render_cluster(load_cluster(SHIPPED), provider="aws", folder=SHIPPED.parent, storage="s3://bucket/sweeps")


def started(aws, provider, bootstrapped, kind):
    """Start a machine of a kind as Ray does, and look at it."""
    node_config = bootstrapped["available_node_types"][kind]["node_config"]
    provider.create_node(node_config, {"ray-user-node-type": kind}, 1)
    (instance,) = machines(aws, {"ray-user-node-type": kind})
    return instance


def machines(aws, tags):
    asked = [{"Name": f"tag:{name}", "Values": [value]} for name, value in tags.items()]
    return [one for found in aws.describe_instances(Filters=asked)["Reservations"] for one in found["Instances"]]


def rules(aws, group):
    (found,) = aws.describe_security_groups(Filters=[{"Name": "group-name", "Values": [group]}])["SecurityGroups"]
    return found["IpPermissions"]


def world(permissions):
    """Return the ports that are open to the world."""
    return [p.get("FromPort") for p in permissions for r in p["IpRanges"] if r["CidrIp"] in WORLD]


def test_the_head_is_on_demand_and_a_worker_is_a_spot_machine_with_a_gpu(aws, provider, bootstrapped):
    head = started(aws, provider, bootstrapped, "head")
    worker = started(aws, provider, bootstrapped, "worker")
    assert (head["InstanceType"], "InstanceLifecycle" in head) == ("m6i.xlarge", False)
    assert (worker["InstanceType"], worker["InstanceLifecycle"]) == ("g6.2xlarge", "spot")
    for instance in (head, worker):
        assert instance["IamInstanceProfile"]["Arn"].endswith("/unlearn-sweep"), "it reaches the bucket"
        assert instance["SecurityGroups"][0]["GroupName"] == "unlearn-sweep"


def test_the_autoscaler_starts_a_spot_machine_for_a_trial_that_waits_and_installs_there(
    aws, provider, bootstrapped, tmp_path, monkeypatch
):
    """Version 2, which ``ray up`` takes by default; the cluster's state and SSH are simulated."""
    tags = {"ray-user-node-type": "head", "ray-node-type": "head"}
    provider.create_node(bootstrapped["available_node_types"]["head"]["node_config"], tags, 1)
    (head_id,) = provider.non_terminated_nodes({"ray-node-type": "head"})
    here = {"node:__internal_head__": 1.0}
    head = NodeState(
        node_id=b"head", instance_id=head_id, ray_node_type_name="head", status=NodeStatus.RUNNING,
        total_resources=here, available_resources=here,
    )  # fmt: skip
    trial = ResourceRequestByCount(request=ResourceRequest(resources_bundle={"CPU": 1, "GPU": 1}), count=1)
    waiting = ClusterResourceState(
        cluster_resource_state_version=1, node_states=[head], pending_resource_requests=[trial]
    )
    installed = []
    monkeypatch.setattr(autoscaler, "get_cluster_resource_state", lambda _: waiting)
    monkeypatch.setattr(
        autoscaler.RayInstaller, "install_ray", lambda _, instance, head_ip: installed.append(instance.instance_type)
    )
    file = tmp_path / "ray_bootstrap_config.yaml"
    file.write_text(json.dumps({k: v for k, v in bootstrapped.items() if k != "head_node"} | {"file_mounts": {}}))
    scaling = autoscaler.Autoscaler("session", FileConfigReader(str(file)), Mock(address="10.0.0.1:6379"))
    wait_until(lambda: scaling.update_autoscaling_state() and installed, "Ray's installation on a new machine")
    (worker,) = machines(aws, {"ray-user-node-type": "worker", "ray-launch-config": "*"})
    assert (worker["InstanceType"], worker["InstanceLifecycle"]) == ("g6.2xlarge", "spot")


def test_the_resources_are_found_out_and_the_head_runs_no_trials(bootstrapped):
    kinds = bootstrapped["available_node_types"]
    assert kinds["head"]["resources"]["CPU"] == 0
    found = kinds["worker"]["resources"]
    assert (found["CPU"], found["GPU"], found["accelerator_type:L4"]) == (8, 1, 1)
    assert (kinds["worker"]["min_workers"], kinds["worker"]["max_workers"]) == (0, 8)
    assert len(kinds["worker"]["node_config"]["SubnetIds"]) == 3, "a zone each"


def test_nothing_but_ssh_is_open_to_the_world(aws, bootstrapped):
    assert world(rules(aws, "unlearn-sweep")) == [22]


def test_a_group_made_before_as_the_comments_say_is_left_closed(aws, provider):
    vpc = aws.describe_vpcs()["Vpcs"][0]["VpcId"]
    group = aws.create_security_group(GroupName="closed", Description="SSH from one address", VpcId=vpc)["GroupId"]
    own = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
    aws.authorize_security_group_ingress(GroupId=group, IpPermissions=[own, ssh])
    config = shipped()
    config["provider"]["security_group"]["GroupName"] = "closed"
    provider.bootstrap_config(prepare_config(config))
    assert len(rules(aws, "closed")) == 2
    assert world(rules(aws, "closed")) == []
