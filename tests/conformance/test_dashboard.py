"""The page of a plain run, on its own listener; with a browser, through ingress: test_ingress.py."""
import re

import pytest

from harness import fetch, until


@pytest.fixture
def meter(replay):
    return replay(600.0, -88.0, 0.0)


def test_values_are_in_the_html(meter):
    answer = fetch(meter.dashboard_port, "GET", "/")
    assert answer.status == 200 and "512" in answer.text and answer.headers["content-type"].startswith("text/html")
    assert "default-src" in answer.headers["content-security-policy"]
    assert not re.search(r'(src|href)="(https?:)?//', answer.text), "nothing from elsewhere"


def test_host_is_checked(meter):
    assert fetch(meter.dashboard_port, "GET", "/", headers={"Host": "evil.example"}).status in (400, 403, 421)


def test_overview_has_the_originals_keys(meter):
    meter.em()
    overview = until(lambda: meter.admin(), 3)
    assert {"device", "values", "metrics", "clients", "ts"} <= set(overview)
    assert {"em", "emdata"} <= set(overview["values"]) and {"http", "ws", "udp"} <= set(overview["metrics"])
    assert {"total", "by_method", "errors"} <= set(overview["metrics"]["http"])
    power = fetch(meter.dashboard_port, "GET", "/ui/power").json()
    assert {"ts", "current", "history", "forecast", "model"} <= set(power)
