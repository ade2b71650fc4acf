"""Entities that are renamed in a real Home Assistant are followed, in every kind of option, live and over a stop."""
import asyncio
import json
import sqlite3

import pytest

import ha_up
from fake_supervisor import FakeSupervisor
from harness import fetch, free_port, near, until
from installed import IMAGE, installed
from test_home_assistant import energy_settings  # noqa: F401: a fixture


async def _rename(ha, pairs):
    async with ha_up.Session(ha) as ws:
        for old, new in pairs:
            await ws.call("config/entity_registry/update", entity_id=old, new_entity_id=new)


@pytest.fixture
def rename(ha):
    """Rename entities in this order; all get their first names back at the end."""
    done = []

    def change(*pairs):
        asyncio.run(_rename(ha, pairs))
        done.extend(pairs)
    yield change
    asyncio.run(_rename(ha, [(new, old) for old, new in reversed(done)]))


def options(meter):
    return json.loads(meter.options_file.read_text())


def test_a_rename_is_followed_at_once_and_written(ha, new_meter, rename):
    """An owner tidied up names in Home Assistant, and the battery stood still until somebody looked."""
    ha.set(grid_power=512)
    meter = new_meter({"total_power": "sensor.grid_power", "hold": 10}, ha=ha).start()
    meter.until_total(512, 10)
    until(lambda: "sensor.grid_power" in json.dumps(options(meter)) and meter.get("/healthz").json()["status"] == "ok", 10)
    rename(("sensor.grid_power", "sensor.house_total"))
    until(lambda: options(meter)["total_power"] == "sensor.house_total", 10)
    ha.set(grid_power=-77)
    meter.until_total(-77, 5)
    assert "sensor.grid_power is called sensor.house_total in Home Assistant now" in meter.log()
    page = fetch(meter.dashboard_port, "GET", "/", headers={"Accept-Language": "de"}).text
    assert "heißt in Home Assistant jetzt sensor.house_total" in page
    health = meter.get("/healthz").json()
    assert health["status"] == "ok" and any("sensor.house_total" in line for line in health["problems"])
    # By now the registry's events are heard: no question is needed.
    rename(("sensor.house_total", "sensor.house_again"))
    until(lambda: options(meter)["total_power"] == "sensor.house_again", 1.5)
    meter.options = options(meter)
    meter.restart()
    meter.until_total(-77, 10)


def test_sums_pairs_energy_and_further_meters(ha, new_meter, rename):
    ha.set(grid_l1=100, grid_l2=-20, grid_l3=7, grid_power=300)
    garage = free_port()
    meter = new_meter({
        "total_power": "sensor.grid_l1_power, sensor.grid_l2_power", "energy_import": "sensor.grid_import_energy",
        "meters": [{"name": "garage", "a_power": "sensor.grid_l3_power", "http_port": garage}]}, ha=ha).start()
    meter.until_total(80, 10)
    until(lambda: near(fetch(garage, "GET", "/rpc/EM.GetStatus?id=0").json()["total_act_power"], 7), 10)
    # The registry's events are subscribed to a moment after the first values.
    until(lambda: "sensor.grid_l3_power" in json.dumps(meter_state(meter)), 10)
    rename(("sensor.grid_l2_power", "sensor.second"), ("sensor.grid_import_energy", "sensor.drawn"), ("sensor.grid_l3_power", "sensor.shed"))
    until(lambda: options(meter) | {"meters": 0} == {"total_power": "sensor.grid_l1_power, sensor.second", "energy_import": "sensor.drawn",
                                                    "meters": 0} and options(meter)["meters"][0]["a_power"] == "sensor.shed", 15)
    ha.set(grid_l2=50, grid_l3=9)
    meter.until_total(150, 5)
    until(lambda: near(fetch(garage, "GET", "/rpc/EM.GetStatus?id=0").json()["total_act_power"], 9), 5)


def meter_state(meter):
    """What the diagnostics say of what is read."""
    return json.loads(fetch(meter.dashboard_port, "GET", "/diagnostics").text)


def test_names_changed_while_the_meter_was_off(ha, new_meter, rename):
    """Two phases that an electrician had swapped were put right by their names; the third was renamed."""
    ha.set(grid_l1=1, grid_l2=20, grid_l3=300)
    meter = new_meter({"a_power": "sensor.grid_l1_power", "b_power": "sensor.grid_l2_power", "c_power": "sensor.grid_l3_power"}, ha=ha)
    meter.start()
    meter.until_total(321, 10)
    until(lambda: known(meter) >= 3, 15, "the registry's ids are kept")
    meter.stop()
    rename(("sensor.grid_l1_power", "sensor.tmp"), ("sensor.grid_l2_power", "sensor.grid_l1_power"), ("sensor.tmp", "sensor.grid_l2_power"),
           ("sensor.grid_l3_power", "sensor.third"))
    meter.start()
    until(lambda: options(meter) == {"a_power": "sensor.grid_l2_power", "b_power": "sensor.grid_l1_power", "c_power": "sensor.third"}, 15)
    em = meter.until_total(321, 5)
    assert [em[f"{p}_act_power"] for p in "abc"] == [1.0, 20.0, 300.0]


def known_names(meter):
    """What the store keeps of the registry, by name."""
    with sqlite3.connect(f"file:{meter.data / 'virtual-shelly.db'}?mode=ro", uri=True) as database:
        for table, in database.execute("select name from sqlite_master where type = 'table'").fetchall():
            for row in database.execute(f"select * from {table} limit 50").fetchall():
                if row and row[0] == "entities":
                    return json.loads(row[1])
    return {}


