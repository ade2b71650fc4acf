"""Values of a real Home Assistant Core arrive, and whatever happens to it the same process goes on."""
import asyncio
import html
import json
import re
import subprocess
import time
from datetime import datetime

import pytest

import ha_up
from harness import fetch, near, until

PHASES = {"a_power": "sensor.grid_l1_power", "b_power": "sensor.grid_l2_power", "c_power": "sensor.grid_l3_power"}


async def _save_prefs(ha, grid):
    async with ha_up.Session(ha) as ws:
        await ws.call("energy/save_prefs", energy_sources=grid, device_consumption=[])
        return (await ws.call("energy/get_prefs"))["energy_sources"]


@pytest.fixture
def energy_settings(ha):
    """Set the grid of Home Assistant's Energy settings: `energy_settings(power_config)`; taken back at the end."""
    def save(power_config):
        return asyncio.run(_save_prefs(ha, [{
            "type": "grid", "stat_energy_from": "sensor.grid_import_energy", "stat_energy_to": "sensor.grid_export_energy",
            "stat_cost": None, "entity_energy_price": None, "number_energy_price": None, "stat_compensation": None,
            "entity_energy_price_export": None, "number_energy_price_export": None, "cost_adjustment_day": 0.0,
            "power_config": power_config}]))
    yield save
    asyncio.run(_save_prefs(ha, []))


