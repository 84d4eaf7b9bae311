"""Paths as users write them: which are paths, and their absolute form."""

import pytest

from trainables.paths import absolute, is_path


@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "a file.jsonl").touch()
    (tmp_path / "other" / "deep").mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "other" / "deep")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    return folder


SPELLINGS = [
    "data/a file.jsonl", "./data/a file.jsonl", "data/../data/./a file.jsonl", "../here/data//a file.jsonl",
    "~/here/data/a file.jsonl",
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_a_path_is_one_absolute_path(here, spelling):
    assert absolute(spelling) == str(here / "data" / "a file.jsonl")
    assert absolute(absolute(spelling)) == absolute(spelling)


def test_a_file_url_is_its_path(here):
    assert absolute((here / "data" / "a file.jsonl").as_uri()) == str(here / "data" / "a file.jsonl")


@pytest.mark.parametrize("uri", ["s3://bucket/a/../b.jsonl", "hf://datasets/owner/name", "memory://x"])
def test_other_uris_stay_as_they_are(here, uri):
    assert absolute(uri) == uri
    assert not is_path(uri)


def test_what_leaves_a_linked_folder_is_where_the_system_finds_it(here):
    assert absolute("link/x") == str(here / "link" / "x")
    assert absolute("link/../x") == str(here.parent / "other" / "x")


@pytest.mark.parametrize(
    "name", ["data", "./data", "../nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "my model", "."]
)
def test_what_is_here_or_can_be_no_id_is_a_path(here, name):
    assert is_path(name)


@pytest.mark.parametrize(
    "name", ["gpt2", "owner/name", "meta-llama/Llama-3.2-1B", "owner/name/file.gguf", "package:llm/model.gguf"]
)
def test_an_id_of_the_hub_or_a_package_is_none(here, name):
    assert not is_path(name)
