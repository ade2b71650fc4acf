"""The page Forecast and the line ahead in the chart of Now, in a real Chromium, at a meter that trained on a seeded store."""
import re
import time

import pytest

from browser import chromium, directly, visits
from harness import Meter, fetch, on_the_wire, until
from history import samples, seed

# Pixels of a canvas that fulfil a condition; read from a copy, so that the page's own canvas stays as it is.
COUNT = """canvas => { const copy = new OffscreenCanvas(canvas.width, canvas.height), c = copy.getContext('2d', { willReadFrequently: true });
c.drawImage(canvas, 0, 0); const d = c.getImageData(0, 0, canvas.width, canvas.height).data; let n = 0;
for (let i = 0; i < d.length; i += 4) { const [r, g, b, a] = d.slice(i, i + 4); if (%s) n += 1; } return n; }"""
# The forecast's red, in light and dark; its band.
RED = COUNT % "a > 200 && r > 190 && g < 130 && b < 120"
BAND = COUNT % "a > 20 && a < 70 && r > 150 && g < 130"


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def house(binary, tmp_path_factory):
    """A meter with the demo household that has four days behind it, trained."""
    meter = Meter(binary, tmp_path_factory.mktemp("house"), {"forecast_cpu": 25}, args=("--source", "demo")).start()
    try:
        meter.stop()
        seed(meter.data / "virtual-shelly.db", samples(repeat=2))
        meter.start()
        until(lambda: lines(meter)["horizons"] and lines(meter)["training"]["percent"] is None, 120, "trained")
        until(lambda: all(h["chart"]["forecast"] for h in lines(meter)["horizons"]), 20, "three lines")
        yield meter
        meter.stop()
    finally:
        meter.kill()
    assert "panicked at" not in meter.log()


def lines(meter, **how):
    return fetch(meter.dashboard_port, "GET", "/forecast.json", **how).json()


def html(meter, path="/forecast", language="en"):
    answer = fetch(meter.dashboard_port, "GET", path, headers={"Accept-Language": language})
    assert answer.status == 200
    return answer.text


@pytest.fixture
def visit(browser, new_meter):
    """Open a browser at a meter: `visit(meter, locale=…, width=…)`; its faults are looked at at the end."""
    with visits(browser) as opened:
        yield lambda meter, **options: opened(directly(meter), **options)


def pixels(page, selector, count=RED):
    return page.eval_on_selector(f"{selector} canvas", count)


def test_everything_is_in_the_html(house):
    text = html(house)
    for words in ("The next minute", "The next quarter of an hour", "The next day", "8 of 10 values should fall in the band",
                  "in the training&#x27;s test on days it had not seen", "Mean square error (MSE)", "Mean percentage error (MAPE)",
                  "Learned from", "Last training", "CPU time it took", "Next training", "Last value", "chosen"):
        assert words in text or words.replace("&#x27;", "&#39;") in text, words
    assert re.search(r"Train now on [\d,]{6,} samples", text)
    assert text.count('class="ahead"') == 3 and "NaN" not in text
    assert re.search(r"(Drawing from|Feeding into) the grid · [\d,.]+\u202fk?W", text)
    # The day ahead in sentences, first of all; figures and models are a fold away.
    said = text[text.index('class="says"'):].split("</ul>")[0]
    assert re.search(r"Highest about (.*, )?\d\d:\d\d, [\d,.]+\u202fk?W from the grid", said), said
    assert re.search(r"(Most surplus|Least) .*\d\d:\d\d–\d\d:\d\d", said) and ("feeds in" in said or "No surplus" in said), said
    assert text.index('class="says"') < text.index("The next minute") < text.index("Last training")
    assert all(f'id="fc-more-{h}"' in text for h in ("day", "quarter_hour", "minute")) and "<details open" not in text
    german = html(house, language="de")
    assert "Die nächste Viertelstunde" in german and "Jetzt an" in german and "last value" not in german


def test_weight(house):
    page = html(house)
    version = re.search(r"page\.js\?v=(\w+)", page)[1]
    files = ["forecast", *(f"{f}?v={version}" for f in ("style.css", "page.js", "uplot.js")), "forecast.json"]
    assert sum(on_the_wire(house.dashboard_port, f"/{f}") for f in files) < 75_000
    # Ingress does not compress: all of it as it is, in the longest of the languages.
    for language in ("en", "fr"):
        plain = {f: len(fetch(house.dashboard_port, "GET", f"/{f}", headers={"Accept-Language": language}).text.encode()) for f in files}
        assert sum(plain.values()) < 150_000, plain
    # A month of the skill's history is for who looks at it; every value is text also without a script.
    assert "skills" not in lines(house) and "skills" in fetch(house.dashboard_port, "GET", "/forecast.json?skills=1").json()
    assert page.count("<li>") < 40 < html(house, "/forecast?all=1").count("<li>")


