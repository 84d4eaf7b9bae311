"""The page's JavaScript, packed by another process while a run goes on."""

import subprocess

import pytest

from orchestrator.report import packed_ahead, page_script
from orchestrator.report.page_script import javascript


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, which is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "unlearn-sweep"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A folder whose cache has what another process packed there, this process could not, and the script it gave."""
    folder = tmp_path_factory.mktemp("packed")
    (folder / "vl_convert.py").write_text("raise RuntimeError('taken for a library')\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setattr(page_script, "_pack", None)
        patch.chdir(folder)
        with packed_ahead() as script:
            return folder, script()


def packers(monkeypatch):
    """Note the processes that are started."""
    started, popen = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: (started.append(popen(*a, **k)), started[-1])[1])
    return started


def test_another_process_packs_the_same_script_and_does_not_import_from_the_current_folder(packed):
    assert packed[1] == javascript()


def test_the_script_is_packed_once(packed, monkeypatch):
    folder, expected = packed
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(page_script, "_pack", None)
    started = packers(monkeypatch)
    with packed_ahead() as script:
        assert script() == expected
    assert javascript() == expected
    assert started == []
    assert [file.suffix for file in (folder / "cache" / "unlearn-sweep").iterdir()] == [".js"]


@pytest.mark.parametrize("content", [b"not a script </script>", b"\xff"])
def test_what_is_kept_damaged_is_packed_anew(cache, monkeypatch, content):
    cache.mkdir(parents=True)
    (cache / page_script._name()).write_bytes(content)
    monkeypatch.setattr(page_script, "_pack", lambda _: "packed")
    assert javascript() == "packed"
    assert (cache / page_script._name()).read_text() == "packed"


def test_it_is_packed_where_nothing_can_be_kept(cache, monkeypatch):
    cache.parent.mkdir()
    cache.write_text("a file in place of the folder")
    monkeypatch.setattr(page_script, "_pack", lambda _: "packed")
    assert javascript() == "packed"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(page_script.Path, "expanduser", raises)
    assert javascript() == "packed"


def raises(_):
    raise RuntimeError("Could not determine home directory.")


def test_a_packer_that_fails_is_made_good(monkeypatch):
    started = packers(monkeypatch)
    monkeypatch.setattr(page_script, "_pack", lambda _: "packed here")
    with packed_ahead() as script:
        started[0].kill()
        assert script() == "packed here"


@pytest.mark.parametrize("error", [None, RuntimeError])
def test_no_packer_outlives_the_run(monkeypatch, error):
    started = packers(monkeypatch)

    def run():
        with packed_ahead():
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()
    assert [process.returncode is not None for process in started] == [True]
