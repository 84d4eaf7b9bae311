"""Entry points of installed packages: known by their metadata, imported when they are named, refused when broken."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins import OBJECTIVE, write_metadata, write_plugin
from trainables.errors import UnlearningError
from trainables.objectives import OBJECTIVES, Objective
from trainables.plugins import PackageEntry, Registry, load_plugins, plugin_files

GROUP = "unlearn_sweep.objectives"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that packages are installed into."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)
    yield site
    for name in set(sys.modules) - before:
        if name.startswith("site_"):
            del sys.modules[name]


def registry() -> Registry[Objective]:
    shipped = Objective(loss=lambda *_: None, source="arXiv")  # type: ignore[arg-type, return-value]
    return Registry("objective", Objective, group=GROUP, shipped={"npo": shipped})


def test_a_package_is_imported_when_its_entry_is_named_and_not_before(site: Path) -> None:
    write_metadata(site, "site-one", {"scaled": "site_one:SCALED"})
    (site / "site_one.py").write_text(OBJECTIVE)
    found = registry()
    assert "scaled" in found
    assert found.names() == ["npo", "scaled"]
    assert found["npo"] is found.shipped["npo"]
    assert list(found) == ["npo"], "looking through the entries imports nothing"
    assert "site_one" not in sys.modules
    assert found["scaled"].source == "my own"
    assert found["scaled"] is found["scaled"]
    assert sorted(found) == found.names() == sorted(found.load_all())
    assert sorted(found.shipped) == ["npo"]
    origin = found.origin("scaled")
    assert isinstance(origin, PackageEntry)
    assert (origin.package, origin.version, origin.source()) == ("site-one", "0.3", OBJECTIVE.encode())
    with pytest.raises(KeyError):
        found["other"]


@pytest.mark.parametrize(
    ("value", "text", "said"),
    [
        ("site_two:SCALED", "import no_such_module", r"\(ModuleNotFoundError: No module named 'no_such_module'\)"),
        ("site_two:SCALED", "raise SystemExit(0)", r"\(SystemExit: 0\)"),
        ("site_two:OTHER", OBJECTIVE, r"\(AttributeError: .*OTHER.*\)"),
        ("site_two:scaled_ascent", OBJECTIVE, "is of type function, and has to be an instance of trainables.objecti"),
    ],
)
def test_a_broken_entry_is_named_by_its_package_and_entry_point(site: Path, value: str, text: str, said: str) -> None:
    write_metadata(site, "site-two", {"scaled": value})
    (site / "site_two.py").write_text(text)
    found = registry()
    who = f"objective 'scaled': the entry point 'scaled = {value}' of the package site-two 0.3"
    with pytest.raises(UnlearningError, match=f"{who} .*{said}.*; repair or uninstall that package"):
        found["scaled"]
    assert found["npo"], "others go on"
    assert "scaled" in found


def test_a_name_that_is_taken_is_refused_whoever_takes_it(site: Path, tmp_path: Path) -> None:
    write_metadata(site, "site-three", {"npo": "site_three:SCALED", "twice": "site_three:SCALED"})
    write_metadata(site, "site-four", {"twice": "site_four:SCALED", "once": "site_four:SCALED"})
    found = registry()
    with pytest.raises(
        UnlearningError, match=r"'npo': the name is taken more than once: .*site-three.* by this project"
    ):
        found["npo"]
    with pytest.raises(UnlearningError, match=r"'twice': .*the package site-.* and by .*the package site-"):
        found["twice"]
    for name in ("npo", "once"):
        with pytest.raises(UnlearningError, match=f"objective '{name}' is registered already; choose another name"):
            found.register(name, found.shipped["npo"])
    assert "site_three" not in sys.modules


def test_a_plugin_file_cannot_take_the_name_of_a_package(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_metadata(site, "site-five", {"scaled_ascent": "site_five:SCALED"})
    monkeypatch.setattr(plugin_files, "_RAN", {})
    monkeypatch.delitem(OBJECTIVES.__dict__, "_of_packages", raising=False)
    try:
        with pytest.raises(UnlearningError, match="objective 'scaled_ascent' is registered already"):
            load_plugins([write_plugin(tmp_path)])
    finally:
        OBJECTIVES.__dict__.pop("_of_packages", None)