@pytest.mark.parametrize("name, options", [
    ("forecast", {}), ("forecast-dark", {"color_scheme": "dark"}), ("forecast-phone", {"width": 390, "height": 844}),
    ("forecast-de", {"locale": "de-DE"})])
def test_the_tab_draws_the_three_horizons(house, visit, name, options):
    v = visit(house, **options)
    page = v.go("forecast")
    page.wait_for_selector("#forecast[data-drawn='3']")
    assert page.locator("nav.tabs a[aria-current=page]").inner_text().strip() in ("Forecast", "Vorhersage")
    for horizon in ("minute", "quarter_hour", "day"):
        plot = f"[data-horizon={horizon}] [data-plot=ahead]"
        page.wait_for_selector(f"{plot} canvas")
        assert pixels(page, plot) > 20, f"{horizon}: the line"
    assert pixels(page, "[data-horizon=day] [data-plot=ahead]", BAND) > 200, "the band"
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), "no scrolling sideways"
    assert "NaN" not in page.inner_text("main")
    v.shot(name)
    assert v.axe() == []


def test_hover_says_forecast_in_words(house, visit):
    page = visit(house).go("forecast")
    page.wait_for_selector("[data-horizon=day] [data-plot=ahead] .u-over")
    over = page.locator("[data-horizon=day] [data-plot=ahead] .u-over")
    box = over.bounding_box()
    over.scroll_into_view_if_needed()
    over.hover(position={"x": box["width"] * 0.9, "y": 40})
    said = page.locator("[data-horizon=day] figure:has([data-plot=ahead]) [data-hover]").inner_text()
    assert "Forecast: " in said and "the grid · " in said and re.search(r"probably .* to ", said), said
    over.hover(position={"x": box["width"] * 0.1, "y": 40})
    said = page.locator("[data-horizon=day] figure:has([data-plot=ahead]) [data-hover]").inner_text()
    assert "Forecast" not in said and "the grid" in said, said


def test_keyboard_opens_the_lists_and_a_refresh_leaves_them_open(house, visit):
    page = visit(house).go("forecast")
    page.wait_for_selector("#forecast[data-drawn='3']")
    for fold in ("#fc-more-quarter_hour > summary", "#fc-all-quarter_hour summary", "#fc-more-minute > summary"):
        page.focus(fold)
        page.keyboard.press("Enter")
    # An opened list is fetched: it fills a moment later.
    page.wait_for_function("() => document.querySelector('#fc-all-quarter_hour .many').innerText.split('\\n').length > 14")
    first = page.inner_text("#fc-list-minute .ahead")
    page.wait_for_function("old => document.querySelector('#fc-list-minute .ahead').innerText !== old", arg=first, timeout=30000)
    assert page.locator("#fc-all-quarter_hour").get_attribute("open") is not None


def test_what_was_forecast_is_drawn_beside_what_came(house, visit):
    drawn = until(lambda: (h := lines(house)["horizons"][0]["drawn"])["ts"] and h, 150, "a minute that is over")
    assert len(drawn["ts"]) == len(drawn["w"]) == len(drawn["forecast"]) <= 100
    assert drawn["ts"][0] > 1e9 and all(0 < d < 1000 for d in drawn["ts"][1:]), "by distance"
    page = visit(house).go("forecast")
    page.wait_for_selector("[data-horizon=minute] [data-plot=drawn] canvas")
    assert "before, and what came" in page.inner_text("#fc-drawn-minute")


@pytest.mark.parametrize("name, options", [("now-forecast", {}), ("now-forecast-dark-phone", {"width": 390, "color_scheme": "dark"})])
def test_the_chart_goes_on_into_the_future(house, visit, name, options):
    v = visit(house, **options)
    page = v.go()
    page.wait_for_selector("#chart[data-range='3m'] canvas")
    for choice, reach in (("1h", 15), ("24h", 96), ("3m", 30)):
        page.click(f"button[data-range='{choice}']")
        page.wait_for_selector(f"#chart[data-range='{choice}'][data-forecast='{reach}']")
        page.wait_for_function("""() => { const c = document.querySelector('#chart canvas'); return c && c.width > 0; }""")
        time.sleep(0.3)
        assert pixels(page, "#chart") > 20, f"{choice}: the line"
        v.shot(f"{name}-{choice}")
    over = page.locator("#chart .u-over")
    box = over.bounding_box()
    over.hover(position={"x": box["width"] * 0.95, "y": 60})
    said = page.inner_text("#hover")
    assert "Forecast: " in said and "the grid" in said, said
    page.click("button[data-range='30d']")
    page.wait_for_selector("#chart[data-range='30d'][data-forecast='0']")
    assert pixels(page, "#chart") == 0, "nothing is forecast for a month"


