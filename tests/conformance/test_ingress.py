"""The dashboard as a person meets it: the app behind the Supervisor's ingress, values of a real Home Assistant Core,
and a real Chromium. Screenshots are kept in target/screenshots; those of docs/images are made from them by
tests/tools/screenshots.py."""
import contextlib
import functools
import json
import re
import socket
import threading
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

import app_options
import shelly_in_ha
from fake_ingress import PEER
from harness import LOCAL, ROOT, fetch, golden, near, until
from ingress_world import (PHASES, app_behind, aside, ask_ha, browser, energy_settings, fresh, house, meter, phone, power,  # noqa: F401: fixtures
                           stored, visit)
from installed import IMAGE
from test_diary import BATTERY, Battery

pytestmark = pytest.mark.skipif(bool(IMAGE), reason="the image's page is the same program")

GRID = {"type": "grid", "stat_energy_from": "sensor.grid_import_energy", "stat_energy_to": "sensor.grid_export_energy",
        "stat_cost": None, "entity_energy_price": None, "number_energy_price": None, "stat_compensation": None,
        "entity_energy_price_export": None, "number_energy_price_export": None, "cost_adjustment_day": 0.0}
PAGES = ("", "energy", "readers", "forecast", "health", "settings", "setup")


def seen(app):
    """Who reads, asked as the page does."""
    return fetch(app.supervisor.ingress_port, "GET", "/readers.json", source=PEER).json()["consumers"]


# -- set-up
def test_set_up_from_the_energy_settings(ha, fresh, visit, energy_settings):
    ha.set(grid_power=512)
    energy_settings({**GRID, "power_config": {"stat_rate": "sensor.grid_power"}})
    fresh.start()
    until(lambda: near(fresh.total(), 512), 15, "taken by itself")
    one = visit(fresh)
    page = one.page
    assert page.locator("h1").inner_text() == "Set-up", "nobody has confirmed it: the page opens on the set-up"
    found = page.locator(".found")
    assert "Please confirm that the sign is right" in page.locator("#setup").inner_text() and page.locator(".notice:visible").count() == 0
    assert "grid power · changed" in found.inner_text() and "Energy settings" in found.inner_text() and "sensor.grid_power" in found.inner_text() and "512" in found.inner_text()
    page.wait_for_selector("#look:not([hidden])")
    assert page.locator("#pv-word").inner_text() == "Drawing from the grid" and page.locator("#pv-power").inner_text() == "512\u202fW"
    ha.set(grid_power=777)
    expect(page.locator("#pv-power")).to_contain_text("777")
    expect(found.locator(".is").first).to_contain_text("777")
    assert "grid power · changed" in found.inner_text()
    one.shot("setup")
    pid = fresh.pid()
    use = page.get_by_role("button", name="Use it")
    assert use.is_disabled(), "nobody has said yet that the sign is right"
    ha.set(grid_power=3)
    expect(page.locator("#wait")).to_be_visible()
    assert page.locator("#ask").is_hidden(), "at about 0 W there is nothing to answer"
    ha.set(grid_power=-616)
    # The answers repeat what is shown: a hasty yes to a right sign turns nothing.
    page.get_by_role("button", name="Yes, feeding in 616\u202fW is right").click()
    expect(page.locator("#pv-power")).to_contain_text("616")
    assert page.locator("#flipped").is_hidden()
    use.click()
    page.wait_for_selector("#done:not([hidden])")
    stored(fresh, total_power="sensor.grid_power", energy_import="sensor.grid_import_energy", total_invert=None)
    assert fresh.supervisor.restarts == 0 and fresh.pid() == pid, "applied without a restart"
    ha.set(grid_power=-345.5)
    until(lambda: near(fresh.total(), -345.5), 2)
    page.get_by_role("link", name="Open the meter").click()
    page.wait_for_selector("#live")
    assert "Feeding into the grid" in page.locator(".grid").inner_text() and page.locator(".notice").count() == 0
    fresh.stop()
    fresh.start()
    until(lambda: near(fresh.total(), -345.5), 10, "also after a restart")


def test_a_first_hour(ha, fresh, visit, energy_settings):
    """Installed, confirmed, paired with a battery, which falls silent and comes back: what the page says at each step."""
    ha.set(grid_power=512)
    energy_settings({**GRID, "power_config": {"stat_rate": "sensor.grid_power"}})
    fresh.start()
    until(lambda: near(fresh.total(), 512), 15)
    one = visit(fresh)
    page = one.page
    page.get_by_role("button", name="Yes, drawing 512\u202fW is right").click()
    page.get_by_role("button", name="Use it").click()
    expect(page.locator("#done")).to_be_visible()
    expect(page.get_by_role("link", name="Show the meter without confirming")).to_have_count(0)
    tile = page.locator("#tile-marstek-venus")
    tile.locator("> summary").click()
    expect(tile.locator(".steps li")).to_have_count(3)
    expect(tile.locator(".light")).to_have_text("No call yet.")
    tile.get_by_role("button", name="This will read it").click()
    expect(tile.locator(".what > .row .answer")).not_to_be_empty()
    battery = Battery(fresh.udp_port)
    try:
        expect(tile.locator(".light")).to_have_text(f"First call from {BATTERY}.")
        one.go("")
        expect(page.locator(".verdict")).to_contain_text("All is well.")
        one.go("readers")
        row = page.locator(f"details[data-ip='{BATTERY}']")
        expect(row.locator("form.mark")).to_have_count(1)
        row.locator("> summary").click()
        row.get_by_label("must read").check()
        row.get_by_role("button", name="Save").first.click()
        expect(row.locator(".mark .answer")).to_contain_text("You are told when it falls silent")
        # Its rhythm has to be known before a silence is one.
        until(lambda: any(c["ip"] == BATTERY and c["calls"] > 60 for c in seen(fresh)), 20)
        battery.on = False
        expect(page.locator("#notices")).to_contain_text("has not read the meter for", timeout=40_000)
        told = until(lambda: [n for n in ask_ha(ha, ("persistent_notification/get", {})) if BATTERY in n["message"]], 10)
        assert "is not reading" in told[0]["message"]
        battery.on = True
        expect(page.locator("#notices")).not_to_contain_text("has not read the meter", timeout=20_000)
        until(lambda: not [n for n in ask_ha(ha, ("persistent_notification/get", {})) if BATTERY in n["message"]], 10)
        one.go("health")
        expect(page.locator(".diary li").first).to_contain_text(BATTERY)
        expect(page.locator(".diary li[data-lasts=true]")).to_have_count(0)
    finally:
        battery.over = True


