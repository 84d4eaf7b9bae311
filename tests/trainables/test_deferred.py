"""Functions that are imported when they are first called."""

import inspect
import pickle
import subprocess
import sys

import pytest

from trainables.deferred import Deferred
from trainables.objectives import OBJECTIVES
from trainables.optim import OPTIMIZERS


def test_naming_a_function_imports_nothing_and_calling_it_does():
    program = """
import sys
from trainables.deferred import Deferred
turn = Deferred("colorsys", "rgb_to_hsv")
before = "colorsys" in sys.modules
print(before, turn(1.0, b=0.0, g=0.0), "colorsys" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False (0.0, 1.0, 1.0) True\n", done.stderr


def test_what_is_replaced_in_the_module_is_what_is_called(monkeypatch):
    monkeypatch.setattr("colorsys.rgb_to_hsv", lambda: "replaced")
    assert Deferred("colorsys", "rgb_to_hsv")() == "replaced"


def test_it_makes_a_plain_function_of_its_name():
    function = Deferred("colorsys", "rgb_to_hsv").as_function()
    assert inspect.isfunction(function)
    assert (function.__name__, function(1.0, b=0.0, g=0.0)) == ("rgb_to_hsv", (0.0, 1.0, 1.0))


def test_it_travels_by_name():
    assert pickle.loads(pickle.dumps(Deferred("colorsys", "rgb_to_hsv"))) == Deferred("colorsys", "rgb_to_hsv")


@pytest.mark.parametrize("function", [Deferred("colorsys", "nothing"), Deferred("no_such_module", "nothing")])
def test_a_name_that_leads_nowhere_is_an_error_when_it_is_called(function):
    with pytest.raises((AttributeError, ImportError), match=r"nothing|no_such_module"):
        function()


def test_every_registered_function_is_there():
    registered = [*(o.loss for o in OBJECTIVES.values()), *(o.build for o in OPTIMIZERS.values())]
    deferred = [function for function in registered if isinstance(function, Deferred)]
    assert len(deferred) == len(registered)
    assert all(callable(function.resolve()) for function in deferred)