def known(meter):
    return len(known_names(meter))


def test_what_the_environment_names_is_followed_and_said(ha, new_meter, rename):
    ha.set(grid_power=64)
    meter = new_meter({}, ha=ha, env={"VIRTUAL_SHELLY_TOTAL_POWER": "sensor.grid_power"})
    meter.start()
    meter.until_total(64, 10)
    until(lambda: known(meter), 15)
    rename(("sensor.grid_power", "sensor.elsewhere"))
    until(lambda: "correct total_power, which the environment or the command line sets" in meter.log(), 10)
    ha.set(grid_power=65)
    meter.until_total(65, 5)
    assert "total_power" not in options(meter)
    meter.restart()
    meter.until_total(65, 15)
    rename(("sensor.elsewhere", "sensor.third_name"))
    ha.set(grid_power=66)
    meter.until_total(66, 10)


# -- values polled over REST, which has no registry: a short WebSocket asks it
def test_over_rest_it_is_followed_too(ha, new_meter, rename):
    ha.set(grid_power=431)
    meter = new_meter({"total_power": "sensor.grid_power", "ha_transport": "rest", "hold": 30}, ha=ha).start()
    meter.until_total(431, 10)
    until(lambda: known(meter), 15)
    rename(("sensor.grid_power", "sensor.polled"))
    until(lambda: options(meter)["total_power"] == "sensor.polled", 10, "as soon as a poll misses it")
    assert near(meter.total(), 431), "the last value goes on under the new name"
    ha.set(grid_power=-31)
    meter.until_total(-31, 5)
    # Two that changed names are both there: a start looks.
    until(lambda: "sensor.polled" in str(known_names(meter)), 15)
    meter.stop()
    rename(("sensor.polled", "sensor.tmp"), ("sensor.grid_l1_power", "sensor.polled"), ("sensor.tmp", "sensor.grid_l1_power"))
    meter.options = options(meter)
    meter.start()
    until(lambda: options(meter)["total_power"] == "sensor.grid_l1_power", 15)
    meter.until_total(-31, 5)


@pytest.mark.parametrize("transport", ["websocket", "rest"])
def test_one_that_was_removed_is_said_and_may_come_back(ha, new_meter, transport):
    ha.set(grid_power=88)
    meter = new_meter({"total_power": "sensor.grid_power", "ha_transport": transport, "hold": 1}, ha=ha).start()
    meter.until_total(88, 10)
    until(lambda: known(meter), 15)
    removed = "sensor.grid_power was removed from Home Assistant: choose another sensor"
    try:
        asyncio.run(_command(ha, "config/entity_registry/remove", entity_id="sensor.grid_power"))
        until(lambda: removed in meter.get("/healthz").text, 15)
        until(lambda: meter.total() is None, 5)
        assert options(meter)["total_power"] == "sensor.grid_power", "nothing else is chosen"
    finally:
        asyncio.run(_command(ha, "call_service", domain="template", service="reload"))
    meter.until_total(88, 20)
    until(lambda: removed not in meter.get("/healthz").text, 45)


async def _command(ha, kind, **fields):
    async with ha_up.Session(ha) as ws:
        return await ws.call(kind, **fields)


# -- where nobody typed an option
def test_what_automatic_set_up_took_is_followed(ha, new_meter, energy_settings, rename):  # noqa: F811
    ha.set(grid_power=640)
    energy_settings({"stat_rate": "sensor.grid_power"})
    meter = new_meter({}, ha=ha).start()
    meter.until_total(640, 20)
    until(lambda: known(meter) >= 3, 15, "its counters too")
    rename(("sensor.grid_power", "sensor.chosen"), ("sensor.grid_import_energy", "sensor.drawn_energy"))
    until(lambda: "sensor.grid_power is called sensor.chosen" in meter.log() and "sensor.drawn_energy" in meter.log(), 10)
    ha.set(grid_power=641)
    meter.until_total(641, 5)
    assert options(meter) == {}, "nothing was typed, nothing is written"
    meter.restart()
    meter.until_total(641, 20)
    ha.set(grid_power=642)
    meter.until_total(642, 5)


@pytest.mark.skipif(bool(IMAGE), reason="the stand-in's own addresses")
@pytest.mark.parametrize("transport, refuses", [("auto", None), ("rest", None), ("auto", "403")])
def test_what_the_supervisor_keeps_is_written_through_it(ha, binary, tmp_path, rename, transport, refuses):
    ha.set(grid_power=71)
    supervisor = FakeSupervisor(ha, options={"meters": [], "total_power": "sensor.grid_power", "ha_transport": transport}).start()
    try:
        with installed(binary, tmp_path, supervisor) as app:
            app.start()
            until(lambda: near(app.total(), 71), 15)
            until(lambda: known(app), 15)
            if refuses:
                supervisor.faults["POST /addons/self/options"] = refuses
            rename(("sensor.grid_power", "sensor.of_the_app"))
            ha.set(grid_power=72)
            if refuses:
                until(lambda: "correct total_power, which could not be written" in app.log(), 15)
            else:
                until(lambda: supervisor.options["total_power"] == "sensor.of_the_app", 15)
            until(lambda: near(app.total(), 72), 10)
            # The Supervisor writes what it keeps at the next start; where it kept the old name, the registry tells again.
            app.restarted()
            until(lambda: app.get("/livez").status == 200, 30)
            ha.set(grid_power=73)
            until(lambda: near(app.total(), 73), 20)
    finally:
        supervisor.close()
