"""What the pages' script does by itself, in a real Chromium: keeps them fresh, says when it cannot, draws and writes figures."""
import contextlib

import pytest
from playwright.sync_api import expect

import household
from browser import chromium, directly, visits
from harness import fetch, near, until

# Each text that a chart draws, with the places of its ends, as parts of the width: what is not within 0 and 1 is cut.
DRAWN = """() => { const draw = CanvasRenderingContext2D.prototype.fillText; window.drawn = [];
    CanvasRenderingContext2D.prototype.fillText = function (text, x, ...rest) {
        const width = this.measureText(text).width, share = { right: 1, end: 1, center: 0.5 }[this.textAlign] ?? 0;
        window.drawn.push([text, (x - width * share) / this.canvas.width, (x + width * (1 - share)) / this.canvas.width]); return draw.call(this, text, x, ...rest); }; }"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture
def look(browser, new_meter):
    """Open a page of a plain run: `look(meter, path, locale=…, width=…)`; its faults are looked at at the end."""
    with visits(browser) as opened:
        def start(meter, path="", before=None, **options):
            one = opened(directly(meter), **options)
            if before:
                before(one.page)
            one.go(path)
            return one
        yield start


def phone(look, meter, path="", **options):
    return look(meter, path, width=390, height=844, is_mobile=True, has_touch=True, **options)


# What stands out of the card that it is in.
OUTSIDE = """() => [...document.querySelectorAll("main .card *")].filter(e => { const box = e.getBoundingClientRect(), card = e.closest(".card");
    return box.width && box.right > card.getBoundingClientRect().right + 1 && !e.closest(".wide") && getComputedStyle(e).position !== "absolute"; })
    .map(e => e.tagName + " " + e.innerText)"""


@pytest.mark.parametrize("width", [1280, 1024, 1000, 760, 390])
def test_nothing_stands_out_of_its_card(demo, look, width):
    for method in ("Shelly.GetDeviceInfo", "Shelly.GetComponents", "EM.GetStatus?id=0"):
        fetch(demo.http_port, "GET", f"/rpc/{method}")
    for path in ("", "readers", "health", "energy", "forecast"):
        one = look(demo, path, width=width, locale="de-DE")
        one.page.wait_for_selector("main .card")
        assert one.page.evaluate(OUTSIDE) == [], path


# -- whether the meter is heard
def test_every_page_says_that_the_connection_is_lost(demo, look):
    visits = [look(demo, path) for path in ("", "energy", "readers", "forecast", "health", "settings")]
    health = look(demo, "health", before=lambda page: page.clock.install())
    for one in (*visits, health):
        one.allowed = ("ERR_CONNECTION", "WebSocket connection")
        one.page.evaluate("window.untouched = true")
    demo.stop()
    for one in visits:
        one.page.wait_for_selector("main.lost")
        expect(one.page.locator("#toast")).to_have_text("Reconnecting …")
    faded = visits[4].page.locator("#health").evaluate("e => getComputedStyle(e).opacity")
    assert float(faded) < 0.5, "it does not go on saying that all is well"
    health.page.wait_for_selector("main.lost")
    health.page.clock.fast_forward("01:10")
    expect(health.page.locator("#toast")).to_have_text("No connection: please reload the page")
    demo.start()
    for one in (*visits, health):
        one.page.wait_for_selector("main:not(.lost)", timeout=40000)
        expect(one.page.locator("#toast")).to_be_hidden()
        assert one.page.evaluate("window.untouched"), "it came back without a reload"


def test_one_lost_answer_is_no_lost_connection(demo, look):
    one = look(demo, "health")
    one.allowed = ("ERR_FAILED",)
    asked = []

    def once(route):
        asked.append(route)
        route.abort() if len(asked) == 1 else route.continue_()
    one.page.route("**/health", once)
    said = one.page.evaluate("""() => new Promise(done => { const toast = document.querySelector('#toast'), seen = [];
        new MutationObserver(() => seen.push(toast.textContent)).observe(toast, {attributes: true, childList: true, characterData: true, subtree: true});
        setTimeout(() => done(seen.join('')), 12000); })""")
    assert len(asked) >= 2 and said == ""


# -- kept fresh
def test_energy_goes_on_and_over_midnight(new_meter, look):
    """Counters, bars and the day's cards; what somebody opened or chose stays."""
    meter = new_meter(args=["--source", "demo", "--demo-speed", "2000"], env={"TZ": "Pacific/Pago_Pago"}).start()
    meter.stop()
    household.fill(meter.data)
    meter.start()
    one = look(meter, "energy")
    one.allowed = ("ERR_CONNECTION",)
    page = one.page
    page.evaluate("window.untouched = true")
    bar = page.locator("#bars-day g").nth(20)
    bar.dispatch_event("click")
    day, hint = bar.get_attribute("data-at"), page.locator("[data-bars=day]")
    said = hint.inner_text()
    assert "kWh from grid" in said
    folds = ("#figures-day", ".danger:has-text('Reset counters')")
    for fold in folds:
        page.locator(f"{fold} summary").click()
    counted, cards, first = page.locator("#counted"), page.locator("#sums"), page.locator("#figures-day tbody th").first
    before, today, newest = counted.inner_text(), cards.inner_text(), first.inner_text()
    expect(counted).not_to_have_text(before, use_inner_text=True)
    # The same moment, a day or two on by the calendar there.
    meter.stop()
    meter.env["TZ"] = "Pacific/Kiritimati"
    meter.start()
    expect(first).not_to_have_text(newest, timeout=40000)
    expect(cards).not_to_have_text(today, use_inner_text=True)
    assert page.locator("#bars-day g").last.get_attribute("data-at") > page.locator(f"#bars-day g[data-at='{day}']").get_attribute("data-at")
    assert page.locator("#bars-day g.on").get_attribute("data-at") == day, "the bar that was chosen is marked"
    assert hint.inner_text().split(":")[0] == said.split(":")[0] and "kWh from grid" in hint.inner_text()
    assert all(page.locator(fold).evaluate("d => d.open") for fold in folds) and page.evaluate("window.untouched")
    page.mouse.move(0, 0)
    bar.hover()
    page.mouse.move(0, 0)
    expect(hint).to_have_text("Tap or point at a bar for its figures", use_inner_text=True)