def test_the_meter_can_be_seen_unconfirmed(ha, fresh, visit, energy_settings):
    ha.set(grid_power=300)
    energy_settings({**GRID, "power_config": {"stat_rate": "sensor.grid_power"}})
    fresh.start()
    until(lambda: near(fresh.total(), 300), 15)
    page = visit(fresh).page
    page.get_by_role("link", name="Show the meter without confirming").click()
    page.wait_for_selector("#live")
    assert "Please confirm" in page.locator(".notice").inner_text() and "300" in page.locator(".grid").inner_text()
    assert "total_power" not in fresh.supervisor.options, "nothing was written by looking"


def test_set_up_by_hand(ha, fresh, visit):
    ha.set(grid_power=640)
    area = ask_ha(ha, ("config/area_registry/create", {"name": "Meter cupboard"}))
    ask_ha(ha, ("config/entity_registry/update", {"entity_id": "sensor.grid_power", "area_id": area["area_id"]}))
    fresh.start()
    until(lambda: "GET /core/websocket" in fresh.supervisor.calls, 10)
    one = visit(fresh)
    page = one.page
    page.wait_for_selector(".sensor")  # the page comes by itself when Home Assistant has answered
    assert page.locator("h1").inner_text() == "Set-up" and page.locator(".found").count() == 0
    text = page.locator(".sensor[data-id='sensor.grid_power']").inner_text()
    assert all(word in text for word in ("Grid power", "sensor.grid_power", "640", "W", "Meter cupboard", "changed", "ago")), text
    assert "unavailable" not in page.locator(".sensor").first.inner_text(), "what says a number comes first"
    listed = page.locator(".sensor").all_inner_texts()
    assert len(listed) >= 8 and any("unavailable" in text for text in listed)
    page.get_by_label("Search sensors").fill("cupboard")
    assert page.locator(".sensor:visible").count() == 1, "also by area"
    page.locator(".sensor:visible").click()
    page.wait_for_selector("#look:not([hidden])")
    power, word = page.locator("#pv-power"), page.locator("#pv-word")
    assert word.inner_text() == "Drawing from the grid" and power.inner_text() == "640\u202fW"
    assert page.locator("#pv-phases li").first.inner_text().split("\n") == ["L1", "Drawing from the grid", "640\u202fW"]
    page.get_by_role("button", name="No, I am feeding into the grid").click()
    expect(word).to_have_text("Feeding into the grid")
    assert page.locator("#flipped").is_visible(), "the sign was turned, and the page says so"
    page.get_by_label("Served on").select_option("split")
    third = page.locator("#pv-phases li").nth(2)
    expect(third).to_contain_text("213")
    page.get_by_role("button", name="No, I am feeding into the grid").click()
    expect(third).to_contain_text("Feeding")
    one.shot("setup-by-hand")
    assert one.axe() == []
    page.get_by_role("button", name="Use it").click()
    page.wait_for_selector("#done:not([hidden])")
    stored(fresh, total_power="sensor.grid_power", total_invert=True, total_phase="split")
    until(lambda: near(fresh.total(), -640), 5)
    assert near(fresh.get("/rpc/EM.GetStatus?id=0").json()["c_act_power"], -213.3, 0.15)
    # Another time, a pair of sensors that are never negative: they replace what was there.
    ha.set(grid_power=-250)
    one.go("setup")
    page.get_by_label("Import and export").check()
    for way in ("import", "export"):
        page.locator(f".sensor[data-id='sensor.grid_{way}_power']").click()
    expect(power).to_contain_text("250")
    assert word.inner_text() == "Feeding into the grid"
    page.get_by_role("button", name="Yes, feeding in 250").click()
    page.get_by_role("button", name="Use it").click()
    page.wait_for_selector("#done:not([hidden])")
    stored(fresh, total_power="sensor.grid_import_power", total_power_export="sensor.grid_export_power", total_invert=None, total_phase=None)
    until(lambda: near(fresh.total(), -250), 5)


def test_turning_a_declared_sensor_asks_twice(ha, fresh, visit, energy_settings):
    ha.set(grid_power=-616)
    energy_settings({**GRID, "power_config": {"stat_rate": "sensor.grid_power"}})
    fresh.start()
    until(lambda: near(fresh.total(), -616), 15, "taken by itself")
    one = visit(fresh)
    one.allowed = ("status of 409",)
    page = one.page
    page.get_by_role("button", name="No, I am drawing from the grid").click()
    expect(page.locator("#pv-word")).to_have_text("Drawing from the grid")
    page.get_by_role("button", name="Use it").click()
    anyway = page.get_by_role("button", name="Use it anyway")
    anyway.wait_for()
    said = page.locator("#look .answer").inner_text()
    assert "other way round" in said and "sensor.grid_power" in said and "total_power" not in fresh.supervisor.options
    one.shot("setup-turn")
    assert one.axe() == []
    anyway.click()
    page.wait_for_selector("#done:not([hidden])")
    stored(fresh, total_power="sensor.grid_power", total_invert=True)
    until(lambda: near(fresh.total(), 616), 5)


