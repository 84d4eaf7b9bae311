"""Templates of canaries: text with fields, each a provider of Faker. Their values do not depend on the date."""

import difflib
from inspect import signature
from string import Formatter
from typing import Any

from faker import Faker

from trainables.config import TemplateConfig
from trainables.errors import UnlearningError

_LATEST_S = 1_735_689_600
"""Unix time (the first second of 2025) that Faker uses in place of now, as the latest date that it makes up."""

_DATE_DEPENDENT = frozenset((
    "am_pm", "credit_card_expire", "credit_card_full", "date_between", "date_between_dates", "date_of_birth",
    "date_this_century", "date_this_decade", "date_this_month", "date_this_year", "date_time_between",
    "date_time_between_dates", "date_time_this_century", "date_time_this_decade", "date_time_this_month",
    "date_time_this_year", "day_of_month", "day_of_week", "firefox", "future_date", "future_datetime", "month",
    "month_name", "passport_dates", "passport_dob", "passport_full", "passport_gender", "past_date",
    "past_datetime", "profile", "simple_profile", "time_delta", "time_series", "user_agent", "year",
))  # fmt: skip
"""Providers whose values depend on the date or on other sources of randomness, so that they are not reproducible."""
_NO_TEXT = frozenset((
    "binary", "csv", "dsv", "enum", "fixed_width", "image", "json", "json_bytes", "psv", "pydict", "pyiterable",
    "pylist", "pyobject", "pyset", "pystruct", "pytuple", "tar", "tsv", "xml", "zip",
))  # fmt: skip
"""Providers whose values are not plain text."""


def fields_of(text: str) -> list[str]:
    """Return the fields of a template, ``name`` or ``name:2``, in order.

    Raises:
        UnlearningError: the braces do not match.
    """
    return [name for _, name in _pieces(text) if name is not None]


def fill(text: str, fake: Faker, values: dict[str, str]) -> str:
    """Return a template with its fields filled in. Values that ``values`` lacks are drawn and added to it."""
    filled = ""
    for literal, name in _pieces(text):
        filled += literal
        if name is not None:
            if name not in values:
                values[name] = _value(fake, name.partition(":")[0])
            filled += values[name]
    return filled


def check_template(template: TemplateConfig) -> None:
    """Check that Faker can fill in a template.

    Raises:
        UnlearningError: the braces do not match, or a field is not a provider or not one that can be used.
    """
    known = _providers(Faker("en_US"))
    fields = [*fields_of(template.prompt), *fields_of(template.completion)]
    for name in (field.partition(":")[0] for field in fields):
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=3)
            nearest = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
            raise UnlearningError(
                f"template: Faker has no '{name}' for {{{name}}}; {nearest}allowed: the standard providers at "
                f"https://faker.readthedocs.io, for example name, city, company, date, ssn; '{{{{' is a brace"
            )
        if name in _DATE_DEPENDENT:
            raise UnlearningError(
                f"template: '{name}' gives other values on another day, and so another sweep; use date, time or "
                f"random_int, whose values stay"
            )
    if not fields_of(template.completion):
        raise UnlearningError("template: the completion has no field, so that all canaries would end alike")


def _pieces(text: str) -> list[tuple[str, str | None]]:
    """Return the literal texts of a template, each with the field that follows it."""
    try:
        parsed = list(Formatter().parse(text))
    except ValueError as error:
        raise UnlearningError(
            f"template: {error} in '{text}'; a field is {{name}}, and a brace of the text is doubled"
        ) from error
    return [(literal, name if name is None or not which else f"{name}:{which}") for literal, name, which, _ in parsed]


def _providers(fake: Faker) -> set[str]:
    names = {name for provider in fake.get_providers() for name in dir(provider) if not name.startswith("_")}
    return {name for name in names - _NO_TEXT if callable(getattr(fake, name, None))}


def _value(fake: Faker, name: str) -> str:
    provider: Any = getattr(fake, name)
    fixed = {"end_datetime": _LATEST_S} if "end_datetime" in signature(provider).parameters else {}
    return str(provider(**fixed))