def test_the_line_stays_fresh_without_a_flicker(house, visit):
    page = visit(house).go()
    page.wait_for_selector("#chart[data-range='3m'] canvas")
    page.evaluate("window.first = document.querySelector('#chart canvas')")
    with page.expect_response(re.compile("chart.json")) as one:
        pass
    with page.expect_response(re.compile("chart.json")) as two:
        pass
    ends = [r.value.json()["forecast"][-1][0] for r in (one, two)]
    assert ends[1] > ends[0], "the forecast goes on"
    assert page.evaluate("window.first === document.querySelector('#chart canvas')"), "the same canvas: nothing was built anew"
    assert pixels(page, "#chart") > 20


def test_the_button_trains_and_shows_how_far_it_is(house, visit):
    v = visit(house)
    page = v.go("forecast")
    button = page.locator("#train button")
    assert re.fullmatch(r"Train now on [\d,]+ samples", button.inner_text())
    before = fetch(house.dashboard_port, "GET", "/ui/power").json()["model"]["trained_at"]
    until(lambda: time.time() >= before + 1, 5, "a second with a stamp of its own")
    button.click()
    page.wait_for_function("() => document.querySelector('#train .answer').textContent === 'The training has started.'")
    bar = page.get_by_role("progressbar")
    bar.wait_for()
    page.wait_for_function("() => document.querySelector('#fc-bar').value > 0")
    assert button.is_disabled() and re.search(r" · \d+\u202f%$", page.inner_text("#fc-stage"))
    assert bar.evaluate("b => b.labels.length === 1 && b.position > 0 && b.position <= 1")
    v.shot("forecast-training")
    refused = fetch(house.dashboard_port, "POST", "/train", headers={"Accept-Language": "de"})
    assert refused.status == 400 and refused.json()["text"] == "ein Training läuft schon"
    page.wait_for_function("() => document.querySelector('#fc-progress').hidden", timeout=120000)
    assert fetch(house.dashboard_port, "GET", "/ui/power").json()["model"]["trained_at"] > before
    assert button.is_enabled()


def test_before_the_first_samples_it_says_how_many_there_are(demo, visit):
    v = visit(demo)
    page = v.go("forecast")
    page.wait_for_function("() => document.querySelector('#fc-waiting').textContent.includes('too few samples')", timeout=20000)
    assert re.search(r"too few samples, \d+ of 60\. Stored by now: \d+ samples\.", page.inner_text("#fc-waiting"))
    page.click("#train button")
    page.wait_for_function("() => document.querySelector('#train .answer').textContent.startsWith('too few samples')")
    # The only request that is refused, and meant to be.
    v.allowed = ("400",)
    assert v.axe() == []


def test_switched_off_it_says_how_to_switch_it_on(new_meter):
    meter = new_meter({"forecast_enable": False}, args=["--source", "demo"]).start()
    text = html(meter, language="nl")
    assert "forecast_enable" in text and "<progress" not in text and 'href="settings#g-forecast"' in text
    assert fetch(meter.dashboard_port, "POST", "/train").status == 400


def test_settings_are_in_the_persons_language(demo):
    german = html(demo, "/settings", "de")
    for words in ("Abtastintervall", "Messwerte glätten", "Demo-Tempo", "automatisch: einmal erzeugt und behalten", "Tage"):
        assert words in german, words
    for english in ("Default", "How many", "Port of", "automatic:", "generated once", ">days<"):
        assert english not in german, english
    wrong = fetch(demo.dashboard_port, "POST", "/settings", {"changes": {"outbound_ws": "x", "power_retention_days": "0"}},
                  headers={"Accept-Language": "de", "Content-Type": "application/json"}).json()
    said = {p["key"].partition("[")[0]: p["text"] for p in wrong["problems"]}
    assert said["power_retention_days"] == "Erlaubt: 1 bis 3650" and "ws://" in said["outbound_ws"], wrong