def test_a_mistyped_entity_asks_before_it_is_saved(ha, house, visit):
    one = visit(house, "settings")
    one.allowed = ("status of 400", "status of 409")
    page = one.page
    before = dict(house.supervisor.options)
    page.get_by_label("Search options").fill("c_power")
    field, error = page.locator("#i-c_power"), page.locator("#f-c_power .error")
    save, anyway = page.get_by_role("button", name="Save", exact=True), page.get_by_role("button", name="Save anyway")
    field.fill("sensor.gird_l3_power")
    save.click()
    anyway.wait_for()
    assert "sensor.gird_l3_power does not exist" in error.inner_text()
    one.shot("settings-asks", whole=False)
    assert one.axe() == []
    field.fill("sensor.grid_import_energy")
    expect(anyway).to_be_hidden()  # what is typed anew is asked anew
    save.click()
    expect(error).to_contain_text("unit")
    assert anyway.is_hidden(), "a counter is no power: refused"
    field.fill("sensor.grid_l3_power")
    page.locator("#i-c_power_export").fill("sensor.grid_l3_power")
    save.click()
    expect(page.locator("#f-c_power_export .error")).to_contain_text("always 0")
    page.locator("#i-c_power_export").fill("")
    field.fill("sensor.grid_l1_power")
    save.click()
    expect(page.locator(".savebar .answer")).to_contain_text("two phases count the same")
    assert house.supervisor.options == before, "nothing was written"
    assert near(house.total(), 512), "and the meter goes on"
    page.get_by_role("button", name="Discard").click()


# -- Now
def test_live_values_without_a_reload(ha, house, visit):
    one = visit(house)
    page = one.page
    assert page.locator(".grid .flow").inner_text() == "Drawing from the grid" and page.locator(".grid .big").inner_text() == "512\u202fW"
    page.evaluate("window.untouched = true")
    loads = len([url for url in one.requests if url == one.ingress.url])
    ha.set(grid_l1=-800, grid_l2=0, grid_l3=-40)
    expect(page.locator(".grid .big")).to_contain_text("840")
    assert page.locator(".grid .flow").inner_text() == "Feeding into the grid"
    assert page.locator(".phase .flow").all_inner_texts() == ["Feeding into the grid", "Nothing flows", "Feeding into the grid"]
    assert page.locator(".grid").get_attribute("data-flow") == "export"
    assert page.evaluate("window.untouched") and len([url for url in one.requests if url == one.ingress.url]) == loads
    assert any("/live" in url for url in one.requests), "pushed over the WebSocket"


def test_unavailable_in_words(ha, house, visit):
    english, german = visit(house), visit(house, locale="de-DE")
    try:
        ha.available(False)
        for one, words in ((english, "is unavailable"), (german, "ist nicht verfügbar")):
            expect(one.page.locator(".phase .quality").first).to_contain_text(words)
        assert english.page.locator(".phase").first.get_attribute("data-state") == "held"
        assert "420" in english.page.locator(".phase").first.inner_text(), "held, and said so"
    finally:
        ha.available(True)
    english.page.wait_for_selector(".grid[data-state=live]")


def test_when_much_is_wrong(binary, ha, tmp_path, visit):
    """A missing entity, a taken port, then no Home Assistant: each said once, in words, and nothing breaks the layout."""
    with socket.socket() as taken, app_behind(binary, ha, tmp_path, {**PHASES, "b_power": "sensor.not_there", "hold": 1}) as app:
        taken.bind((LOCAL, 0))
        taken.listen()
        app.supervisor.network["502/tcp"] = taken.getsockname()[1]
        app.start()
        until(lambda: "not_there" in app.log() and power(app) is None, 10)
        one = phone(visit, app, "health", locale="de-DE")
        page = one.page
        expect(page.locator(".notice").first).to_contain_text("sensor.not_there gibt es nicht")
        row = page.locator(".rows li", has_text="Modbus TCP")
        expect(row).to_contain_text("von einem anderen Programm belegt: Geräte, die über Modbus TCP lesen")
        assert "Karte „Netzwerk“ der App" in row.inner_text(), "what to do, there"
        assert "os error" not in page.locator("main").inner_text()
        tall = page.evaluate("() => Math.max(...[...document.querySelectorAll('.rows .what')].map(e => e.getBoundingClientRect().height))")
        assert tall < 60, "names are not broken letter by letter"
        assert one.axe() == []
        app.supervisor.core_state(False)
        one.go("")
        expect(page.locator(".notice").first).to_contain_text("Home Assistant läuft noch nicht, sagt der Supervisor", timeout=30000)
        assert page.locator(".notice").count() == 2, "the link is named once"
        page.wait_for_selector("#chart canvas")
        hours = page.evaluate("() => { const c = document.querySelector('#chart canvas'); return [c.width > 300, document.body.innerText.includes('NaN')]; }")
        assert hours == [True, False]
        one.go("setup")
        page.get_by_text("Nochmal versuchen").wait_for()
        assert "keinen Sensor" not in page.locator("#setup").inner_text(), "nobody was asked: that is not none"


