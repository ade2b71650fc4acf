"""Values of a real Home Assistant Core arrive, and whatever happens to it the same process goes on."""
import asyncio
import subprocess
import time

import pytest

import ha_up
from harness import near, until

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


@pytest.mark.parametrize("entity", ["sensor.grid_power", "sensor.grid_power_kw"])
def test_watts_and_kilowatts(ha, new_meter, entity):
    ha.set(grid_power=512)
    meter = new_meter({"total_power": entity}, ha=ha).start()
    meter.until_total(512, 5)
    for watts in (1234.5, -800, 0, 17.3):
        ha.set(grid_power=watts)
        em = meter.until_total(watts, 1)
        assert near(em["a_act_power"], watts) and em["b_act_power"] == 0.0 and em["a_voltage"] == 230.0


def test_phases_and_pair(ha, new_meter):
    ha.set(grid_l1=100.1, grid_l2=-50, grid_l3=25.5, grid_power=-400)
    meter = new_meter(PHASES, ha=ha).start()
    em = meter.until_total(75.6, 5)
    assert [em[f"{p}_act_power"] for p in "abc"] == [100.1, -50.0, 25.5]
    pair = new_meter({"total_power": "sensor.grid_import_power", "total_power_export": "sensor.grid_export_power"}, ha=ha).start()
    pair.until_total(-400, 5)
    ha.set(grid_power=350)
    pair.until_total(350, 1)


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
    chosen = energy_settings(power)[0]["stat_rate"]
    meter = new_meter({}, ha=ha).start()
    meter.until_total(sign * -450.5, 15)
    assert chosen in meter.log()
    counters = until(lambda: meter.emdata()["total_act"] and meter.emdata(), 70, "seeded")
    assert near(counters["total_act"], 12345678, 5) and near(counters["total_act_ret"], 99500, 5)
    ha.set(grid_power=100)
    meter.until_total(sign * 100, 2)


def test_nothing_configured_and_no_energy_settings(ha, new_meter):
    meter = new_meter({}, ha=ha).start()
    until(lambda: "sensor.grid_l1_power" in meter.log() and "sensor.solar_power" in meter.log(), 10, "candidates are listed")
    assert meter.em()["total_act_power"] is None


def test_check_command(ha, new_meter):
    ha.set(grid_power=64.5)
    good = new_meter({"total_power": "sensor.grid_power"}, ha=ha)
    good.data.mkdir()
    good.options_file.write_text('{"total_power":"sensor.grid_power"}')

    def check(*args):
        command = [str(good.binary), "check", "--options", str(good.options_file), "--data-dir", str(good.data), *args]
        return subprocess.run(command, env=good.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    fine = check()
    assert fine.returncode == 0 and "sensor.grid_power" in fine.stdout and "64.5" in fine.stdout, fine
    missing = check("--total-power", "sensor.not_there")
    assert missing.returncode == 1 and "sensor.not_there" in missing.stdout + missing.stderr
    wrong = check("--hold", "99999")
    assert wrong.returncode == 78 and "hold" in wrong.stdout, "what a run would end with at once"
