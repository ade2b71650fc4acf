"""The set-up's first hour in a real Chromium: a proof by a kettle, Home Assistant's place, what is refused where it is typed."""
import json

import pytest
from playwright.sync_api import expect

from browser import chromium
from harness import fetch, until
from test_pages import look, phone  # noqa: F401: a fixture


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


def saved(meter):
    return json.loads(meter.options_file.read_text())


def test_from_nothing_to_served(fake_ha, new_meter, look):
    """No address, no token: typed, tried, taken over without a restart; a sensor, a kettle, and done is what is served."""
    for name, watts in (("grid", 300), ("other", 5)):
        fake_ha.set(f"sensor.{name}_power", watts, friendly_name=f"{name.title()} power")
    meter = new_meter().start()
    pid = meter.process.pid
    one = phone(look, meter, "setup")
    page = one.page
    place, said = page.locator("#place"), page.locator("#reach .answer")
    expect(place.locator("#ha-url")).to_be_visible()
    page.fill("#ha-url", f"https://{fake_ha.url.removeprefix('http://')}/lovelace/0")
    page.fill("#ha-token", fake_ha.token)
    page.get_by_role("button", name="Test").click()
    expect(said).to_contain_text("is plain http, not https")
    page.fill("#ha-url", f"{fake_ha.url}/lovelace/0?edit=1")
    page.get_by_role("button", name="Test").click()
    expect(said).to_contain_text(f"answers at {fake_ha.url} and shows 2 sensors")
    assert page.input_value("#ha-url") == fake_ha.url and "ha_token" not in saved(meter), "only tried"
    one.shot("setup-place")
    assert one.axe() == []
    page.get_by_role("button", name="Use this").click()
    # The sensors come by themselves.
    sensor = page.locator(".sensor[data-id='sensor.grid_power']")
    sensor.wait_for()
    assert saved(meter)["ha_token"] == fake_ha.token and meter.process.pid == pid
    page.get_by_label("Search sensors").fill("warp core")
    expect(page.locator("#no-hit")).to_have_text("Nothing matches “warp core”.")
    page.get_by_label("Search sensors").fill("grid")
    expect(page.locator("#no-hit")).to_be_hidden()
    sensor.focus()
    page.keyboard.press("Enter")
    heading = page.locator("#h-look")
    expect(heading).to_be_in_viewport()
    expect(heading).to_be_focused()
    take = page.locator("#take")
    expect(page.locator("#pv-power")).to_contain_text("300")
    expect(take).to_be_disabled()
    page.get_by_role("button", name="Prove it").click()
    expect(page.locator("#kettle-said")).to_contain_text("800 W or more")
    page.wait_for_timeout(1200)  # it looks once a second: the level before
    fake_ha.set("sensor.grid_power", 2350, friendly_name="Grid power")
    expect(page.locator("#kettle-said")).to_have_text("It rose by 2,050\u202fW: the sign is right.")
    one.shot("setup-proven")
    take.click()
    expect(page.locator("#served")).to_contain_text("EM.GetStatus on port")
    expect(page.locator("#done")).to_be_visible()
    assert f"port {meter.http_port} answers 2,350\u202fW (Drawing from the grid)" in page.locator("#served").inner_text()
    assert saved(meter)["total_power"] == "sensor.grid_power" and meter.total() == 2350
    one.go("readers")
    assert "Nobody has read the meter" in page.locator("#who").inner_text() or "127.0.0.1" in page.locator("#who").inner_text()
    one.allowed = ("ERR_",)