def test_reconnects_by_itself(ha, house, visit):
    one = visit(house)
    one.allowed = ("502", "WebSocket connection")
    page = one.page
    until(lambda: one.ingress.sockets, 5, "the live channel is open")
    try:
        house.supervisor.ingress_state(False)
        page.wait_for_selector("main.lost")
        assert page.locator("#toast").inner_text() == "Reconnecting …" and "512" in page.locator(".grid").inner_text(), "the last figures stay, greyed"
        ha.set(grid_l1=1000)
    finally:
        house.supervisor.ingress_state(True)
    page.wait_for_selector("main:not(.lost)", timeout=15000)
    expect(page.locator(".grid .big")).to_contain_text("1,092")
    assert page.locator("#toast").is_hidden()


def test_an_ended_session_asks_for_a_reload(house, visit):
    """Home Assistant then answers 401 to whatever is asked; a socket that is open goes on."""
    ingress = house.supervisor.ingress
    now, health = visit(house), visit(house, "health")
    until(lambda: ingress.sockets, 5, "the live channel is open")
    mine, ingress.session = ingress.session, "another"
    try:
        for one in (now, health):
            one.allowed = ("401",)
            expect(one.page.locator("#toast")).to_have_text("No connection: please reload the page")
        health.page.wait_for_selector("main.lost")
        assert now.page.locator("main.lost").count() == 0, "its figures are live"
    finally:
        ingress.session = mine
    for one in (now, health):
        expect(one.page.locator("#toast")).to_be_hidden()


DRAWN = """() => { const c = document.querySelector('#chart canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
    let n = 0; for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200 && d[i + 2] - d[i] > 50) n++; return n; }"""


def test_chart_is_drawn(house, visit):
    one = visit(house)
    page = one.page
    for name, label in (("3m", "3 min"), ("1h", "1 h"), ("24h", "24 h"), ("30d", "30 d")):
        page.get_by_role("button", name=label, exact=True).click()
        page.wait_for_selector(f"#chart[data-range='{name}'] canvas")
        assert page.evaluate(DRAWN) > 500, f"a line in {name}"
    area = page.locator("#chart .u-over").bounding_box()
    page.mouse.move(area["x"] + area["width"] * 0.6, area["y"] + area["height"] / 2)
    assert re.search(r"(Drawing from|Feeding into) the grid · [\d,.]+\u202fk?W", page.locator("#hover").inner_text())
    answer = fetch(house.supervisor.ingress.port, "GET", f"{one.ingress.prefix}/chart.json?range=30d", headers={"Cookie": f"ingress_session={one.ingress.session}"})
    assert len(answer.text) < 150_000 and len(answer.json()["ts"]) > 300
    axis = page.evaluate("() => { const c = document.querySelector('#chart canvas'); return [c.width, c.height]; }")
    assert min(axis) > 200


def test_charts_keep_the_houses_time(house, visit):
    """As the lists do, wherever the browser is; the fixture's Home Assistant lives in Amsterdam."""
    page = visit(house, timezone_id="Asia/Tokyo").page
    page.wait_for_selector("#chart[data-range='3m'] canvas")
    area = page.locator("#chart .u-over").bounding_box()
    page.mouse.move(area["x"] + area["width"] * 0.6, area["y"] + area["height"] / 2)
    shown = datetime.strptime(page.locator("#hover .muted").first.inner_text(), "%d/%m/%Y, %H:%M:%S")
    assert abs(datetime.now(ZoneInfo("Europe/Amsterdam")).replace(tzinfo=None) - shown) < timedelta(minutes=10)


def test_dark(house, visit):
    light, dark = visit(house), visit(house, color_scheme="dark")

    def brightness(one, what):
        color = one.page.evaluate("s => getComputedStyle(document.querySelector(s)).backgroundColor", what)
        return sum(map(int, re.findall(r"\d+", color)[:3])) / 3
    for what in ("body", ".card"):
        assert brightness(light, what) > 230 and brightness(dark, what) < 40
    dark.page.wait_for_selector("#chart canvas")
    assert dark.page.evaluate(DRAWN) > 300