def _check(meter, *args):
    command = [str(meter.binary), "check", "--options", str(meter.options_file), "--data-dir", str(meter.data), *args]
    return subprocess.run(command, env=meter.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("entity", ["sensor.grid_power", "sensor.grid_power_kw"])
def test_watts_and_kilowatts(ha, new_meter, entity):
    ha.set(grid_power=512)
    meter = new_meter({"total_power": entity}, ha=ha).start()
    meter.until_total(512, 5)
    for watts in (1234.5, -800, 0, 17.3):
        ha.set(grid_power=watts)
        em = meter.until_total(watts, 1)
        assert near(em["a_act_power"], watts) and em["b_act_power"] == 0.0 and em["a_voltage"] == 230.0


def test_the_same_value_again_is_a_report(ha, new_meter):
    """A state written again moves Home Assistant's `last_reported` and makes no event: the age must follow it all the same."""
    entity = "sensor.posted_power"

    def post():
        status, _ = ha.rest("POST", f"/api/states/{entity}", {"state": "812", "attributes": {"unit_of_measurement": "W"}})
        assert status in (200, 201)

    post()
    time.sleep(3)
    meter = new_meter({"total_power": entity}, ha=ha).start()
    meter.until_total(812, 5)

    def age():
        return meter.get("/healthz").json()["last_poll_age"]
    assert age() > 2.5, "as old as Home Assistant says, not as the connection"
    until(lambda: age() > 8, 12, "nobody says anything")
    assert meter.get("/healthz").json()["link_age"] is not None
    post()
    until(lambda: age() < 7, 8, "the same value again was noticed")
    assert re.search(r"virtual_shelly_source_age_seconds [0-6]\.", meter.get("/metrics").text)


def test_phases_and_pair(ha, new_meter):
    ha.set(grid_l1=100.1, grid_l2=-50, grid_l3=25.5, grid_power=-400)
    meter = new_meter(PHASES, ha=ha).start()
    em = meter.until_total(75.6, 5)
    assert [em[f"{p}_act_power"] for p in "abc"] == [100.1, -50.0, 25.5]
    pair = new_meter({"total_power": "sensor.grid_import_power", "total_power_export": "sensor.grid_export_power"}, ha=ha).start()
    pair.until_total(-400, 5)
    ha.set(grid_power=350)
    pair.until_total(350, 1)


@pytest.mark.parametrize("apart", [None, 0.02, 0.15, 0.4], ids=["templates of one sensor", "20 ms", "150 ms", "400 ms"])
async def test_a_pair_that_changes_direction(ha, new_meter, apart):
    """Two sensors of one power: templates, which Home Assistant writes in one turn, or polled one after the other. No reader is told of a
    power between both directions, which never was."""
    loop = asyncio.get_running_loop()
    ids = ("sensor.grid_import_power", "sensor.grid_export_power") if apart is None else (f"sensor.in_{apart * 1000:.0f}", f"sensor.out_{apart * 1000:.0f}")

    def say(watts, import_first=True):
        """How far apart Home Assistant had the two, in seconds."""
        if apart is None:
            ha.set(grid_power=watts)
            return 0
        both = [(ids[0], max(watts, 0)), (ids[1], max(-watts, 0))]
        stamps = []
        for number, (entity, value) in enumerate(both if import_first else reversed(both)):
            if number:
                time.sleep(apart)  # as far apart as the poll has them
            _, state = ha.rest("POST", f"/api/states/{entity}", {"state": str(value), "attributes": {"unit_of_measurement": "W", "device_class": "power"}})
            stamps.append(datetime.fromisoformat(state["last_updated"]))
        return (stamps[1] - stamps[0]).total_seconds()
    await loop.run_in_executor(None, say, 500)
    meter = new_meter({"total_power": ids[0], "total_power_export": ids[1], "ws_notify_interval": 0.0}, ha=ha).start()
    await loop.run_in_executor(None, meter.until_total, 500, 10)
    told, apart_by, counted = [], [], 0
    async with meter.ws() as ws:
        await ws.call("Shelly.GetDeviceInfo")
        # What came before tells how far apart they may be; each a while after the one before, as of a meter that reports now and then.
        for number in range(40):
            watts, heard = (500, -300)[number % 2 == 0], []
            await asyncio.sleep(5 * (apart or 0.1) + 0.5)
            apart_by.append(await loop.run_in_executor(None, say, watts, number % 3 != 1))
            counts = apart_by[-1] <= max(apart_by[-5:-1], default=-1)
            while not heard or not near(heard[-1], watts):
                note = await ws.note(where=lambda frame: "em:0" in frame["params"], seconds=10)
                heard.append(note["params"]["em:0"]["total_act_power"])
            told += heard if counts else []
            counted += counts
            if counted == 5:
                break
    for entity in ids if apart is not None else ():
        ha.rest("DELETE", f"/api/states/{entity}")
    assert counted == 5, apart_by
    assert {round(watts) for watts in told} <= {500, -300}, told


def test_unavailable(ha, new_meter):
    ha.set(grid_l1=230.4, grid_l2=-120, grid_l3=45)
    meter = new_meter({**PHASES, "hold": 2}, ha=ha).start()
    meter.until_total(155.4, 5)
    try:
        ha.available(False)
        began = time.monotonic()
        until(lambda: meter.total() is None, 5, "absent after the hold time")
        assert time.monotonic() - began > 1.5, "held for the hold time first"
        until(lambda: all(meter.em()[f"{p}_act_power"] is None for p in "abc"), 1, "the others follow")
        assert meter.em()["errors"] == ["power_meter_failure"]
        assert meter.get("/healthz").status == 503 and meter.get("/livez").status == 200
    finally:
        ha.available(True)
    meter.until_total(155.4, 1)


def test_killed_and_restarted(own_ha, new_meter):
    own_ha.set(grid_power=512)
    meter = new_meter({"total_power": "sensor.grid_power", "hold": 2}, ha=own_ha).start()
    meter.until_total(512, 5)
    pid, before = meter.process.pid, meter.emdata()
    own_ha.kill()
    until(lambda: meter.em()["total_act_power"] is None, 10, "absent after the hold time")
    own_ha.start()
    own_ha.set(grid_power=321)
    meter.until_total(321, 20)
    assert meter.process.pid == pid and meter.process.poll() is None
    after = meter.emdata()
    assert all(after[k] >= before[k] for k in before), "counters never fall"


def test_restarted_cleanly(own_ha, new_meter):
    own_ha.set(grid_power=512)
    meter = new_meter({"total_power": "sensor.grid_power"}, ha=own_ha).start()
    meter.until_total(512, 5)
    own_ha.stop()
    assert near(meter.total(), 512), "held"
    own_ha.start()
    own_ha.set(grid_power=-45)
    meter.until_total(-45, 20)


def test_started_before_home_assistant(own_ha, new_meter):
    own_ha.stop()
    meter = new_meter({"total_power": "sensor.grid_power"}, ha=own_ha).start()
    em = meter.em()
    assert em["total_act_power"] is None and em["a_act_power"] is None, "no invented 0"
    own_ha.start()
    own_ha.set(grid_power=99)
    meter.until_total(99, 20)


def test_wrong_token(ha, new_meter):
    meter = new_meter({"total_power": "sensor.grid_power"}, ha=ha, token="not-a-token").start()
    until(lambda: "ha_token" in meter.log().lower(), 10, "the log says what to do")
    assert meter.em()["total_act_power"] is None and meter.get("/livez").status == 200
    assert meter.get("/healthz").status == 503 and "not-a-token" not in meter.log()


def test_wrong_token_is_not_hammered(fake_ha, new_meter):
    meter = new_meter({"total_power": "sensor.grid"}, ha=fake_ha, token="wrong").start()
    until(lambda: fake_ha.refused, 10)
    time.sleep(6)  # a time in which nothing may happen
    assert fake_ha.refused <= 2 and meter.process.poll() is None


def test_entity_appears_later(ha, new_meter):
    entity = f"sensor.comes_later_{time.time_ns()}"
    meter = new_meter({"total_power": entity}, ha=ha).start()
    until(lambda: entity in meter.log(), 10, "the log names the missing entity")
    assert meter.em()["total_act_power"] is None
    ha.state(entity, "41.5")
    meter.until_total(41.5, 1)
    ha.rest("DELETE", f"/api/states/{entity}")


def test_unit_changes(ha, new_meter):
    entity = f"sensor.unit_{time.time_ns()}"
    ha.state(entity, "2")
    meter = new_meter({"total_power": entity}, ha=ha).start()
    meter.until_total(2, 5)
    ha.state(entity, "2", unit="kW")
    meter.until_total(2000, 1)
    ha.state(entity, "2", unit="furlong")
    until(lambda: "furlong" in meter.log(), 2, "the log names the foreign unit")


@pytest.mark.parametrize("power, sign", [
    ({"stat_rate": "sensor.grid_power"}, 1), ({"stat_rate_inverted": "sensor.grid_power"}, -1),
    ({"stat_rate_from": "sensor.grid_import_power", "stat_rate_to": "sensor.grid_export_power"}, 1)])
def test_nothing_configured(ha, new_meter, energy_settings, power, sign):
    """The grid of the Energy settings is taken, with its sign and its counters, and the log says so."""
    ha.set(grid_power=-450.5, grid_import_energy=12345.678, grid_export_energy=99.5)
    energy_settings(power)
    meter = new_meter({}, ha=ha).start()
    meter.until_total(sign * -450.5, 15)
    took = re.search(r"no power entity is configured: took (.*)", meter.log())[1]
    assert all(f"{own} as" in took for own in power.values()) and "net_power" not in took and "inverted" not in took, "the owner's own sensors"
    counters = until(lambda: meter.emdata()["total_act"] and meter.emdata(), 70, "seeded")
    assert near(counters["total_act"], 12345678, 5) and near(counters["total_act_ret"], 99500, 5)
    ha.set(grid_power=100)
    meter.until_total(sign * 100, 2)


def test_nothing_configured_and_no_energy_settings(ha, new_meter):
    meter = new_meter({}, ha=ha).start()
    until(lambda: "sensor.grid_l1_power" in meter.log() and "sensor.solar_power" in meter.log(), 10, "candidates are listed")
    assert meter.em()["total_act_power"] is None


@pytest.mark.parametrize("plus", ["export", "import"])
def test_a_sign_that_the_recorder_contradicts_is_not_taken(ha, new_meter, plus):
    """A SolarEdge meter in the Energy settings as it comes: plus is export. The recorder's statistics prove it at once."""
    sign = -1 if plus == "export" else 1
    ids = {name: f"sensor.m1_{plus}_{name}" for name in ("power", "imported", "exported")}
    begin = int(time.time()) // 3600 * 3600 - 24 * 3600

    def post(name, state, unit, kind, state_class):
        attributes = {"unit_of_measurement": unit, "device_class": kind, "state_class": state_class}
        status, answer = ha.rest("POST", f"/api/states/{ids[name]}", {"state": str(state), "attributes": attributes})
        assert status in (200, 201), answer

    def rows(of):
        return [{"start": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(begin + 3600 * hour)), **of(hour)} for hour in range(24)]

    async def prepare():
        async with ha_up.Session(ha) as ws:
            for name, unit, kind, of in (
                    ("power", "W", "power", lambda hour: {"mean": sign * 3000, "min": sign * 3000, "max": sign * 3000}),
                    ("imported", "kWh", "energy", lambda hour: {"state": 3 * hour + 3, "sum": 3 * hour + 3}),
                    ("exported", "kWh", "energy", lambda hour: {"state": 7, "sum": 7})):
                meta = {"has_mean": kind == "power", "mean_type": int(kind == "power"), "has_sum": kind == "energy", "name": None,
                        "source": "recorder", "statistic_id": ids[name], "unit_of_measurement": unit, "unit_class": kind}
                await ws.call("recorder/import_statistics", metadata=meta, stats=rows(of))
            await ws.call("energy/save_prefs", energy_sources=[{
                "type": "grid", "stat_energy_from": ids["imported"], "stat_energy_to": ids["exported"], "stat_cost": None,
                "entity_energy_price": None, "number_energy_price": None, "stat_compensation": None,
                "entity_energy_price_export": None, "number_energy_price_export": None, "cost_adjustment_day": 0.0,
                "power_config": {"stat_rate": ids["power"]}}], device_consumption=[])

            async def known():
                found = await ws.call("recorder/statistics_during_period", period="hour", statistic_ids=list(ids.values()),
                                      start_time=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(begin)))
                return len(found) == 3
            for _ in range(100):
                if await known():
                    return
                await asyncio.sleep(0.1)
            raise AssertionError("the statistics were not imported")

    post("power", sign * 3000, "W", "power", "measurement")
    post("imported", 72, "kWh", "energy", "total_increasing")
    post("exported", 7, "kWh", "energy", "total_increasing")
    asyncio.run(prepare())
    try:
        meter = new_meter({}, ha=ha).start()
        if plus == "import":
            meter.until_total(3000, 20)
            return
        says = f"{ids['power']}: \u22123000 W counts as feeding in, but the counters say the opposite: {ids['imported']} +"
        until(lambda: says in meter.get("/healthz").text, 20, "the contradiction with its numbers")
        assert meter.total() is None and says in meter.log()
        # Named by its owner it is served, and as loud.
        named = new_meter({"total_power": ids["power"]}, ha=ha).start()
        named.until_total(-3000, 10)
        until(lambda: says in named.get("/healthz").text and named.get("/healthz").json()["status"] == "degraded", 20)
        turned = new_meter({"total_power": ids["power"], "total_invert": True}, ha=ha).start()
        turned.until_total(3000, 10)
        assert "opposite" not in turned.get("/healthz").text
    finally:
        asyncio.run(_save_prefs(ha, []))


