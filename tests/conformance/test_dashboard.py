"""The page of a plain run, on its own listener; with a browser, through ingress: test_ingress.py."""
import re
import urllib.parse

import pytest

from harness import LOCAL, fetch, on_the_wire, until


@pytest.fixture
def meter(replay):
    return replay(600.0, -88.0, 0.0)


def test_values_are_in_the_html(meter):
    answer = fetch(meter.dashboard_port, "GET", "/")
    assert answer.status == 200 and "512" in answer.text and answer.headers["content-type"].startswith("text/html")
    assert "default-src" in answer.headers["content-security-policy"]
    assert not re.search(r'(src|href)="(https?:)?//', answer.text), "nothing from elsewhere"


def test_host_is_checked(meter):
    assert fetch(meter.dashboard_port, "GET", "/", headers={"Host": "evil.example"}).status in (400, 403, 421)


def test_overview_has_the_originals_keys(meter):
    meter.em()
    overview = until(lambda: meter.admin(), 3)
    assert {"device", "values", "metrics", "clients", "ts"} <= set(overview)
    assert {"em", "emdata"} <= set(overview["values"]) and {"http", "ws", "udp"} <= set(overview["metrics"])
    assert {"total", "by_method", "errors"} <= set(overview["metrics"]["http"])
    power = fetch(meter.dashboard_port, "GET", "/ui/power").json()
    assert {"ts", "current", "history", "forecast", "model"} <= set(power)


def test_made_up_values_are_said_to_be(new_meter):
    """On each page; and no sensors are offered where there are none to choose."""
    meter = new_meter(args=["--source", "demo"]).start()
    page = lambda path: fetch(meter.dashboard_port, "GET", path, headers={"Accept-Language": "de"}).text  # noqa: E731
    assert all("alle Werte auf diesen Seiten sind erfunden" in page(path) for path in ("/", "/energy", "/health", "/setup"))
    assert "Andere Sensoren" not in page("/health") and "Nochmal versuchen" not in page("/setup")
    assert "es gibt kein Home Assistant, das man fragen könnte" in page("/setup")


def test_set_up_says_what_the_energy_settings_lack(new_meter, fake_ha):
    """A note that stands alone is a sentence."""
    meter = new_meter({"ha_base_url": fake_ha.url, "ha_token": fake_ha.token}).start()
    page = fetch(meter.dashboard_port, "GET", "/setup", headers={"Accept-Language": "de"}).text
    assert "Die Energie-Einstellungen von Home Assistant sind nicht eingerichtet" in page


def test_without_a_token_the_settings_are_offered(new_meter):
    """Asking again could not help; and the reason is said once."""
    meter = new_meter().start()
    page = fetch(meter.dashboard_port, "GET", "/").text
    assert page.count("set ha_token (HA_TOKEN)") + page.count("Set ha_token (HA_TOKEN)") == 1
    assert 'href="settings#g-source">Open the settings</a>' in page and "Try again" not in page
    assert 'id="g-source"' in fetch(meter.dashboard_port, "GET", "/settings").text, "the link leads there"
    for path in ("/setup", "/settings"):
        noscript = fetch(meter.dashboard_port, "GET", path).text.split("<noscript>")[-1].split("</noscript>")[0]
        assert "needs JavaScript; the settings can also be made in the options file" in noscript, path


def test_many_readers_do_not_make_the_page_heavy(demo):
    """It is taken anew every 5 s: fifty rows, and how many there are beside them."""
    for n in range(240):
        fetch(demo.http_port, "GET", "/rpc/EM.GetStatus?id=0", source=f"127.0.{1 + n // 200}.{2 + n % 200}", headers={"User-Agent": "reader " * 30})
    page = fetch(demo.dashboard_port, "GET", "/readers").text
    kept = len(fetch(demo.dashboard_port, "GET", "/readers.json").json()["consumers"])
    assert 80 < kept <= 100 and page.count("<details id=") == 50 and f"and {kept - 50} more" in page
    assert "holds at most 100 readers (option recent_clients_max)" in page
    assert sum(on_the_wire(demo.dashboard_port, f"/{name}") for name in ("readers", "style.css", "page.js")) < 75_000


def test_the_chart_shows_as_much_as_the_option_says(new_meter):
    meter = new_meter({"power_history_seconds": 90}, args=["--source", "demo"]).start()
    for name, seconds in (("3m", 90), ("1h", 3600)):
        chart = fetch(meter.dashboard_port, "GET", f"/chart.json?range={name}").json()
        assert chart["to"] - chart["from"] == seconds
    assert ">90 s</button>" in fetch(meter.dashboard_port, "GET", "/").text


def test_problems_are_said_in_the_persons_language(new_meter):
    """A database that cannot be had, a taken port, no Home Assistant: what, the consequence, what to do."""
    first = new_meter(args=["--source", "demo"]).start()
    meter = new_meter({"ha_base_url": f"http://{LOCAL}:9", "ha_token": "x", "a_power": "sensor.grid", "hold": 1})
    meter.http_port = first.http_port
    (meter.data / "virtual-shelly.db").mkdir(parents=True)
    meter.start(port=meter.dashboard_port)
    german = {"Accept-Language": "de"}
    page = until(lambda: "hört niemand" in (text := fetch(meter.dashboard_port, "GET", "/", headers=german).text) and text, 10)
    assert f"Port {first.http_port} (HTTP) lässt sich nicht öffnen (von einem anderen Programm belegt)" in page
    assert "die meisten Speicher finden den Zähler dort nicht" in page and "mit der Option http_port" in page
    assert "Datei oder Ordner ist nicht zugänglich; gemessen wird im Arbeitsspeicher weiter" in page and "den freien Platz prüfen" in page
    health = fetch(meter.dashboard_port, "GET", "/health", headers=german).text
    assert health.count("mit der Option http_port") == 1 and "nur im Arbeitsspeicher" in health
    for text in (page, health):
        assert "os error" not in text and "refused" not in text and "cannot be" not in text


