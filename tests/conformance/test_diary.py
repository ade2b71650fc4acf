"""What a person is told when something goes wrong, by a scripted Home Assistant and in a real Chromium: a source that is lost,
a battery that falls silent; both back. One run of the program, in the order of the file.
"""
import re
import socket
import threading
import time
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

import fake_ha as fake
from browser import chromium, directly, visits
from harness import LOCAL, Meter, fetch, until

BATTERY = "127.0.0.3"
PREFS = {"energy_sources": [{"type": "grid", "stat_energy_from": "sensor.import", "stat_energy_to": "sensor.export", "stat_cost": None,
                             "number_energy_price": 0.31, "entity_energy_price": None, "entity_energy_price_export": None,
                             "number_energy_price_export": 0.08, "cost_adjustment_day": 0.0}], "device_consumption": []}


class Battery:
    """Asks over UDP many times a second, as long as it is on: so its rhythm is known soon."""

    def __init__(self, port):
        self.port, self.on, self.over = port, True, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        with socket.socket(type=socket.SOCK_DGRAM) as s:
            s.bind((BATTERY, 0))
            s.settimeout(0.1)
            while not self.over:
                if self.on:
                    s.sendto(b'{"id":1,"method":"EM.GetStatus","params":{"id":0}}', (LOCAL, self.port))
                try:
                    s.recv(4096)
                except TimeoutError:
                    continue
                time.sleep(0.05)  # its rhythm


@pytest.fixture(scope="module")
def house(binary, tmp_path_factory):
    ha = fake.FakeHA().start()
    ha.prefs = PREFS
    ha.set("sensor.grid", "180000")
    env = {"HA_BASE_URL": ha.url, "HA_TOKEN": ha.token}
    meter = Meter(binary, tmp_path_factory.mktemp("diary") / "meter", {"total_power": "sensor.grid", "hold": 1}, env)
    taken = socket.create_server((LOCAL, meter.modbus_port))
    meter.start()
    meter.until_total(180000, 10)
    battery = Battery(meter.udp_ports[0])
    try:
        yield SimpleNamespace(ha=ha, meter=meter, battery=battery)
    finally:
        battery.over = True
        if meter.process.poll() is None:
            meter.stop()
        meter.kill()
        taken.close()
        ha.close()


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture
def visit(house, browser):
    with visits(browser) as opened:
        def start(path="", **options):
            one = opened(directly(house.meter), **options)
            one.go(path)
            return one
        yield start


def told(house, part):
    return [message for key, (_, message) in house.ha.notifications.items() if part in key]


def faults(house):
    return fetch(house.meter.dashboard_port, "GET", "/chart.json?range=1h").json()["faults"]


def a_battery_is_named_and_must_read(house, visit):
    def known():
        all_ = fetch(house.meter.dashboard_port, "GET", "/readers.json").json()["consumers"]
        return [c for c in all_ if c["ip"] == BATTERY and c["calls"] > 60]
    until(known, 10)
    house.battery.on = False  # its rhythm is learned; from here on it is silent
    page = visit("readers").page
    row = page.locator(f"details[data-ip='{BATTERY}']")
    expect(row.locator("form.mark")).to_have_count(1)  # kept from the tenth call on
    row.locator("summary").click()
    form = row.locator("form.mark")
    form.get_by_label("Name").fill("Keller")
    form.get_by_label("must read").check()
    form.get_by_role("button", name="Save").click()
    expect(form.locator(".answer")).to_contain_text("You are told when it falls silent")
    expect(row.locator("summary")).to_contain_text("Keller", timeout=2500)
    page.wait_for_timeout(6000)  # the page has been kept fresh meanwhile
    expect(form.locator(".answer")).to_contain_text("You are told when it falls silent")
    page.reload()
    row.locator("summary").click()
    expect(form.get_by_label("must read")).to_be_checked()


def what_is_lost_is_a_band_a_line_a_notice_and_a_notification(house, visit):
    house.ha.set("sensor.grid", "unavailable")
    health = visit("health")
    line = health.page.locator(".diary li").filter(has_text="No reading")
    expect(line).to_contain_text("No reading: sensor.grid is unavailable")
    expect(line).to_have_attribute("data-lasts", "true")
    expect(line).to_contain_text("since")
    expect(health.page.locator("#notices")).to_contain_text("sensor.grid is unavailable")
    assert any("sensor.grid is unavailable" in text for _, _, text in faults(house)), faults(house)
    port = health.page.locator(".diary li").filter(has_text="Modbus TCP port")
    expect(port).to_contain_text(f"{house.meter.modbus_port} not open: taken by another program")
    until(lambda: told(house, "no_reading") and told(house, "port_modbus"), 25)
    assert "sensor.grid is unavailable" in told(house, "no_reading")[0] and "Batteries" in told(house, "no_reading")[0]
    until(lambda: told(house, "silent"), 30)
    assert "Keller" in told(house, "silent")[0], told(house, "silent")
    for path in ("energy", "settings", ""):
        page = health.go(path)
        expect(page.locator("#notices")).to_contain_text(f"Keller ({BATTERY}) has not read the meter for")
    assert re.search(r'Keller has not read the meter for .* reader="127.0.0.3 udp"', house.meter.log())
    expect(page.locator("#bands li").filter(has_text="no reading: sensor.grid is unavailable")).to_have_count(1)
    health.shot("diary-now")
    phone = visit("health", width=390, height=844, is_mobile=True, has_touch=True, color_scheme="dark", locale="de-DE")
    expect(phone.page.locator(".diary")).to_contain_text("Kein Messwert: sensor.grid ist nicht verfügbar")
    assert not phone.axe(), phone.axe()
    phone.shot("diary-phone")


def what_is_back_is_over_everywhere(house, visit):
    house.battery.on = True
    house.ha.set("sensor.grid", "512")
    until(lambda: not told(house, "no_reading") and not told(house, "silent"), 20)
    health = visit("health")
    lasting = health.page.locator(".diary li[data-lasts=true]")
    expect(lasting).to_have_count(1)
    expect(lasting).to_contain_text("Modbus")
    expect(health.page.locator(".diary li")).to_have_count(3)
    expect(health.page.locator("#notices")).not_to_contain_text("Keller")
    assert len(faults(house)) == 3 and all(begin <= end for begin, end, _ in faults(house))
    assert re.search(r'Keller reads the meter again, .* reader="127.0.0.3 udp"', house.meter.log())


def costs_are_those_of_the_energy_settings(house, visit):
    # Energy is recorded by the minute, and the program has run for most of one.
    day = until(lambda: [d for d in fetch(house.meter.dashboard_port, "GET", "/energy.json").json()["days"] if d.get("cost")], 65)[-1]
    assert day["cost"] == pytest.approx(day["import_wh"] / 1000 * 0.31, abs=0.01), day
    assert fetch(house.meter.dashboard_port, "GET", "/energy.json").json()["currency"] == "EUR"
    page = visit("energy").page
    expect(page.locator("#sums .card").first).to_contain_text("€")
    expect(page.locator(".scale text").first).to_contain_text("kWh")


def test_from_the_first_reading_to_a_restart(house, visit):
    for part in (a_battery_is_named_and_must_read, what_is_lost_is_a_band_a_line_a_notice_and_a_notification, what_is_back_is_over_everywhere, costs_are_those_of_the_energy_settings):
        part(house, visit)