GRID = {"energy_sources": [{"type": "grid", "stat_energy_from": "sensor.import", "stat_energy_to": None, "stat_rate": "sensor.grid"}]}


def test_options_lie_over_what_was_chosen(fake_ha, new_meter):
    """A sign, a phase, an entity of the user's own count beside what the set-up took: at once, after a restart, once confirmed."""
    fake_ha.set("sensor.grid", "1000")
    fake_ha.set("sensor.import", "10", "kWh", device_class="energy")
    fake_ha.set("sensor.volt", "241", "V", device_class="voltage")
    fake_ha.prefs = GRID
    meter = new_meter({"total_phase": "b"}, ha=fake_ha).start()
    em = meter.until_total(1000, 10)
    assert em["b_act_power"] == 1000.0 and em["a_act_power"] == 0.0
    page = {"Content-Type": "application/json"}

    def change(**changes):
        turns = "total_invert" in changes and changes["total_invert"]
        if turns:  # what the Energy settings declare is not turned by one click
            asked = fetch(meter.dashboard_port, "POST", "/settings", {"changes": changes}, headers=page)
            assert asked.status == 409 and asked.json()["ask"] and asked.json()["problems"][0]["key"] == "total_invert", asked
        answer = fetch(meter.dashboard_port, "POST", "/settings", {"changes": changes, "anyway": bool(turns)}, headers=page)
        assert answer.status == 200 and not answer.json()["restart"], answer
        meter.options = json.loads(meter.options_file.read_text())
    change(total_invert="true", b_volt="sensor.volt")
    meter.until_total(-1000, 2)
    assert until(lambda: near(meter.em()["b_voltage"], 241) and meter.em(), 2)["b_act_power"] == -1000.0
    meter.restart()
    meter.until_total(-1000, 10)
    # The set-up page asks about the sign as it is served now, and what it writes stands for itself.
    found = html.unescape(re.search(r'data-inputs="([^"]*)"', fetch(meter.dashboard_port, "GET", "/setup").text)[1])
    assert json.loads(found) == {"total_power": "sensor.grid", "total_invert": True, "total_phase": "b", "energy_import": "sensor.import",
                                 "b_volt": "sensor.volt"}
    assert "1,000" in fetch(meter.dashboard_port, "POST", "/preview", found, headers=page).json()["power"]
    assert fetch(meter.dashboard_port, "POST", "/setup", found, headers=page).status == 200
    meter.options = json.loads(meter.options_file.read_text())
    assert meter.options == json.loads(found)
    meter.until_total(-1000, 2)
    meter.restart()
    meter.until_total(-1000, 10)
    # Without the last power entity nothing is read any more, whatever was chosen once.
    change(total_power=None, total_invert=None)
    until(lambda: meter.em()["total_act_power"] is None, 2, "absent at once")
    fake_ha.set("sensor.grid", "5")
    assert meter.total() is None and "no power entity is configured" in meter.get("/healthz").text


