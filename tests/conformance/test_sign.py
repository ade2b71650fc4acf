"""The question about the sign, in a real Chromium: what the energy counters of Home Assistant know of it stands there.

Proven, nothing is asked. Contradicted, the numbers stand before the question, and the other answer is the marked one. Unknown, it is asked
as ever. By the sensors of the Energy settings and by those picked by hand.
"""
import json
import time

import pytest
from playwright.sync_api import expect

from browser import chromium
from harness import fetch, until
from test_pages import look  # noqa: F401: a fixture

GRID = {"type": "grid", "stat_energy_from": "sensor.import", "stat_energy_to": "sensor.export"}
PAGE = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture
def home(fake_ha, new_meter):
    """A home that really draws 3 kW all day, whatever its sensor says: `home(watts, named, recorder)`."""
    def start(watts, named=True, recorder=True, options=None):
        fake_ha.set("sensor.m1_power", str(watts), friendly_name="Meter")
        for name, kwh in (("import", "8000"), ("export", "55")):
            fake_ha.set(f"sensor.{name}", kwh, "kWh", device_class="energy")
        if recorder:
            fake_ha.recorded = {"sensor.m1_power": {"mean": watts}, "sensor.import": {"change": 3000}, "sensor.export": {"change": 0}}
        power = {"power_config": {"stat_rate": "sensor.m1_power"}, "stat_rate": "sensor.m1_power"} if named else {}
        fake_ha.prefs = {"energy_sources": [{**GRID, **power}], "device_consumption": []}
        return new_meter(options or {}, ha=fake_ha).start()
    return start


def options(meter):
    return json.loads(meter.options_file.read_text())


def ready(page):
    expect(page.locator("#look")).to_be_visible()
    expect(page.locator("#pv-power")).not_to_be_empty()


def pick(page):
    """The sensor by hand; a list that is folded is opened."""
    if not page.locator(".pick").evaluate("d => d.open"):
        page.locator(".pick summary").click()
    page.locator(".sensors [data-id='sensor.m1_power']").click()


@pytest.mark.parametrize("named", [True, False], ids=["by the Energy settings", "picked by hand"])
def test_what_the_counters_prove_is_not_asked(home, look, named):
    meter = home(3000, named)
    if named:
        meter.until_total(3000, 20)
    page = look(meter, "setup").page
    if not named:
        pick(page)
    ready(page)
    sign = page.locator("#sign")
    expect(sign).to_be_visible()
    expect(sign).to_have_attribute("data-state", "good")
    expect(sign).to_contain_text("Your energy counters prove the direction: sensor.import +")
    expect(sign).to_contain_text("sensor.export +0")
    expect(page.locator("#ask")).to_be_hidden()
    expect(page.locator("#wait")).to_be_hidden()
    page.locator("#take").click()
    expect(page.locator("#done")).to_be_visible()
    assert options(meter)["total_power"] == "sensor.m1_power" and not options(meter).get("total_invert")
    meter.until_total(3000, 5)
    until(lambda: "sign checked" in fetch(meter.dashboard_port, "GET", "/").text, 20, "and for good, on the first page")


@pytest.mark.parametrize("locale, said, turn", [
    ("en-GB", "Careful: this power counts as feeding in", "Turn it round, as the counters say"),
    ("de-DE", "Achtung: Diese Leistung zählt als Einspeisung", "Umdrehen, wie die Zähler sagen")])
@pytest.mark.parametrize("named", [True, False], ids=["by the Energy settings", "picked by hand"])
def test_what_they_contradict_is_said_before_it_is_asked(home, look, named, locale, said, turn):
    meter = home(-3000, named)
    if named:
        until(lambda: "the counters say the opposite" in meter.log(), 20, "automatic set-up does not take it")
        assert meter.total() is None
    one = look(meter, "setup", locale=locale)
    page = one.page
    if not named:
        pick(page)
    ready(page)
    sign, no, take = page.locator("#sign"), page.locator("#no"), page.locator("#take")
    expect(sign).to_have_attribute("data-state", "warn")
    expect(sign).to_contain_text(said)
    expect(sign).to_contain_text("sensor.import +")
    above = "([a, b]) => Boolean(a.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING)"
    assert page.evaluate(above, [sign.element_handle(), page.locator("#ask").element_handle()]), "before the question"
    expect(no).to_have_text(turn)
    expect(no).to_have_class("right")
    expect(take).to_be_disabled()
    one.axe()
    no.click()
    # Turned, the same counters prove it; what the Energy settings declare is no objection any more.
    expect(sign).to_have_attribute("data-state", "good")
    expect(page.locator("#ask")).to_be_hidden()
    expect(take).to_be_enabled()
    take.click()
    expect(page.locator("#done")).to_be_visible()
    assert options(meter)["total_invert"] is True
    meter.until_total(3000, 5)


def test_who_keeps_a_contradicted_sign_is_asked_once_more(home, look):
    meter = home(-3000, named=False)
    one = look(meter, "setup")
    one.allowed = ("409",)
    page = one.page
    pick(page)
    expect(page.locator("#sign")).to_have_attribute("data-state", "warn")
    page.locator("#yes").click()
    take = page.locator("#take")
    expect(take).to_be_enabled()
    take.click()
    expect(page.locator("#look .answer")).to_contain_text("the counters say the opposite: sensor.import +")
    expect(take).to_have_text("Use it anyway")
    assert "total_power" not in options(meter)
    take.click()
    expect(page.locator("#done")).to_be_visible()
    meter.until_total(-3000, 5)