@pytest.mark.parametrize("path", ["health", "readers"])
def test_selected_text_stays_selected(grid, look, path):
    _, meter = grid
    meter.em(source="127.0.0.9")
    one = look(meter, path)
    page, place = one.page, {"health": "#health", "readers": "#who"}[path]
    selected = page.evaluate("""place => { const range = document.createRange(); range.selectNodeContents(document.querySelector(place + ' strong, ' + place + ' .what'));
        getSelection().removeAllRanges(); getSelection().addRange(range); return getSelection().toString(); }""", place)
    assert selected
    text, loads = page.locator(place).inner_text(), len(one.requests)
    until(lambda: page.wait_for_timeout(200) or len(one.requests) >= loads + 3, 30, "the page was taken anew three times")
    assert page.evaluate("getSelection().toString()") == selected and page.locator(place).inner_text() == text
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator(place)).not_to_have_text(text, use_inner_text=True)


# -- charts and figures
@pytest.mark.parametrize("watts, unit", [(-512, "W"), (-12_000, "kW"), (150_000, "kW"), (-150_000, "kW"), (3_000_000, "kW"), (-3_000_000, "kW")])
def test_labels_of_the_power_axis_are_whole(fake_ha, new_meter, look, watts, unit):
    """With their sign, in one unit, and without zeros that say nothing."""
    phases = {f"{phase}_power": f"sensor.{phase}" for phase in "abc"}
    for entity in phases.values():
        fake_ha.set(entity, str(watts / 3))
    meter = new_meter(phases, ha=fake_ha).start()
    until(lambda: near(meter.total(), watts, 1), 10)
    until(lambda: len(fetch(meter.dashboard_port, "GET", "/chart.json?range=3m").json()["ts"]) > 1, 10)
    for one in (look(meter, before=lambda page: page.add_init_script(f"({DRAWN})()")), phone(look, meter, before=lambda page: page.add_init_script(f"({DRAWN})()"))):
        one.page.wait_for_selector("#chart canvas")
        labels = until(lambda one=one: one.page.wait_for_timeout(100) or one.page.evaluate("window.drawn"), 10)
        assert all(0 <= left < right <= 1 for _, left, right in labels), labels
        assert any(":" in text for text, *_ in labels), "also a time"
        texts = {text for text, *_ in labels if text.endswith("W")}
        assert {text.split("\u202f")[1] for text in texts} == {unit}, texts
        assert any(text.startswith("−") for text in texts) == (watts < 0) and not any(text.split("\u202f")[0].endswith(".00") for text in texts), texts