def test_our_own_entity_is_named_as_such(fake_ha, new_meter):
    fake_ha.set("sensor.own", "700")
    fake_ha.registry["sensor.own"] = {"entity_id": "sensor.own", "unique_id": "AA1122334455-em:0-total_act_power"}
    mac = ("--mac", "AA1122334455")
    meter = new_meter({"total_power": "sensor.own"}, ha=fake_ha, args=mac).start()
    reason = "sensor.own is this meter's own and is refused as an input"
    until(lambda: reason in meter.get("/healthz").text, 10)
    assert meter.total() is None and reason in html.unescape(fetch(meter.dashboard_port, "GET", "/").text)
    fake_ha.prefs = {"energy_sources": [{**GRID["energy_sources"][0], "stat_rate": "sensor.own"}]}
    wanting = new_meter({}, ha=fake_ha, args=mac).start()
    until(lambda: "because of sensor.own: it is this meter's own" in wanting.log(), 10, "why nothing could be taken")
    assert "name no" not in wanting.log()


def test_check_command(ha, new_meter):
    ha.set(grid_power=64.5)
    good = new_meter({"total_power": "sensor.grid_power"}, ha=ha)
    good.data.mkdir()
    good.options_file.write_text('{"total_power":"sensor.grid_power"}')

    fine = _check(good)
    assert fine.returncode == 0 and "sensor.grid_power" in fine.stdout and "64.5" in fine.stdout, fine
    missing = _check(good, "--total-power", "sensor.not_there")
    assert missing.returncode == 1 and "sensor.not_there" in missing.stdout + missing.stderr
    energy = _check(good, "--total-power", "sensor.grid_import_energy")
    assert energy.returncode == 1 and 'error: sensor.grid_import_energy has the unit "kWh"' in energy.stdout, energy
    wrong = _check(good, "--hold", "99999")
    assert wrong.returncode == 78 and "hold" in wrong.stdout, "what a run would end with at once"