def test_a_database_set_aside_is_told(new_meter):
    """Charts start anew then: somebody who wonders finds why."""
    meter = new_meter(args=["--source", "demo"])
    meter.data.mkdir()
    (meter.data / "virtual-shelly.db").write_bytes(b"no database at all " * 400)
    meter.start()
    health = fetch(meter.dashboard_port, "GET", "/health", headers={"Accept-Language": "de"}).text
    assert "beiseitegelegt und eine neue begonnen: Identität und Zählerstände gehen weiter" in health
    assert "set aside" not in health and "Speichern klappt" in health


# -- dashboard_on_lan: the pages beside the device, on its own port
LAN = ("/ui", "/ui/energy", "/ui/readers", "/ui/forecast", "/ui/health", "/ui/power", "/ui/live.json", "/ui/chart.json?range=1h", "/admin/overview")


def test_off_the_lan_by_default(meter):
    for path in LAN:
        assert meter.get(path).status == 404, path
    assert meter.post("/ui/train", "").status == 404
    assert meter.get("/shelly").status == 200 and meter.get("/metrics").status == 200


def test_on_the_lan_to_look_at(replay):
    meter = replay(600.0, -88.0, 0.0, {"dashboard_on_lan": "view"})
    for path in LAN:
        assert meter.get(path).status == 200, path
    page = meter.get("/ui").text
    assert "512" in page
    for link in set(re.findall(r'(?:href|src)="([^"#:]+)"', page)):
        target = urllib.parse.urljoin("/ui", link)
        status = meter.get(target).status
        assert status == 200, f"{link} is {target}: {status}"
        assert not target.endswith(("settings", "setup")), "changes are not offered"
    assert meter.post("/ui/train", "").status == 403
    assert meter.post("/ui/settings", {"changes": {"hold": 7}}, headers={"Content-Type": "application/json"}).status == 403
    assert meter.post("/ui/reset", "").status == 403
    assert fetch(meter.http_port, "GET", "/rpc/EM.GetStatus?id=0").status == 200, "the device beside it"


def test_who_only_looks_is_told_what_others_can_do(fake_ha, new_meter):
    """While nothing is configured, and while nobody has confirmed it: without a button to what is not open to them."""
    fake_ha.set("sensor.grid_power", "512")
    meter = new_meter({"dashboard_on_lan": "view"}, ha=fake_ha).start()
    page = until(lambda: "no power entity is configured" in (text := meter.get("/ui").text) and text, 10)
    assert 'class="notice"' in page and "setup" not in page
    meter.stop()
    grid = {"type": "grid", "stat_energy_from": "sensor.e", "stat_energy_to": None, "power_config": {"stat_rate": "sensor.grid_power"}}
    fake_ha.prefs = {"energy_sources": [grid], "device_consumption": []}
    meter.start()
    page = until(lambda: "Please confirm" in (text := meter.get("/ui").text) and text, 20)
    assert 'href="ui/setup"' not in page and "Check it" not in page
    assert 'href="ui/health"' in page, "what is open to them is linked"


def test_a_foreign_name_reads_nothing_on_the_lan(replay):
    """A page whose own name was made to point here: neither settings nor diagnostics; the device answers under any name."""
    meter = replay(600.0, -88.0, 0.0, {"dashboard_on_lan": "full", "dashboard_hosts": ["meter.example.org"]})
    for path in (*LAN, "/ui/settings", "/ui/diagnostics", "/ui/readers.json", "/ui/page.js"):
        assert meter.get(path, headers={"Host": "evil.example"}).status == 421, path
        for name in ("meter.local", "192.168.1.5:80", "[fe80::1]:8080", "pi", "meter.example.org"):
            assert meter.get(path, headers={"Host": name}).status == 200, f"{path} as {name}"
    for path in ("/shelly", "/rpc/EM.GetStatus?id=0", "/metrics", "/healthz"):
        assert meter.get(path, headers={"Host": "evil.example"}).status == 200, path


def test_on_the_lan_with_changes(replay):
    meter = replay(600.0, -88.0, 0.0, {"dashboard_on_lan": "full"})
    for path in (*LAN, "/ui/settings"):
        assert meter.get(path).status == 200, path
    answer = meter.post("/ui/train", "")
    assert answer.status == 400 and "too few samples" in answer.json()["error"]
    own, other = {"Origin": f"http://{LOCAL}:{meter.http_port}"}, {"Origin": "https://evil.example"}
    assert meter.post("/ui/train", "", headers=own).status == 400
    assert meter.post("/ui/train", "", headers=other).status == 403, "a page of another site"
    assert meter.post("/ui/train", "", headers={"Host": "evil.example"}).status == 421, "a name that points here by another's will"
    change = meter.post("/ui/settings", {"changes": {"hold": 7}}, headers={"Content-Type": "application/json", **own})
    assert change.status == 200, change


def test_the_devices_password_guards_the_pages_on_its_port(new_meter):
    meter = new_meter({"dashboard_on_lan": "full", "auth_password": "secret words"}, args=["--source", "demo"]).start()
    for path in LAN:
        answer = meter.get(path)
        assert answer.status == 401 and answer.headers["www-authenticate"].startswith("Digest "), path
