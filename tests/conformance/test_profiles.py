"""What will read the meter: profiles, through the readers' own decoding and on the pages."""
import json

import pytest
from playwright.sync_api import expect

from browser import chromium, directly, visits
from harness import fetch, near, until
from test_evcc import Evcc

BATTERY, VIEWER, STRANGER = "127.0.0.7", "127.0.0.8", "127.0.0.9"


def meters_decode(answer):
    """evcc's: any status but 200 is an error, and null leaves a struct's 0."""
    if answer.status != 200:
        raise ConnectionError(answer.status)
    return answer.json().get("total_act_power") or 0.0


def test_a_profile_by_address_wins_over_what_a_reader_looks_like(fake_ha, new_meter):
    """evcc's decoding sees an error and not 0 W; Home Assistant the device's nulls; a battery by UDP nothing."""
    options = {"total_power": "sensor.t", "hold": 0, "readers": [f"{VIEWER}=home-assistant", f"{BATTERY}=marstek-venus", "evcc"]}
    fake_ha.set("sensor.t", "512")
    meter = new_meter(options, ha=fake_ha).start()
    meter.until_total(512, 10)
    evcc = Evcc(meter)
    evcc.set_up()
    assert near(evcc.exec("EM.GetStatus")["total_act_power"], 512)
    fake_ha.set("sensor.t", "unavailable")
    until(lambda: meter.get("/rpc/EM.GetStatus?id=0").status == 500, 5)
    with pytest.raises(ConnectionError):
        meters_decode(meter.post("/rpc/EM.GetStatus", {"id": 0, "src": "evcc", "method": "EM.GetStatus"}))
    for path in ("/rpc/EM.GetStatus?id=0", "/rpc/Shelly.GetStatus"):
        assert meter.get(path, source=STRANGER).status == 500, "nobody knows it"
        told = meter.get(path, source=VIEWER)
        assert told.status == 200 and "power_meter_failure" in told.text
    frame = {"id": 1, "method": "EM.GetStatus", "params": {"id": 0}}
    assert meter.udp(frame, timeout=0.3, source=BATTERY) is None
    seen = {(c["ip"], c["channel"]): c for c in meter.admin()["consumers"]}
    viewer = seen[VIEWER, "http"]
    assert viewer["profile"] == {"key": "home-assistant", "name": "Home Assistant", "acts": "viewer", "why": "address"}
    assert {"verdict": "took_null", "give": "shelly"} in viewer["verdicts"]
    assert any(v["verdict"] == "viewer" for v in viewer["verdicts"])
    meter.get("/rpc/Switch.GetStatus?id=0", source=STRANGER)
    stranger = next(c for c in meter.admin()["consumers"] if c["ip"] == STRANGER)
    assert {"verdict": "asks_for", "method": "Switch.GetStatus"} in stranger["verdicts"]


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture
def visit(browser, new_meter):
    with visits(browser) as opened:
        def start(meter, path, **options):
            one = opened(directly(meter), **options)
            one.go(path)
            return one
        yield start


def option(meter, key):
    return json.loads(meter.options_file.read_text()).get(key)


def test_what_will_read_it_and_who_reads_it(demo, visit):
    """A household chooses its battery, sees its first call, and sets right what was taken for something else."""
    one = visit(demo, "readers")
    page = one.page
    tile = page.locator("#tile-marstek-b2500")
    tile.locator("> summary").click()
    expect(tile.locator(".steps li")).to_have_count(3)
    expect(tile.locator(".light")).to_have_text("No call yet.")
    expect(tile.locator("[data-copy]").last).to_have_attribute("data-copy", demo.rpc("Shelly.GetDeviceInfo")["id"])
    tile.get_by_role("button", name="This will read it").click()
    expect(tile.locator(".what > .row .answer")).not_to_be_empty()
    assert option(demo, "readers") == ["marstek-b2500"]
    frame = {"id": 1, "method": "EM.GetStatus", "params": {"id": 0}}
    until(lambda: demo.udp(frame, source=BATTERY), 5)
    expect(tile.locator(".light")).to_have_text(f"First call from {BATTERY}.")
    expect(tile.locator(".light .dot")).to_have_attribute("data-state", "live")
    # Rows have headings, and stay where they are when an earlier one is heard again.
    for address in (STRANGER, VIEWER, BATTERY):
        demo.get("/rpc/EM.GetStatus?id=0", source=address)
    demo.get("/rpc/EM.GetStatus?id=0", source=STRANGER)
    page.reload()
    rows = page.locator("#who details[data-ip]")
    expect(page.locator("#who .heads")).to_contain_text("Last value")
    order = rows.evaluate_all("all => all.map(row => row.dataset.ip + row.dataset.channel)")
    assert [row for row in order if not row.startswith("127.0.0.1")] == [f"{BATTERY}udp", f"{STRANGER}http", f"{VIEWER}http", f"{BATTERY}http"], order
    assert [c["ip"] for c in demo.admin()["consumers"]][0] == STRANGER, "heard last"
    # A profile and a share by hand.
    row = rows.filter(has_text=STRANGER)
    row.locator("> summary").click()
    row.locator("select").select_option("hoymiles")
    row.locator("input[name=share]").fill("60")
    row.get_by_role("button", name="Save").click()
    expect(row.locator(".assign .answer")).not_to_be_empty()
    assert option(demo, "readers") == ["marstek-b2500", f"{STRANGER}=hoymiles"]
    assert option(demo, "scaling_shares") == [f"{STRANGER}=0.6"]
    expect(row.locator("summary strong").first).to_have_text("Hoymiles MS-A2, HiBattery", timeout=15000)
    expect(row).to_contain_text("set for this address")
    expect(row.locator("summary")).to_contain_text("60")
    view = next(c for c in demo.admin()["consumers"] if c["ip"] == STRANGER)
    assert (view["profile"]["key"], view["share"]) == ("hoymiles", 0.6)
    assert one.axe() == []
    german = fetch(demo.dashboard_port, "GET", "/readers", headers={"Accept-Language": "de"}).text
    assert "Was wird ihn lesen?" in german and "für diese Adresse eingestellt" in german and "verdict_" not in german
    wrong = fetch(demo.dashboard_port, "POST", "/profile", {"ip": STRANGER, "profile": "toaster"}, {"Content-Type": "application/json"})
    assert wrong.status == 400


def test_the_set_up_ends_with_what_will_read_it(fake_ha, new_meter, visit):
    fake_ha.set("sensor.grid", "512")
    meter = new_meter({}, ha=fake_ha).start()
    until(lambda: "sensor.grid" in fetch(meter.dashboard_port, "GET", "/setup").text, 15)
    page = visit(meter, "setup").page
    expect(page.locator("#reads")).to_be_hidden()
    page.locator(".sensor[data-id='sensor.grid']").click()
    page.locator("#yes").click()
    page.locator("#take").click()
    expect(page.locator("#done")).to_be_visible()
    expect(page.locator("#reads")).to_be_visible()
    page.locator("#tile-shelly > summary").click()
    expect(page.locator("#tile-shelly .light")).to_have_text("No call yet.")
    meter.get("/rpc/EM.GetStatus?id=0", source=STRANGER)
    expect(page.locator("#tile-shelly .light")).to_have_text(f"First call from {STRANGER}.")
