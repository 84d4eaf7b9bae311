"""The page's JavaScript, packed by another process while a run goes on."""

import subprocess

import pytest

from orchestrator import page_script
from orchestrator.page_script import javascript, packed_ahead


def packers(monkeypatch):
    """Note the processes that are started."""
    started, popen = [], subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: (started.append(popen(*a, **k)), started[-1])[1])
    return started


def test_another_process_packs_the_same_script(monkeypatch):
    expected = javascript()
    monkeypatch.setattr(page_script.vl_convert, "javascript_bundle", None)  # it is not packed here
    with packed_ahead() as script:
        assert script() == expected


def test_a_packer_that_fails_is_made_good(monkeypatch):
    started = packers(monkeypatch)
    monkeypatch.setattr(page_script.vl_convert, "javascript_bundle", lambda _: "packed here")
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


def test_a_packer_does_not_import_from_the_current_folder(monkeypatch, tmp_path):
    (tmp_path / "vl_convert.py").write_text("raise RuntimeError('taken for a library')\n")
    expected = javascript()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(page_script.vl_convert, "javascript_bundle", None)
    with packed_ahead() as script:
        assert script() == expected
