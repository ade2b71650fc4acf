"""The page for people, as a real Chromium shows it; screenshots are kept in target/screenshots."""
import re
import shutil
import subprocess

import pytest

from harness import LOCAL, ROOT, fetch, until

SHOTS = ROOT / "target/screenshots"


def chromium(tmp_path, url, *options):
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program, "install chromium"
    command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               "--disable-background-networking", "--hide-scrollbars", f"--user-data-dir={tmp_path / 'chromium'}",
               "--virtual-time-budget=4000", *options, url]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def page(replay):
    meter = replay(600.0, -88.0, 0.0)
    return meter, f"http://{LOCAL}:{meter.dashboard_port}/"


def test_values_are_in_the_html(page):
    meter, _ = page
    answer = fetch(meter.dashboard_port, "GET", "/")
    assert answer.status == 200 and "512" in answer.text and answer.headers["content-type"].startswith("text/html")
    assert "default-src" in answer.headers["content-security-policy"]
    assert not re.search(r'(src|href)="(https?:)?//', answer.text), "nothing from elsewhere"


@pytest.mark.parametrize("name, size", [("now", "1280,900"), ("now-phone", "390,844")])
def test_opens_in_chromium(page, tmp_path, name, size):
    meter, url = page
    SHOTS.mkdir(parents=True, exist_ok=True)
    file = SHOTS / f"{name}.png"
    file.unlink(missing_ok=True)
    chromium(tmp_path, url, f"--window-size={size}", f"--screenshot={file}")
    assert file.stat().st_size > 5000
    dom = chromium(tmp_path, url, "--dump-dom")
    assert "512" in dom and meter.info()["id"] in dom


def test_host_is_checked(page):
    meter, _ = page
    assert fetch(meter.dashboard_port, "GET", "/", headers={"Host": "evil.example"}).status in (400, 403, 421)


def test_overview_has_the_originals_keys(page):
    meter, _ = page
    meter.em()
    overview = until(lambda: meter.admin(), 3)
    assert {"device", "values", "metrics", "clients", "ts"} <= set(overview)
    assert {"em", "emdata"} <= set(overview["values"]) and {"http", "ws", "udp"} <= set(overview["metrics"])
    assert {"total", "by_method", "errors"} <= set(overview["metrics"]["http"])
    power = fetch(meter.dashboard_port, "GET", "/ui/power").json()
    assert {"ts", "current", "history", "forecast", "model"} <= set(power)