def test_a_kettle_that_lowers_it_turns_it(fake_ha, new_meter, look):
    fake_ha.set("sensor.grid_power", -300)
    meter = new_meter(ha=fake_ha).start()
    one = look(meter, "setup")
    page = one.page
    page.locator(".sensor").first.click()
    page.get_by_role("button", name="Prove it").click()
    page.wait_for_timeout(1200)
    fake_ha.set("sensor.grid_power", -2350)
    expect(page.locator("#kettle-said")).to_contain_text("It fell by 2,050\u202fW")
    turn = page.locator("#no")
    expect(turn).to_have_text("Turn it round")
    turn.click()
    expect(page.locator("#pv-word")).to_have_text("Drawing from the grid")
    # A pair of one and the same sensor is refused where it is picked.
    page.get_by_label("Import and export").check()
    for _ in range(2):
        page.locator(".sensor").first.click()
    expect(page.locator("#pick-error")).to_contain_text("one sensor cannot be both")


def test_sensors_that_are_called_the_same_are_told_apart_once_chosen(fake_ha, new_meter, look):
    for entity, name in (("em_a_power", "Power"), ("em_b_power", "Power"), ("other_power", "Other power")):
        fake_ha.set(f"sensor.{entity}", 100, friendly_name=name)
    page = phone(look, new_meter(ha=fake_ha).start(), "setup").page
    page.get_by_text("One per phase").click()
    for entity in ("em_a_power", "em_b_power", "other_power"):
        page.locator(f".sensor[data-id='sensor.{entity}']").click()
    expect(page.locator(".slot:visible strong")).to_have_text(["Power (sensor.em_a_power)", "Power (sensor.em_b_power)", "Other power"])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "also on a phone"


def test_the_settings_begin_with_few_and_refuse_where_it_is_typed(fake_ha, new_meter, look):
    fake_ha.set("sensor.grid_power", 512, friendly_name="Grid power")
    fake_ha.set("sensor.counter", 8000, "kWh", device_class="energy")
    meter = new_meter({"total_power": "sensor.grid_power"}, ha=fake_ha).start()
    meter.until_total(512, 10)
    one = look(meter, "settings")
    page = one.page
    assert 8 <= page.locator(".field:visible").count() <= 15, "about ten first"
    assert page.locator("#all").evaluate("d => !d.open")
    find = page.get_by_label("Search options")
    for word, key in (("marstek", "udp_ports"), ("victron", "outbound_ws"), ("rate_limit", "rate_limit")):
        find.fill(word)
        expect(page.locator(f"#i-{key}")).to_be_visible()
    find.fill("flux capacitor")
    expect(page.locator("#no-hit")).to_contain_text("flux capacitor")
    find.fill("")
    one.shot("settings-short")
    assert one.axe() == []
    field = page.locator("#i-total_power")
    field.focus()
    now = page.locator("#f-total_power .now")
    expect(now).to_contain_text("Grid power: now 512\u202fW")
    assert page.locator("#sensors option").evaluate_all("all => all.map(o => o.value)") == ["sensor.grid_power"], "powers only"
    fake_ha.set("sensor.grid_power", 640, friendly_name="Grid power")
    expect(now).to_contain_text("640")
    field.fill("sensor.counter")
    field.blur()
    error = page.locator("#f-total_power .error")
    expect(error).to_contain_text("unit")
    assert saved(meter)["total_power"] == "sensor.grid_power", "nothing was saved"
    field.fill("sensor.grid_power")
    field.blur()
    expect(error).to_be_hidden()
    until(lambda: meter.total() == 640, 5)


