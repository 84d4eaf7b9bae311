"""No password or key of a URI is printed or written down: it is refused where it is given."""

import pytest

from orchestrator.cluster import Jobs, require_reachable
from orchestrator.errors import SweepError
from orchestrator.ledger import open_sweep
from orchestrator.spec import amend_spec, load_spec
from orchestrator.storage import masked, open_storage, require_no_secret
from tests.orchestrator.helpers import make_spec

SECRET = "wJalr/XUtn+FEMI"
WITH_SECRETS = [
    f"s3://AKIA:{SECRET}@bucket/sweeps",
    f"sftp://me:{SECRET}@host:22/sweeps",
    f"simplecache::ftp://me:{SECRET}@host/sweeps",
    f"https://host/data.parquet?X-Amz-Signature={SECRET}&part=1",
    f"abfs://container@account.dfs.core.windows.net/a?sig={SECRET}",
]
WITHOUT = [
    "s3://bucket/sweeps", "abfs://container@account.dfs.core.windows.net/sweeps", "hdfs://me@host:8020/sweeps",
    "http://127.0.0.1:9000/a@1", "sweeps/a:b@c", "hf://datasets/a@main/b", "https://host/x?monkey=1",
]  # fmt: skip


@pytest.mark.parametrize("uri", WITH_SECRETS)
def test_a_secret_is_masked_and_refused_by_name_of_the_place(uri):
    assert SECRET not in masked(f"not found: {uri}")
    assert "***" in masked(uri)
    for refuse in (
        open_storage,
        open_sweep,
        require_reachable,
        Jobs,
        lambda text: load_spec("demo", overrides=(f"model.pretrained={text}",)),
        lambda text: amend_spec(make_spec(), [f"model.pretrained={text}"]),
    ):
        with pytest.raises(SweepError, match="has a password or key in it") as raised:
            refuse(uri)
        assert SECRET not in str(raised.value)


def test_a_spec_file_with_a_secret_is_refused(tmp_path):
    file = tmp_path / "spec.yaml"
    file.write_text(f"name: s\ndata: {{corpus: {{source: {{path: '{WITH_SECRETS[0]}'}}}}}}\n")
    with pytest.raises(SweepError, match=r"spec\.yaml: .* has a password or key in it") as raised:
        load_spec(file)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("uri", WITHOUT)
def test_a_user_a_port_and_a_revision_are_no_secrets(uri):
    assert masked(uri) == uri
    require_no_secret(uri, "storage", "")
