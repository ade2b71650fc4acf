"""The world of test_ingress.py: apps behind a stand-in Supervisor, a browser, and Home Assistant asked from the side."""
import asyncio
import contextlib
import threading

import pytest

import ha_up
import household
from browser import chromium, visits
from fake_ingress import PEER
from fake_supervisor import FakeSupervisor
from harness import fetch, near, until
from installed import installed

PHASES = {"a_power": "sensor.grid_l1_power", "b_power": "sensor.grid_l2_power", "c_power": "sensor.grid_l3_power"}


def aside(coroutine):
    """Run a coroutine in a thread of its own: Playwright's loop runs in this one."""
    answer = []

    def run():
        try:
            answer.append((asyncio.run(coroutine), None))
        except Exception as error:  # noqa: BLE001: handed on
            answer.append((None, error))
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert answer, "no answer in 60 s"
    if answer[0][1]:
        raise answer[0][1]
    return answer[0][0]


def ask_ha(ha, *commands):
    """Commands to Home Assistant, (type, fields) each; the last one's answer."""
    async def call():
        async with ha_up.Session(ha) as ws:
            for kind, fields in commands:
                answer = await ws.call(kind, **fields)
        return answer
    return aside(call())


def power(app):
    """What it serves, W, asked as the page does: this is no reader."""
    return fetch(app.supervisor.ingress_port, "GET", "/live.json", source=PEER).json()["w"]


@pytest.fixture(scope="module")
def browser(ha):
    with chromium() as one:
        yield one


@contextlib.contextmanager
def app_behind(binary, ha, folder, options=None):
    supervisor = FakeSupervisor(ha, options={"meters": [], **(options or {})}).start()
    supervisor.ingress.user = ask_ha(ha, ("auth/current_user", {}))["id"]
    try:
        with installed(binary, folder, supervisor) as app:
            yield app
    finally:
        supervisor.close()
    assert not supervisor.dropped, "every option that is written is in the schema"


@pytest.fixture
def fresh(binary, ha, tmp_path):
    """An app as installed: nothing is configured."""
    with app_behind(binary, ha, tmp_path) as app:
        yield app


@pytest.fixture(scope="module")
def meter(binary, ha, tmp_path_factory):
    """An app that was set up a month ago."""
    ha.set(grid_l1=420, grid_l2=129.5, grid_l3=-37.5)
    with app_behind(binary, ha, tmp_path_factory.mktemp("meter"), PHASES) as app:
        app.start()
        until(lambda: near(power(app), 512), 15)
        app.stop()
        household.fill(app.data)
        app.start()
        until(lambda: near(power(app), 512), 15)
        yield app


@pytest.fixture
def house(ha, meter):
    """The same, with 512 W again."""
    ha.set(grid_l1=420, grid_l2=129.5, grid_l3=-37.5)
    until(lambda: near(power(meter), 512), 5)
    return meter


@pytest.fixture
def energy_settings(ha):
    """Set the grid of the Energy settings; taken back at the end."""
    yield lambda *grid: ask_ha(ha, ("energy/save_prefs", {"energy_sources": list(grid), "device_consumption": []}))
    ask_ha(ha, ("energy/save_prefs", {"energy_sources": [], "device_consumption": []}))


@pytest.fixture
def visit(browser):
    """Open a browser at an app: `visit(app, width=…, locale=…, color_scheme=…)`; its faults are looked at at the end."""
    with visits(browser) as opened:
        def start(app, path="", **options):
            one = opened(app.supervisor.ingress, **options)
            one.go(path)
            return one
        yield start


def phone(visit, app, path="", **options):
    return visit(app, path, width=390, height=844, is_mobile=True, has_touch=True, device_scale_factor=2, **options)


def stored(app, **want):
    """Wait until the Supervisor holds these options; None: it holds no such key."""
    until(lambda: all(app.supervisor.options.get(key) == value for key, value in want.items()), 5, f"{want} in the options")