def test_discard_goes_back_to_what_was_saved(demo, look):
    """Of every kind of field, also what was saved since the page was loaded: the next Save takes nothing of it back."""
    one = look(demo, "settings")
    page = one.page
    page.locator("#all").evaluate("d => { for (const fold of [d, ...d.querySelectorAll('details')]) fold.open = true; }")
    kinds = {"hold": "45", "total_invert": "true", "a_scale": "2.5", "outbound_ws": "ws://127.0.0.1:9/", "meters": "[]", "stale": "error"}
    save, discard, said = page.locator(".savebar [type=submit]"), page.locator(".savebar [type=reset]"), page.locator(".savebar .answer")

    def put(values):
        for key, value in values.items():
            field = page.locator(f"#i-{key}")
            (field.select_option if field.evaluate("e => e.tagName") == "SELECT" else field.fill)(value)

    def keep():
        save.click()
        expect(said).to_contain_text("Saved")
        expect(save).to_be_disabled()
    put(kinds | {"auth_password": "secret"})
    keep()
    kept = saved(demo)
    assert kept["hold"] == 45 and kept["total_invert"] is True and kept["auth_password"]
    put({"hold": "1", "total_invert": "false", "a_scale": "3", "outbound_ws": "", "meters": "", "stale": "", "device_name": "x", "auth_password": "y"})
    discard.click()
    assert {key: page.locator(f"#i-{key}").input_value() for key in kinds} == kinds
    assert page.locator("#i-device_name").input_value() == page.locator("#i-auth_password").input_value() == ""
    expect(save).to_be_disabled()
    put({"device_name": "Cellar"})
    keep()
    assert saved(demo) == kept | {"device_name": "Cellar"}
    # What is no number is refused, and takes nothing out.
    one.allowed = ("status of 400",)
    for number in ("1e999", "-inf", "NaN"):
        put({"a_scale": number})
        save.click()
        expect(page.locator("#f-a_scale .error")).to_contain_text("Allowed: -1000 to 1000")
    assert saved(demo)["a_scale"] == 2.5
    discard.click()
    # What is taken back waits for no restart any more, without a reload.
    waits, notices = page.locator("#f-mac .waits"), page.locator("#notices")
    expect(waits).to_be_hidden()
    put({"mac": "AABBCCDDEE01"})
    keep()
    expect(waits).to_be_visible()
    expect(notices).to_contain_text("mac")
    put({"mac": ""})
    keep()
    expect(waits).to_be_hidden()
    expect(notices).not_to_contain_text("mac", timeout=3000)


def test_a_sensor_that_is_fixed_elsewhere_is_said_to_be_so(fake_ha, new_meter, look):
    for name in ("grid", "other"):
        fake_ha.set(f"sensor.{name}_power", 300, friendly_name=f"{name.title()} power")
    meter = new_meter(ha=fake_ha, args=["--total-power", "sensor.grid_power"]).start()
    meter.until_total(300, 10)
    one = look(meter, "setup")
    one.allowed = ("status of 400",)
    page = one.page
    expect(page.locator("#fixed")).to_have_text("Environment or command line set total_power: that can be changed there only, not here.")
    assert "replaces them" not in page.locator("main").inner_text()
    assert one.axe() == []
    page.locator(".sensor[data-id='sensor.other_power']").click()
    page.locator("#yes").click()
    page.locator("#take").click()
    expect(page.locator("#look .answer")).to_contain_text("total_power: is set by the command line, which wins")


def test_the_set_up_says_what_the_doctor_finds(fake_ha, new_meter, look):
    """What keeps readers away is said before there are any, and the age of each chosen sensor, in the words of Health's doctor."""
    fake_ha.set("sensor.grid_power", 300)
    meter = new_meter(ha=fake_ha).start()
    one = look(meter, "setup")
    page, checks = one.page, one.page.locator("#checks")
    expect(checks).to_contain_text("listens on 127.0.0.1 only: nobody but this machine reaches it")
    expect(checks).to_contain_text("Take the option bind out")
    assert "sensor" not in checks.inner_text(), "that none is chosen is what this page is for"
    page.locator(".sensor").first.click()
    page.locator("#yes").click()
    page.locator("#take").click()
    expect(page.locator("#done")).to_be_visible()
    expect(checks).to_contain_text("sensor.grid_power was reported")
    doctor = {finding["text"] for finding in fetch(meter.dashboard_port, "GET", "/doctor.json", timeout=20).json()["findings"]}
    assert set(checks.locator(".is").all_inner_texts()) <= doctor
    assert one.axe() == []