# -- every page
@pytest.mark.parametrize("path", PAGES, ids=[path or "now" for path in PAGES])
def test_axe_finds_nothing_serious(house, visit, path):
    """In light on a desk and in dark on a phone, everything unfolded."""
    for one in (visit(house, path), phone(visit, house, path, color_scheme="dark")):
        one.page.evaluate("() => document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert one.axe() == []


def test_phone(house, visit):
    one = phone(visit, house)
    for path in PAGES:
        page = one.go(path)
        wide = page.evaluate("""() => [document.documentElement.scrollWidth, ...[...document.querySelectorAll('main *')].filter(e =>
            e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))]""")
        assert wide == [390], f"{path}: nothing sticks out"
        bar = page.locator("nav.tabs").bounding_box()
        assert bar["y"] + bar["height"] == 844 and bar["width"] == 390, "the tabs are a bar at the bottom"
        assert min(box["height"] for box in (a.bounding_box() for a in page.locator("nav.tabs a").all())) >= 44
        if path in ("", "setup"):
            page.wait_for_selector("#chart canvas" if path == "" else ".sensor")
            if path:
                one.shot("phone-setup", whole=False)


def visible_words(page):
    """Words of a page that a person reads, those of code and names aside."""
    text = page.evaluate("""() => { const w = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), out = [];
        while (w.nextNode()) { const e = w.currentNode.parentElement;
            if (!e.closest('script,style,code,noscript,pre,option,.name,.what,small,[hidden]')) out.push(w.currentNode.data); }
        for (const e of document.querySelectorAll('[aria-label],[placeholder],[title]')) out.push(e.ariaLabel ?? '', e.placeholder ?? '', e.title ?? '');
        return out.join(' '); }""")
    # Names of entities, keys and what an option may be set to are the same in every language.
    return set(re.findall(r"[a-zA-Zäöüß]{3,}", re.sub(r"\b[a-z]+\.[a-z0-9_]+|\b\w+_\w+|\b[a-z]+(?=: )", "", text)))


ENGLISH = {"the", "and", "from", "with", "your", "this", "that", "not", "for", "are", "drawing", "feeding", "nothing", "last", "power", "grid",
           "today", "yesterday", "month", "counters", "reset", "readers", "settings", "entities", "listeners", "default", "search", "open",
           "connected", "ago", "changed", "choose", "voltage", "current", "served", "size", "write", "download", "file"}


def test_german(house, visit):
    one = visit(house, locale="de-DE")
    for path in PAGES:
        page = one.go(path)
        assert page.locator("html").get_attribute("lang") == "de"
        left = {word for word in visible_words(page) if word.lower() in ENGLISH}
        assert not left, f"{path}: {left}"
    page = one.go("")
    assert page.locator(".grid .flow").inner_text() == "Bezug aus dem Netz" or "Netz" in page.locator(".grid .flow").inner_text()
    assert "230,0" in page.locator(".phase").first.inner_text()
    assert visible_words(visit(house).page) & {"Drawing", "grid"}, "the test can fail"


def test_keyboard(house, visit):
    page = visit(house).page
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen = page.evaluate("""() => { const e = document.activeElement, s = getComputedStyle(e), b = e.getBoundingClientRect();
            return [e.textContent.trim() || e.id, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2, b.width > 0 && b.height > 0]; }""")
        reached.append(seen[0])
        assert seen[1] and seen[2], f"{seen[0]} has no visible focus"
        if seen[0] == "30 d":
            break
    assert reached[:2] == ["Skip to content", "Now"] and {"Energy", "Readers", "Health", "Settings", "3 min", "30 d"} <= set(reached), reached
    page.get_by_role("link", name="Readers").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/readers")


@pytest.mark.parametrize("path", PAGES[1:])
def test_keyboard_reaches_what_a_page_is_for(house, visit, path):
    """Behind the tabs: the first things of the page itself, each with a focus that is seen."""
    page = visit(house, path).page
    here = page.locator("main").locator("a:visible, button:visible:enabled, input:visible:enabled, select:visible, summary:visible").count()
    page.locator("nav.tabs a").last.focus()
    for _ in range(min(here, 5)):
        page.keyboard.press("Tab")
        name, inside, outlined = page.evaluate("""() => { const e = document.activeElement, s = getComputedStyle(e);
            return [e.outerHTML.slice(0, 80), !!e.closest('main'), s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2]; }""")
        assert inside and outlined, name


# -- pages
@pytest.fixture
def battery(house):
    """A battery that asks over UDP once a second, from its own address and port, as a Marstek does."""
    stop, request = threading.Event(), golden("udp_marstek_em")["request"]["datagram_text"].encode()

    def run():
        with socket.socket(type=socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.77", 22222))
            s.settimeout(1)
            while not stop.is_set():
                s.sendto(request, (LOCAL, house.udp_port))
                with contextlib.suppress(TimeoutError):
                    s.recv(65535)
                stop.wait(0.5)
    thread = threading.Thread(target=run)
    thread.start()
    yield house
    stop.set()
    thread.join(5)


def test_readers(ha, battery, visit):
    """A battery, and Home Assistant's own Shelly integration."""
    aside(shelly_in_ha.remove_all(ha))
    try:
        assert aside(shelly_in_ha.add(ha, LOCAL, battery.http_port, expect=37))["result"] == "loaded"
        assert near(battery.total(), 512)  # somebody looks once
        one = visit(battery, "readers")
        page = one.page
        row = page.locator("details[data-ip='127.0.0.77']")
        expect(row.locator("summary")).to_contain_text("every")
        text = row.locator("summary").inner_text()
        assert all(word in text for word in ("Marstek Venus", "UDP", "every", "512", "waits for 512")), text
        ha.set(grid_l1=421)
        pushed = page.locator("details[data-channel=websocket] summary")
        expect(pushed).to_contain_text("pushed", timeout=30000)
        assert "Home Assistant" in pushed.inner_text(), pushed.inner_text()
        ha.set(grid_l1=420)
        row.locator("summary").click()
        row.locator(".call").first.wait_for()
        assert "EM.GetStatus" in row.locator(".call").first.inner_text() and "total_act_power" in row.locator("pre").nth(1).inner_text()
        assert 1 <= row.locator(".call").count() <= 20
        one.context.grant_permissions(["clipboard-read", "clipboard-write"])
        row.get_by_role("button", name="Copy all").click()
        expect(row.get_by_role("button", name="Copied")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied.count("\n> ") == row.locator(".call").count() == copied.count("\n< ") and "total_act_power" in copied
        expect(row.get_by_role("button", name="Copy all")).to_be_visible()
        one.go("setup")
        page.wait_for_selector(".sensor")
        assert "shellypro3em" not in page.locator(".sensors").inner_text(), "our own entities are not offered"
        one.go("readers")
        # Who only looks and asks no more is not missed: no red, and no word that alarms.
        asked = page.locator("details[data-channel=http][data-ip='127.0.0.1']")
        expect(asked.locator("summary")).to_contain_text("no longer asks", timeout=60_000)
        expect(asked.locator(".dot").first).to_have_attribute("data-state", "none")
        one.shot("readers", whole=False)
        one.go("")
        assert "Marstek" in page.locator("#below").inner_text()
        page.get_by_role("button", name="24 h", exact=True).click()
        page.wait_for_selector("#chart[data-range='24h'] canvas")
        one.shot("now-light")
        dark = visit(battery, color_scheme="dark")
        dark.page.get_by_role("button", name="1 h", exact=True).click()
        dark.page.wait_for_selector("#chart[data-range='1h'] canvas")
        dark.shot("now-dark")
        small = phone(visit, battery)
        small.page.get_by_role("button", name="24 h", exact=True).click()
        small.page.wait_for_selector("#chart[data-range='24h'] canvas")
        expect(small.page.locator(".verdict")).to_contain_text("All is well.")
        small.shot("phone-now", whole=False)
    finally:
        aside(shelly_in_ha.remove_all(ha))


def test_nobody_reads_is_a_checklist(fresh, visit):
    fresh.supervisor.options |= {"total_power": "sensor.grid_power", **dict.fromkeys(("modbus_enable",), False)}
    fresh.start()
    page = visit(fresh, "readers").page
    text = page.locator("#who").inner_text()
    assert "Nobody has read the meter since it started" in text and re.search(rf"UDP listens on ports? .*{fresh.udp_port}", text) and "same network" in text


def test_health_and_diagnostics(house, visit):
    house.supervisor.options |= {"auth_password": "a-secret-of-mine"}
    one = visit(house, "health")
    page = one.page
    text = page.locator("main").inner_text()
    for word in ("2026.", "connected", "sensor.grid_l1_power", "420", "L1", f"port {house.http_port}", "HTTP", "WebSocket", "saving works", "Europe/Amsterdam"):
        assert word in text, word
    assert re.search(r"mDNS\s+switched off", text)
    assert "−37.5\u202fW" in text, "a true minus sign"
    assert text.count("WebSocket\n") == 1, "ports of one kind are one line"
    one.shot("health")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the file").click()
    file = json.loads(download.value.path().read_text())
    assert download.value.suggested_filename == "virtual-shelly-diagnostics.json"
    assert {"version", "options", "listeners", "store", "meters", "problems"} <= set(file) and file["meters"][0]["entities"]
    secrets = (house.supervisor.token, "a-secret-of-mine", one.ingress.session, one.ingress.token)
    assert not any(secret in download.value.path().read_text() for secret in secrets)
    del house.supervisor.options["auth_password"]


def test_the_stand_in_refuses_what_the_supervisor_refuses():
    good = {"meters": [], "total_power": "sensor.a, sensor.b", "hold": "30", "udp_max": 512, "stale": "error", "outbound_ws": ["ws://gx/ws"]}
    assert app_options.check({**good, "nonsense": 1}) == ({**good, "hold": 30}, ["nonsense"])
    for key, value in (("meters", None), ("hold", 3601), ("hold", "x"), ("stale", "off"), ("total_invert", "yes"),
                       ("udp_enable", None), ("outbound_ws", "ws://gx/ws"), ("total_scale", -1001), ("ws_port_start", 0)):
        with pytest.raises(app_options.Refused, match=key):
            app_options.check({**good, key: value})
    # Texts are judged by the app, which names the option; a number without quotes in the YAML editor is one too.
    wrong = {**good, "total_power": "Sensor A", "mac": "00", "firmware": "v1.7.1", "outbound_ws": ["gx"]}
    assert app_options.check({**wrong, "sn": 12345}) == ({**wrong, "hold": 30, "sn": "12345"}, [])
    with pytest.raises(app_options.Refused, match="meters"):
        app_options.check({})
    assert app_options.check(app_options.defaults()) == (app_options.defaults(), []), "with nothing stored it has them all"
    for file in (ROOT / "addon/options").glob("*.json"):
        options = json.loads(file.read_text())
        if file.stem == "bad-values":
            with pytest.raises(app_options.Refused):
                app_options.check(options)
        else:
            assert app_options.check(options) == (options, []), file.name


def test_settings_are_written_through_the_supervisor(house, visit, monkeypatch):
    one = visit(house, "settings")
    one.allowed = ("status of 400", "status of 502")  # the browser's own words on the refused ones
    page = one.page
    one.shot("settings", whole=False)
    page.get_by_label("Search options").fill("hold")
    hold = page.locator("#i-hold")
    hold.fill("-5")
    page.get_by_role("button", name="Save").click()
    error = page.locator("#f-hold .error")
    error.wait_for(state="visible")
    assert "0" in error.inner_text() and "3600" in error.inner_text() and hold.get_attribute("aria-invalid") == "true"
    assert "hold" not in house.supervisor.options, "a wrong value is not written"
    hold.fill("45")
    answer = page.locator(".savebar .answer")

    def no(_):
        raise app_options.Refused("not on a Sunday")
    with monkeypatch.context() as patch:
        patch.setattr(app_options, "check", no)
        page.get_by_role("button", name="Save").click()
        expect(answer).to_contain_text("not on a Sunday")
    page.get_by_role("button", name="Save").click()
    expect(answer).to_have_text("Saved, and in effect.")
    stored(house, hold=45, a_power="sensor.grid_l1_power")
    page.get_by_label("Search options").fill("rate_limit")
    page.locator("#i-rate_limit").fill("90")
    page.get_by_role("button", name="Save").click()
    stored(house, rate_limit=90)
    one.go("settings")
    assert "rate_limit" in page.locator(".notice").inner_text(), "it says that a restart is due"
    assert page.locator("#i-hold").input_value() == "45"
    pid = house.pid()
    one.allowed = (*one.allowed, "502")
    page.get_by_role("button", name="Restart now").click()
    expect(page.locator(".savebar .answer")).to_contain_text("Restarting")
    # Another process answers, and the page is here again by itself.
    expect(page.locator(".notice")).to_have_count(0)
    expect(page.get_by_role("button", name="Restart now")).to_have_count(0)
    assert house.supervisor.restarts == 1 and house.pid() != pid
    house.supervisor.restarts = 0
    until(lambda: near(house.total(), 512), 10)
    for key in ("hold", "rate_limit"):
        page.locator(f"#g-{page.locator(f'#f-{key}').evaluate('f => f.parentElement.id.slice(2)')}").evaluate("d => { d.open = true; }")
        page.locator(f"#i-{key}").fill("")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".savebar .answer")).to_contain_text("Saved")
    stored(house, hold=None, rate_limit=None)
    house.stop()
    house.start()
    until(lambda: near(power(house), 512), 15)
    one.go("settings")
    assert page.locator(".notice").count() == 0, "empty is the default again"


def test_each_days_energy_can_be_read(house, visit):
    """By a tap, and without script or pointer from the table; bars use the height of a phone."""
    page = phone(visit, house, "energy").page
    drawn = page.evaluate("""() => { const all = [...document.querySelectorAll('#bars-day .import, #bars-day .export')].map(e => e.getBoundingClientRect());
        return Math.max(...all.map(b => b.bottom)) - Math.min(...all.map(b => b.top)); }""")
    assert drawn > 180, "the largest of both fill it"
    page.locator("#bars-day g").nth(20).tap()
    said = page.locator("[data-bars=day]")
    expect(said).to_contain_text("kWh from grid")
    page.locator("#figures-day summary").focus()
    page.keyboard.press("Enter")
    rows = page.locator("#figures-day tbody tr")
    assert rows.count() == 30
    day, imported, exported = rows.nth(9).locator("th, td").all_inner_texts()
    assert said.inner_text() == f"{day}: {imported} from grid, {exported} to grid"
    assert page.locator("#figures-month tbody tr").count() >= 1


def test_reset_asks_first(house, visit):
    one = visit(house, "energy")
    page = one.page
    assert page.locator(".bars .import").count() >= 28, "a bar a day"
    one.shot("energy")
    total = page.locator("tr.sum td").first.inner_text()
    assert 10 < float(total.removesuffix("\u202fkWh").replace(",", "")) == pytest.approx(house.energy() / 1000, abs=0.2)
    button = page.get_by_role("button", name="Set all counters to 0")
    assert not button.is_visible(), "not with one click"
    page.get_by_text("Reset counters").click()
    assert house.get("/shelly").json()["id"] in page.locator("#reset").inner_text(), "it names what it resets"
    button.click()
    expect(page.locator("#reset .answer")).to_have_text("The counters are now at 0.")
    expect(page.locator("#counted tr.sum td").first).to_have_text("0.0\u202fkWh", timeout=3000)
    until(lambda: house.energy() < 100, 3)


def test_counters_are_taken_over_by_hand(ha, fresh, visit):
    """From the energy entities, whatever was counted before; a sensor without a value changes nothing, and says so."""
    ha.set(grid_power=0, grid_import_energy=12345.678)
    fresh.supervisor.options |= {"total_power": "sensor.grid_power", "energy_import": "sensor.grid_import_energy", "energy_source": "integrate"}
    fresh.start()
    until(lambda: fresh.energy() == 0, 15)
    one = visit(fresh, "energy")
    page = one.page
    button, said = page.get_by_role("button", name="Take the counters over now"), page.locator("#seed .answer")
    assert not button.is_visible(), "not with one click"
    page.get_by_text("Take the counters from the energy entities").click()
    assert fresh.get("/shelly").json()["id"] in page.locator("#seed").inner_text(), "it names whose"
    button.click()
    expect(said).to_have_text("Taken over: energy from grid 12,345.7\u202fkWh (sensor.grid_import_energy).")
    until(lambda: fresh.energy() == 12345678, 3, "served once it is kept")
    one.allowed = ("status of 409",)  # the browser's own words on the refused one
    try:
        ha.available(False)
        until(lambda: fresh.get("/healthz").json()["quality"]["a"]["state"] != "live", 5)
        button.click()
        expect(said).to_contain_text("Nothing was changed: sensor.grid_import_energy")
    finally:
        ha.available(True)
    ha.set(grid_import_energy=5)
    until(lambda: fresh.get("/healthz").json()["quality"]["a"]["state"] == "live", 5)
    page.reload()
    assert "12,345.7" in page.locator("tr.sum").inner_text() and "taken over" in page.locator("main").inner_text()
    page.get_by_text("Take the counters from the energy entities").click()
    button.click()
    expect(said).to_contain_text("Taken over: energy from grid 5.0")
    fresh.stop()
    fresh.start()
    until(lambda: fresh.energy() == 5000, 15, "also after a restart: no copy with the higher counter wins")


# -- doors
def test_only_the_supervisor_gets_in(house):
    ingress = house.supervisor.ingress
    headers = {"X-Forwarded-For": "127.0.0.2", "X-Ingress-Path": ingress.prefix, "X-Hass-Source": "core.ingress"}
    for path in ("/", "/settings", "/live.json", "/diagnostics", "/style.css", "/livez", "/ui", "/nothing"):
        direct = fetch(house.supervisor.ingress_port, "GET", path, headers=headers)
        assert direct.status == 403 and house.get("/shelly").json()["id"] not in direct.text, path
    assert fetch(house.supervisor.ingress_port, "POST", "/reset", {"device": house.get("/shelly").json()["id"]}, headers=headers).status == 403
    assert fetch(house.supervisor.ingress_port, "GET", "/", source=PEER).status == 200
    assert fetch(house.http_port, "GET", "/settings").status == 404, "nor on the device's port"


def test_cross_site_writes_are_refused(house, browser, visit):
    ingress = house.supervisor.ingress
    ask = functools.partial(fetch, ingress.port, "POST", f"{ingress.prefix}/settings", {"changes": {"hold": 7}})
    cookie = {"Cookie": f"ingress_session={ingress.session}", "Content-Type": "application/json"}
    for foreign in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert ask(headers={**cookie, **foreign}).status == 403, foreign
    assert house.supervisor.options.get("hold") != 7
    # A real browser on a page of another site, with the session's cookie: a form, and a fetch.
    one = visit(house)
    one.allowed = ("outside the prefix", "console")
    page = one.page
    before = dict(house.supervisor.options)
    page.goto(f"http://localhost:{ingress.port}/panel")
    status = page.evaluate("""async url => { try { return (await fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include',
        headers: {'Content-Type': 'text/plain'}, body: '{"changes":{"hold":7}}'})).type; } catch (e) { return String(e); } }""", ingress.url + "settings")
    assert status == "opaque" or "TypeError" in status
    page.evaluate("""url => { const f = document.createElement('form'); f.method = 'post'; f.action = url + 'reset'; f.enctype = 'text/plain';
        document.body.append(f); f.submit(); }""", ingress.url)
    page.wait_for_url(f"{ingress.url}reset")
    assert house.supervisor.options == before
    assert ask(headers=cookie).status == 200, "and without the signs of another site it is taken"
    stored(house, hold=7)


def test_in_home_assistants_frame(house, visit):
    one = visit(house)
    page = one.page
    one.allowed = ("/panel",)
    page.goto(f"{one.ingress.origin}/panel")
    frame = page.frame_locator("iframe")
    assert frame.locator(".grid .big").inner_text() == "512\u202fW"
    frame.locator("#chart canvas").wait_for()
    frame.get_by_role("link", name="Energy").click()
    frame.locator(".bars").first.wait_for()
    assert page.url == f"{one.ingress.origin}/panel"


# -- weight and time
def test_weight(house, visit):
    for path in ("", "energy", "forecast", "settings"):
        one = visit(house, path)
        if path == "":
            one.page.wait_for_selector("#chart canvas")
        seen = one.page.evaluate("""() => [performance.getEntriesByType('navigation')[0], ...performance.getEntriesByType('resource')]
            .map(e => [e.name.split('/').pop().split('?')[0], e.decodedBodySize])""")
        total = sum(size for _, size in seen)
        assert 10_000 < total < 150_000, f"{path}: {seen}"
        assert len([name for name, _ in seen if name.endswith(".js")]) <= 2 and len([n for n, _ in seen if n.endswith(".css")]) == 1


def test_values_are_in_the_html(house, visit):
    """Without script: every figure is there, and the page comes again by itself."""
    one = visit(house, java_script_enabled=False)
    page = one.page
    assert page.locator(".grid .big").inner_text() == "512\u202fW" and "Drawing" in page.locator(".grid").inner_text()
    assert page.locator(".phase .mid").all_inner_texts() == ["420\u202fW", "130\u202fW", "38\u202fW"]
    assert page.locator("#spark path").count() >= 1, "the last minutes as a line; a restart is a gap in it"
    assert page.locator("noscript").count() and page.locator("meta[http-equiv=refresh]").get_attribute("content") == "10"
    for path in ("energy", "readers", "health"):
        one.go(path)
        assert re.search(r"\d", page.locator("main").inner_text())
    for path in ("settings", "setup"):
        one.go(path)
        assert "This page needs JavaScript; the settings can also be made in the app's options." in page.locator("main").inner_text()
    answer = fetch(one.ingress.port, "GET", f"{one.ingress.prefix}/", headers={"Cookie": f"ingress_session={one.ingress.session}"})
    assert answer.text.index('<meta charset="utf-8">') < 1024 and answer.headers["content-type"] == "text/html", "Core cuts the charset off"
    assert not re.search(r'(src|href|action)="(/|https?:)', answer.text), "nothing absolute"


PAINTED = """() => new Promise(done => { const look = () => {
    const paint = performance.getEntriesByName('first-contentful-paint')[0];
    if (paint) done(paint.startTime - performance.getEntriesByType('navigation')[0].responseEnd); else setTimeout(look, 10); }; look(); })"""


def test_first_contentful_paint(house, visit, record_property):
    """After the answer has come, Chromium paints at once: the best of some loads within 100 ms, or, on a machine that is
    busy, within four times what the best of a page of one word takes."""
    one = visit(house)
    word = one.ingress.url + "one-word"
    one.page.route(word, lambda route: route.fulfill(content_type="text/html", body="<!doctype html><title>word</title><p>word"))

    def painted(url):
        one.page.goto(url)
        return one.page.evaluate(PAINTED)
    took = []
    while len(took) < 3 or (len(took) < 40 and not min(ours for ours, _ in took) < 100):
        took.append((painted(one.ingress.url), painted(word)))
    ours, floor = (min(times) for times in zip(*took, strict=True))
    record_property("first_contentful_paint_ms", round(ours))
    print(f"first contentful paint after the response's end: best {ours:.0f} ms of {len(took)}, of one word {floor:.0f} ms")
    assert ours < max(100, 4 * floor), took
