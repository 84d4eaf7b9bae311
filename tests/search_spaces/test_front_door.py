"""The front door of the spaces offers all of them, and loads Optuna only for whoever asks for its part."""

import subprocess
import sys

import search_spaces


def test_optuna_is_loaded_only_for_its_own_part():
    code = (
        "import sys, search_spaces as s; s.settings(s.parse_space({'a': [1, 2]}), {'a': 1}); s.shipped_specs();"
        "print('optuna' in sys.modules); s.suggest; print('optuna' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_it_has_what_it_names():
    assert len(search_spaces.__all__) > 20
    assert [name for name in search_spaces.__all__ if not hasattr(search_spaces, name)] == []