def test_where_the_counters_say_nothing_it_is_asked(home, look):
    meter = home(3000, recorder=False)
    page = look(meter, "setup").page
    ready(page)
    expect(page.locator("#ask")).to_be_visible()
    expect(page.locator("#sign")).to_be_hidden()
    expect(page.locator("#yes")).to_have_text("Yes, drawing 3,000\u202fW is right")
    expect(page.locator("#take")).to_be_disabled()
    page.locator("#yes").click()
    expect(page.locator("#take")).to_be_enabled()


def test_the_settings_ask_before_they_turn_it_against_the_counters(home):
    meter = home(3000, named=False, options={"total_power": "sensor.m1_power"})
    meter.until_total(3000, 20)
    turn = {"changes": {"total_invert": "true"}}
    asked = fetch(meter.dashboard_port, "POST", "/settings", turn, headers=PAGE, timeout=20)
    assert asked.status == 409 and asked.json()["ask"], asked
    problem, = asked.json()["problems"]
    assert problem["key"] == "total_invert" and "the counters say the opposite: sensor.import +" in problem["text"]
    assert fetch(meter.dashboard_port, "POST", "/settings", {**turn, "anyway": True}, headers=PAGE, timeout=20).status == 200
    meter.until_total(-3000, 5)
    # Back is right, and nobody asks.
    back = fetch(meter.dashboard_port, "POST", "/settings", {"changes": {"total_invert": "false"}}, headers=PAGE, timeout=20)
    assert back.status == 200, back


def test_a_power_picked_by_hand_is_compared_while_it_runs(home, fake_ha):
    """No recorder, and options name no counter: those of the Energy settings tell. A furnace, so that it takes no minutes."""
    meter = home(-300_000, named=False, recorder=False, options={"total_power": "sensor.m1_power"})
    meter.until_total(-300_000, 20)
    begin = time.time()

    def contradicted():
        fake_ha.set("sensor.import", f"{8000 + 300 * (time.time() - begin) / 3600:.3f}", "kWh", device_class="energy")
        return "sensor.m1_power: \u2212300000 W counts as feeding in, but the counters say the opposite: sensor.import +" in meter.get("/healthz").text
    until(contradicted, 120)
    said = fetch(meter.dashboard_port, "POST", "/preview", {"total_power": "sensor.m1_power"}, headers=PAGE).json()
    assert said["sign"]["state"] == "contradicted" and said["sign"]["turn"] == ["total"]
    turned = fetch(meter.dashboard_port, "POST", "/preview", {"total_power": "sensor.m1_power", "total_invert": True}, headers=PAGE).json()
    assert turned["sign"]["state"] == "proven", "the same the other way round"
    assert 'settings#f-total_invert"' in fetch(meter.dashboard_port, "GET", "/").text, "where it is turned"
    assert all(entity["entity"] == "sensor.m1_power" for entity in entities(meter)), "no energy is taken from them"


def test_what_was_taken_by_itself_is_withdrawn_while_it_runs(home, fake_ha, look):
    """The same where automatic set-up took the power: nobody confirmed it, so it is served no longer, and not again by a restart."""
    meter = home(-300_000, recorder=False)
    meter.until_total(-300_000, 20)
    begin = time.time()

    def withdrawn():
        fake_ha.set("sensor.import", f"{8000 + 300 * (time.time() - begin) / 3600:.3f}", "kWh", device_class="energy")
        return "not served any more" in meter.log() and meter.total() is None
    until(withdrawn, 120)
    says = "the counters say the opposite: sensor.import +"
    until(lambda: says in meter.get("/healthz").text, 10)
    meter.restart()
    until(lambda: "nothing could be taken by itself" in meter.log().rsplit("starts, data in", 1)[1], 20)
    assert meter.total() is None and says in meter.get("/healthz").text
    # Every page says so, and since when; the counters' word is kept for the question, and turns it without an objection.
    phase = meter.get("/healthz").json()["quality"]["a"]
    assert phase["state"] == "absent" and says in phase["reason"] and phase["age"] < 60, phase
    for place in ("/", "/health", "/setup"):
        page = fetch(meter.dashboard_port, "GET", place).text
        assert "Not served for" in page and says in page, place
    until(lambda: "rows diary" in fetch(meter.dashboard_port, "GET", "/health").text, 40, "it is listed")
    same = {"total_power": "sensor.m1_power"}
    turned = {**same, "total_invert": True}
    kept = fetch(meter.dashboard_port, "POST", "/preview", same, headers=PAGE).json()["sign"]
    assert kept["state"] == "contradicted" and kept["turn"] == ["total"], kept
    assert fetch(meter.dashboard_port, "POST", "/preview", turned, headers=PAGE).json()["sign"]["state"] == "proven"
    one = look(meter, "setup")
    pick(one.page)
    expect(one.page.locator("#no")).to_have_text("Turn it round, as the counters say")
    assert fetch(meter.dashboard_port, "POST", "/setup", same, headers=PAGE).status == 409, "the sign is wrong"
    taken = fetch(meter.dashboard_port, "POST", "/setup", turned, headers=PAGE)
    assert taken.status == 200, taken.text
    meter.until_total(300_000, 5)
    until(lambda: says not in meter.get("/healthz").text and "Not served for" not in fetch(meter.dashboard_port, "GET", "/").text, 20)


def entities(meter):
    return json.loads(fetch(meter.dashboard_port, "GET", "/diagnostics").text)["meters"][0]["entities"]
