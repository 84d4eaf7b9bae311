"""Ray's own AWS launcher, on a pretended AWS (moto), starts what the shipped cluster.yaml asks for."""

import boto3
import pytest
from moto import mock_aws
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler._private.util import prepare_config

from orchestrator.cluster import SHIPPED, load_cluster, render_cluster

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
    """The file as it is once Ray has made keys and security group, and found out what the machines have."""
    config = provider.fillout_available_node_types_resources(prepare_config(shipped()))
    return provider.bootstrap_config(config)


def shipped():
    return render_cluster(load_cluster(SHIPPED), provider="aws", folder=SHIPPED.parent, storage="s3://bucket/sweeps")


def started(aws, provider, bootstrapped, kind):
    """Start a machine of a kind as Ray does, and look at it."""
    node_config = bootstrapped["available_node_types"][kind]["node_config"]
    provider.create_node(node_config, {"ray-user-node-type": kind}, 1)
    asked = [{"Name": "tag:ray-user-node-type", "Values": [kind]}]
    ((instance,),) = [r["Instances"] for r in aws.describe_instances(Filters=asked)["Reservations"]]
    return instance


def rules(aws, group):
    (found,) = aws.describe_security_groups(Filters=[{"Name": "group-name", "Values": [group]}])["SecurityGroups"]
    return found["IpPermissions"]


def world(permissions):
    """Give the ports that are open to the world."""
    return [p.get("FromPort") for p in permissions for r in p["IpRanges"] if r["CidrIp"] in WORLD]


def test_the_head_is_on_demand_and_a_worker_is_a_spot_machine_with_a_gpu(aws, provider, bootstrapped):
    head = started(aws, provider, bootstrapped, "head")
    worker = started(aws, provider, bootstrapped, "worker")
    assert (head["InstanceType"], "InstanceLifecycle" in head) == ("m6i.xlarge", False)
    assert (worker["InstanceType"], worker["InstanceLifecycle"]) == ("g6.2xlarge", "spot")
    for instance in (head, worker):
        assert instance["IamInstanceProfile"]["Arn"].endswith("/unlearn-sweep"), "it reaches the bucket"
        assert instance["SecurityGroups"][0]["GroupName"] == "unlearn-sweep"


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