def test_check_knows_what_a_run_knows(fake_ha, new_meter):
    """What is kept in the data folder counts in `check` too, beside a running service and after its stop."""
    fake_ha.set("sensor.grid", "1000")
    fake_ha.set("sensor.import", "unavailable", "kWh", device_class="energy")
    fake_ha.prefs = GRID
    meter = new_meter({}, ha=fake_ha).start()
    meter.until_total(1000, 10)
    fake_ha.prefs, fake_ha.registry["sensor.own"] = None, {"entity_id": "sensor.own", "unique_id": f"{meter.info()['mac']}-em:0-x"}
    fake_ha.set("sensor.own", "700")
    # The choice is served before the disk has it.
    until(lambda: "what was chosen before" in _check(meter).stdout, 10, "the choice is kept")
    for running in (True, False):
        files = sorted(path.name for path in meter.data.iterdir())
        kept = _check(meter)
        assert kept.returncode == 1 and "what was chosen before" in kept.stdout and "sensor.grid: 1000 W" in kept.stdout, kept
        assert "error: sensor.import is unavailable; feeds energy_import" in kept.stdout, kept
        own = _check(meter, "--total-power", "sensor.own")
        assert own.returncode == 1 and "error: sensor.own is this meter's own and is refused as an input; feeds total_power" in own.stdout, own
        assert sorted(path.name for path in meter.data.iterdir()) == files, "nothing is made there"
        if running:
            meter.stop()
    nobody = new_meter({}, ha=fake_ha)
    nobody.data.mkdir()
    nobody.options_file.write_text("{}")
    nothing = _check(nobody)
    assert nothing.returncode == 1 and "nothing could be taken by itself" in nothing.stdout and not list(nobody.data.iterdir()), nothing