def test_the_shortest_range_is_as_long_as_the_option_says(new_meter, look):
    meter = new_meter({"power_history_seconds": 600}, args=["--source", "demo"]).start()
    one = look(meter, before=lambda page: page.add_init_script(f"({DRAWN})()"))
    page = one.page
    assert page.locator("#chart-card button[data-range]").all_inner_texts() == ["10 min", "1 h", "24 h", "7 d", "30 d"]
    page.wait_for_selector("#chart[data-range='3m'] canvas")

    def minutes():
        """Between the first and the last time on the axis, as it was drawn last."""
        page.evaluate("window.drawn.length = 0")
        page.wait_for_timeout(1500)  # a second's new value and its drawing
        times = [text.split(":") for text, *_ in page.evaluate("window.drawn") if ":" in text]
        return (int(times[-1][0]) * 60 + int(times[-1][1]) - int(times[0][0]) * 60 - int(times[0][1])) % 1440
    until(lambda: minutes() >= 7, 20, "also after values have come over the live channel")
    one.shot("history")
    assert page.locator("#hover").inner_text()


@pytest.mark.parametrize("watts", [4321.4, -12_345.6, 3.21])
def test_script_and_server_write_a_power_alike(fake_ha, new_meter, look, watts):
    fake_ha.set("sensor.grid", str(watts))
    meter = new_meter({"total_power": "sensor.grid"}, ha=fake_ha).start()
    until(lambda: near(meter.total(), watts, 0.1), 10)
    until(lambda: len(fetch(meter.dashboard_port, "GET", "/chart.json?range=3m").json()["ts"]) > 1, 10)
    for locale in ("en-GB", "de-DE", "fr-FR", "nl-NL", "es-ES"):
        page = look(meter, locale=locale).page
        written = page.locator(".grid .big").inner_text()
        page.wait_for_selector("#chart canvas")
        area = page.locator("#chart .u-over").bounding_box()

        def hover(page=page, area=area):
            page.mouse.move(area["x"] + area["width"] / 2, area["y"] + 40)
            page.mouse.move(area["x"] + area["width"] - 2, area["y"] + 40)
            with contextlib.suppress(IndexError):
                return page.locator("#hover strong").all_inner_texts()[0].split(" · ")[1]
        assert until(hover, 10) == written, locale


def test_what_a_battery_was_told_lies_within_the_chart(demo, look):
    """However far it lies from what was measured: never among the labels of the time."""
    def before(page):
        page.add_init_script("""(() => { const arc = CanvasRenderingContext2D.prototype.arc; window.dots = [];
            CanvasRenderingContext2D.prototype.arc = function (x, y, r, ...rest) { window.dots.push([x, y, r]); return arc.call(this, x, y, r, ...rest); }; })()""")

        def far(route):
            chart = route.fetch().json()
            chart["told"] = [[chart["to"] - 60, -9000], [chart["to"] - 50, 9000], [chart["from"] - 5000, 99000]]
            route.fulfill(json=chart)
        page.route("**/chart.json*", far)
    page = look(demo, before=before).page
    for name in (None, "1 h"):
        if name:
            page.evaluate("window.dots = []")
            page.get_by_role("button", name=name, exact=True).click()
        until(lambda: page.evaluate("window.dots.length") >= 2, 10, "drawn")
        top, bottom = page.evaluate("""() => { const plot = document.querySelector("#chart .u-over").getBoundingClientRect(), all = document.querySelector("#chart canvas").getBoundingClientRect();
            return [plot.top - all.top, plot.bottom - all.top].map(y => y * devicePixelRatio); }""")
        dots = page.evaluate("window.dots")
        assert dots and all(top <= y - r and y + r <= bottom for _, y, r in dots), (top, bottom, dots)
        assert max(y for _, y, _ in dots) - min(y for _, y, _ in dots) > (bottom - top) / 2, "what is not of this time makes it no smaller"


