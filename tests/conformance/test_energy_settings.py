"""Home Assistant's Energy settings while the meter runs: set, changed, taken away; and loops through helpers."""

from harness import near, until

GRID = {"type": "grid", "stat_energy_from": "sensor.import", "stat_energy_to": "sensor.export"}


def prefs(power=None, rate=None):
    source = {**GRID, **({"power_config": power} if power else {}), **({"stat_rate": rate} if rate else {})}
    return {"energy_sources": [source], "device_consumption": []}


def counters(fake_ha):
    for name in ("import", "export"):
        fake_ha.set(f"sensor.{name}", "10", "kWh", device_class="energy")


def test_settings_made_after_the_start_are_taken_at_once(fake_ha, new_meter):
    counters(fake_ha)
    fake_ha.set("sensor.grid", "700")
    meter = new_meter({}, ha=fake_ha).start()
    until(lambda: "nothing could be taken by itself" in meter.log(), 10)
    fake_ha.prefs = prefs({"stat_rate": "sensor.grid"}, "sensor.grid")
    meter.until_total(700, 10)


def test_changed_settings_kill_no_meter(fake_ha, new_meter):
    """A pair, of which Home Assistant makes a net sensor that goes with the settings: the pair itself is read."""
    counters(fake_ha)
    fake_ha.set("sensor.in", "300")
    fake_ha.set("sensor.out", "0")
    fake_ha.set("sensor.energy_grid_in_out_net_power", "300")
    fake_ha.set("sensor.other", "55")
    fake_ha.prefs = prefs({"stat_rate_from": "sensor.in", "stat_rate_to": "sensor.out"}, "sensor.energy_grid_in_out_net_power")
    meter = new_meter({}, ha=fake_ha).start()
    meter.until_total(300, 10)
    fake_ha.remove("sensor.energy_grid_in_out_net_power")
    fake_ha.prefs = prefs({"stat_rate": "sensor.other"}, "sensor.other")
    until(lambda: "name other sensors by now" in meter.log(), 10, "a notice, and nothing else")
    assert near(meter.total(), 300)
    # What is gone with them is chosen anew, as long as nobody confirmed it.
    fake_ha.remove("sensor.in")
    fake_ha.prefs = prefs({"stat_rate_inverted": "sensor.other"}, "sensor.other_inverted")
    meter.until_total(-55, 10)
    assert "is gone from Home Assistant" in meter.log()


def test_what_an_earlier_version_chose_becomes_its_parts(fake_ha, new_meter):
    counters(fake_ha)
    fake_ha.set("sensor.raw", "400")
    fake_ha.set("sensor.raw_inverted", "-400")
    fake_ha.prefs = prefs(None, "sensor.raw_inverted")
    meter = new_meter({}, ha=fake_ha).start()
    meter.until_total(-400, 10)
    fake_ha.prefs = prefs({"stat_rate_inverted": "sensor.raw"}, "sensor.raw_inverted")
    until(lambda: "total_power = sensor.raw" in meter.log(), 10)
    fake_ha.remove("sensor.raw_inverted")
    fake_ha.set("sensor.raw", "150")
    meter.until_total(-150, 5)


def test_one_sensor_for_both_directions_is_absent_and_named(fake_ha, new_meter):
    counters(fake_ha)
    fake_ha.set("sensor.grid", "700")
    fake_ha.prefs = prefs({"stat_rate_from": "sensor.grid", "stat_rate_to": "sensor.grid"}, "sensor.net")
    meter = new_meter({}, ha=fake_ha).start()
    until(lambda: "sensor.grid stands there for both directions" in meter.log(), 10)
    assert meter.total() is None, "absent, not 0"


def test_a_group_over_our_own_sensor_is_a_loop(fake_ha, new_meter):
    """A mean of two sensors, one of which Home Assistant's Shelly integration reads from this meter."""
    meter = new_meter({"mac": "2CBCBB0A1B2C", "total_power": "sensor.daily"}, ha=fake_ha)
    fake_ha.set("sensor.own", "700")
    fake_ha.registry["sensor.own"] = {"entity_id": "sensor.own", "unique_id": "2CBCBB0A1B2C-em:0-total_act_power", "platform": "shelly"}
    fake_ha.set("sensor.mean", "650", entity_id=["sensor.other", "sensor.own"])
    fake_ha.set("sensor.daily", "650", source="sensor.mean")
    meter.start()
    until(lambda: "sensor.daily is made of sensor.own" in meter.log(), 10)
    until(lambda: meter.total() is None, 5)
    assert "a meter must not measure itself" in meter.get("/healthz").text
