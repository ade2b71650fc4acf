"""The dashboard as a person meets it: the app behind the Supervisor's ingress, values of a real Home Assistant Core,
and a real Chromium. Screenshots are kept in target/screenshots."""
import asyncio
import contextlib
import json
import random
import threading
import time

import pytest

import ha_up
from browser import Visit, chromium
from fake_supervisor import FakeSupervisor
from harness import fetch, free_port, near, until
from installed import installed

GRID = {"type": "grid", "stat_energy_from": "sensor.grid_import_energy", "stat_energy_to": "sensor.grid_export_energy",
        "stat_cost": None, "entity_energy_price": None, "number_energy_price": None, "stat_compensation": None,
        "entity_energy_price_export": None, "number_energy_price_export": None, "cost_adjustment_day": 0.0}


def ask_ha(ha, kind, **fields):
    """A command to Home Assistant, from a thread: Playwright's loop runs in this one."""
    async def call():
        async with ha_up.Session(ha) as ws:
            return await ws.call(kind, **fields)
    answer = []
    thread = threading.Thread(target=lambda: answer.append(asyncio.run(call())))
    thread.start()
    thread.join(30)
    return answer[0]


@pytest.fixture(scope="module")
def browser(ha):
    with chromium() as one:
        yield one


@contextlib.contextmanager
def app_behind(binary, ha, folder, options=None):
    supervisor = FakeSupervisor(ha, options={"meters": [], **(options or {})}).start()
    try:
        with installed(binary, folder, supervisor) as app:
            yield app
    finally:
        supervisor.close()


def history(data, days=31):
    """A state.json of the Python original, as a household left it: the charts have something to show."""
    dice, now, rows = random.Random(7), int(time.time()), []
    for ts in range(now - days * 86400, now - 3600, 60):
        hour = (ts / 3600 + 1) % 24
        sun = max(0.0, 1 - ((hour - 13) / 5) ** 2) * (2600 if ts // 86400 % 3 else 900)
        evening = 900 * max(0.0, 1 - ((hour - 19.5) / 3) ** 2)
        rows.append([ts, round(280 + evening - sun + dice.gauss(0, 90) + (1800 if dice.random() < 0.01 else 0), 1)])
    rows += [[ts, round(420 + dice.gauss(0, 60) + (900 if 1500 < now - ts < 1900 else 0), 1)] for ts in range(now - 3600, now - 2, 2)]
    energy = {f"{p}_{way}": kwh for p, kwh in zip("abc", (1234.5, 0, 0)) for way in ("import", "export")}
    (data / "state.json").write_text(json.dumps({"energy": energy, "power_dataset": rows}))


@pytest.fixture(scope="module")
def meter(binary, ha, tmp_path_factory):
    """An app that has been set up, and has a history."""
    ha.set(grid_l1=420, grid_l2=92, grid_l3=-37.5)
    phases = {f"{p}_power": f"sensor.grid_l{n}_power" for n, p in enumerate("abc", 1)}
    with app_behind(binary, ha, tmp_path_factory.mktemp("meter"), {**phases, "hold": 60}) as app:
        history(app.data)
        app.start()
        until(lambda: near(app.total(), 474.5), 15)
        yield app


@pytest.fixture
def visit(browser):
    """Open a browser at an app: `visit(app, width=…, locale=…, color_scheme=…)`; its faults are looked at at the end."""
    visits = []

    def start(app, **options):
        visits.append(Visit(browser, app.supervisor.ingress, **options))
        return visits[-1]
    yield start
    for one in visits:
        one.close()


def test_shots(meter, visit):
    v = visit(meter)
    for page in ("", "energy", "readers", "health", "settings", "setup"):
        v.go(page)
        time.sleep(1)
        v.shot("x-" + (page or "now"))
        print(page, v.axe())
    v.close()
    print(v.faults)
    v = visit(meter, width=390, height=844, color_scheme="dark")
    for page in ("", "energy", "readers", "health", "settings", "setup"):
        v.go(page)
        time.sleep(1)
        v.shot("y-" + (page or "now"))
        print(page, v.axe(), v.page.evaluate("document.documentElement.scrollWidth"))
    