@pytest.mark.parametrize("locale", ["nl-NL", "de-DE"])
def test_figures_of_days_and_months_fit_a_narrow_phone(new_meter, look, locale):
    meter = new_meter({"demo_history_days": 7}, args=["--source", "demo"]).start()
    page = look(meter, "energy", width=360, height=780, locale=locale).page
    page.evaluate("for (const fold of document.querySelectorAll('.figures')) fold.open = true")
    tables = page.locator(".figures .wide")
    expect(tables).to_have_count(2)
    assert "€" in tables.first.inner_text(), "with money"
    assert tables.evaluate_all("all => all.every(e => e.scrollWidth <= e.clientWidth)"), "nothing is cut"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [1000, 1280])
def test_names_of_readers_have_room(demo, look, width):
    """Three readers, one with a long name: few lines each, and a gap between."""
    rows = look(demo, width=width).page.locator(".takers li")
    # In one go: what is live is written over it.
    tall = rows.evaluate_all("""all => all.map((row, i) => { row.dataset.state = "live"; row.querySelector(".num").textContent = "−1,234\u202fW"; row.querySelector(".muted").textContent = "0.4\u202fs ago";
        const name = row.querySelector(".taker"); name.textContent = ["Marstek Venus / Jupiter", "Home Assistant's Shelly integration", "Battery in the cellar on the left"][i];
        return name.getBoundingClientRect().height; })""")
    assert len(tall) == 3 and max(tall) < 40, "two lines at most"


def test_tariffs_fit_a_phone(fake_ha, new_meter, look):
    fake_ha.set("sensor.grid", "512")
    for n in ("day", "night"):
        fake_ha.set(f"sensor.smart_meter_{n}_counter", "12345.6", "kWh", device_class="energy", friendly_name=f"Smart meter {n} counter")
    fake_ha.prefs = {"device_consumption": [], "energy_sources": [
        {"type": "grid", "stat_energy_from": f"sensor.smart_meter_{n}_counter", "number_energy_price": price} for n, price in (("day", 0.32), ("night", 0.215))]}
    meter = new_meter({"total_power": "sensor.grid"}, ha=fake_ha).start()
    until(lambda: "night_counter" in fetch(meter.dashboard_port, "GET", "/energy").text, 20)
    one = phone(look, meter, "energy", locale="de-DE")
    table = one.page.locator("#tariffs .wide")
    assert "0,215\u202f€/kWh" in table.inner_text()
    assert table.evaluate("e => e.scrollWidth <= e.clientWidth"), "nothing is cut"
    assert one.axe() == []


# -- what Health does on demand
def test_a_reader_is_played_and_the_doctor_looks(demo, look):
    """Each step with its state, also on a phone and in German; a step that is red says what was expected and what came."""
    for one, read, well in ((look(demo, "health"), "evcc can read this meter: no step of 5 is red.", "Nothing is broken."),
                            (phone(look, demo, "health", locale="de-DE", color_scheme="dark"),
                             "evcc kann diesen Zähler lesen: von 5 Schritten ist keiner rot.", "Nichts ist kaputt.")):
        page = one.page
        page.select_option("#test-reader", "evcc")
        page.locator("#test-as button").click()
        expect(page.locator("#test-as .answer")).to_have_text(read)
        assert page.locator("#test-steps .dot[data-state=live]").count() == 5
        page.locator("#doctor button").click()
        expect(page.locator("#doctor .answer")).to_have_text(well)
        assert page.locator("#doctor-findings li").count() >= 5
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the screen"
        assert one.axe() == []
        one.shot("health-tried" if page.viewport_size["width"] > 500 else "phone-health-tried")
    page = look(demo, "health").page
    page.route("**/test-as", lambda route: route.fulfill(json={"passed": False, "text": "1 of 1", "steps": [
        {"call": "GET /shelly", "state": "bad", "expected": "who", "came": "<b>0</b>", "ms": 1, "why": [{"kind": "x", "text": "wrong"}]}]}))
    page.locator("#test-as button").click()
    row = page.locator("#test-steps li")
    expect(row).to_contain_text("wrong")
    assert row.locator("p").all_inner_texts() == ["wrong", "Expected: who", "Came: <b>0</b>"], "opened, and as text"
