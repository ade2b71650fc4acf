"""Options of an app against the schema of its config.yaml, as the Supervisor checks them (supervisor/addons/options.py).

Unknown keys are dropped (and named here), null and missing required ones refused, values coerced by their type.
"""
import re

import yaml

from harness import ROOT

TYPE = re.compile(
    r"^(?P<kind>bool|email|url|port|str|password|int|float|match|list)"
    r"(?:\((?P<inside>.*)\))?(?P<optional>\?)?$")


class Refused(ValueError):
    """The Supervisor's message."""


def schema():
    return yaml.safe_load((ROOT / "config.yaml").read_text())["schema"]


def defaults():
    """What the Supervisor adds to what is stored."""
    return yaml.safe_load((ROOT / "config.yaml").read_text())["options"]


def check(options):
    """(the options as they are stored, names of those that were dropped); `Refused` with what is wrong."""
    dropped = []
    return _members(schema(), options, "root", dropped), dropped


def _members(kinds, given, name, dropped):
    if not isinstance(given, dict):
        raise Refused(f"expected a dictionary for {name}")
    out = {}
    for key, value in given.items():
        if key not in kinds:
            dropped.append(key)
        else:
            out[key] = _value(kinds[key], key, value, dropped)
    for key, kind in kinds.items():
        optional = isinstance(kind, str) and kind.endswith("?") or isinstance(kind, list) and isinstance(kind[0], str) and kind[0].endswith("?")
        if key not in out and not optional:
            raise Refused(f"Missing option '{key}' in {name} in Virtual Shelly Pro 3EM (local_virtual_shelly)")
    return out


def _value(kind, key, value, dropped):
    if value is None:
        raise Refused(f"Missing required option '{key}' in Virtual Shelly Pro 3EM (local_virtual_shelly)")
    if isinstance(kind, list):
        if not isinstance(value, list):
            raise Refused(f"Invalid list for option '{key}' in Virtual Shelly Pro 3EM (local_virtual_shelly)")
        return [_value(kind[0], key, one, dropped) for one in value]
    if isinstance(kind, dict):
        return _members(kind, value, key, dropped)
    return _scalar(kind, key, value)


def _scalar(kind, key, value):
    found = TYPE.match(kind)
    assert found, f"the schema's {kind} is no type"
    name, inside = found["kind"], found["inside"]

    def wrong(expected):
        raise Refused(f"expected {expected} for dictionary value @ data['options']. Got {value!r} for '{key}'")
    if name == "bool":
        return value if isinstance(value, bool) else wrong("bool")
    if name in ("match", "list") and isinstance(value, (int, float)):
        value = str(value)
    if name in ("str", "password", "email", "url", "match", "list") and not isinstance(value, str):
        wrong("str")
    if name in ("int", "port", "float"):
        if isinstance(value, (bool, list, dict)):
            wrong(name)
        try:
            number = float(value) if name == "float" else int(value)
        except ValueError:
            wrong(name)
        low, high = ("1", "65535") if name == "port" else (inside or ",").split(",")
        if low and number < float(low) or high and number > float(high):
            wrong(f"a value from {low} to {high}")
        return number
    if name == "match" and not re.match(inside, value):
        wrong(f"a value that matches {inside}")
    if name == "list" and value not in inside.split("|"):
        wrong(f"one of {inside}")
    if name == "url" and not re.match(r"^[a-z][a-z0-9+.-]*://[^/]+", value):
        wrong("a URL")
    if name == "str" and inside:
        low, high = inside.split(",")
        if low and len(value) < int(low) or high and len(value) > int(high):
            wrong(f"a length from {low} to {high}")
    return value
