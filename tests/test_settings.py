"""Settings in Python: what the command line cannot let through is told all the same."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest

import iqlearn as iq
from iqlearn.settings.common import require_choices


@dataclass
class Chosen:
    colour: Any
    size: Any


Chosen.__annotations__.update(colour=Literal["red", "green"], size=int)


def test_a_choice_that_there_is_not_is_told_with_those_that_there_are():
    require_choices(Chosen("green", "large"))
    with pytest.raises(iq.InputError, match=r"^Setting colour is 'blue'; expected one of red, green\.$"):
        require_choices(Chosen("blue", 1))
