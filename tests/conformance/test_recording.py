"""A recording of the real program: made, got, compared and deleted on its page in a real Chromium, and answered again on the command line."""
import contextlib
import json
import socket
import subprocess
import threading

import pytest
from playwright.sync_api import expect

from browser import chromium
from harness import LOCAL, Meter, fetch, golden, until
from test_pages import look, phone  # noqa: F401: a fixture

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def home(binary, tmp_path_factory):
    """A demo that a battery by UDP and a program by HTTP ask."""
    options = {"device_name": "Anneliese", "hold": 5}
    meter = Meter(binary, tmp_path_factory.mktemp("home"), options, args=("--source", "demo")).start()
    ends, request = threading.Event(), golden("udp_marstek_em")["request"]["datagram_text"].encode()

    def ask():
        with socket.socket(type=socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.79", 22222))
            s.settimeout(0.2)
            while not ends.wait(0.1):
                s.sendto(request, (LOCAL, meter.udp_ports[0]))
                with contextlib.suppress(TimeoutError):
                    s.recv(65535)
                with contextlib.suppress(OSError):
                    fetch(meter.http_port, "GET", "/rpc/EM.GetStatus?id=0", source="127.0.0.78")
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield meter
        ends.set()
        thread.join(5)
        meter.stop()
    finally:
        ends.set()
        meter.kill()


def replay(home, path, *more):
    return subprocess.run([str(home.binary), "replay", str(path), *more], capture_output=True, text=True, timeout=20)


def test_a_recording_from_start_to_comparison(home, look, tmp_path):
    one = look(home, "recording")
    page = one.page
    expect(page.locator("#rec-state")).to_contain_text("Nothing is being recorded")
    page.get_by_role("button", name="Start recording").click()
    expect(page.locator("#rec-state")).to_contain_text("Recording for")
    path = next((home.data / "recordings").iterdir())
    until(lambda: path.read_text().count('"is":"question"') > 30 and path.read_text().count('"is":"reading"') > 9, 10, "questions and readings")
    page.get_by_role("button", name="Stop recording").click()
    expect(page.locator("#rec-state")).to_contain_text("Nothing is being recorded")
    expect(page.locator("#rec-kept li")).to_have_count(1)

    with page.expect_download() as got:
        page.get_by_role("link", name="Download").click()
    text = got.value.path().read_text()
    assert text == path.read_text() and json.loads(text.splitlines()[-1])["why"] == "stopped"
    assert not any(secret in text for secret in ("127.0.0.7", "Anneliese", "demo.", home.info()["mac"])), "nobody's details"
    assert '"reader":"reader1"' in text and '"input":"a_power"' in text

    same = json.loads(replay(home, path, "--json").stdout)
    by = {reader["channel"]: reader for reader in same["readers"]}
    assert by["udp"]["kind"] == "battery" and by["http"]["questions"] > 10
    # A question may come in the very moment of a reading.
    assert by["http"]["recorded"] == by["http"]["replayed"] and by["http"]["differ"] <= 1, by["http"]
    assert by["udp"]["recorded"]["answered"] and abs(by["udp"]["recorded"]["answered"] - by["udp"]["replayed"]["answered"]) <= 2, by["udp"]
    turned = replay(home, path, "--set", "a_invert=true", "--set", "b_invert=true", "--set", "c_invert=true")
    assert turned.returncode == 0 and "Wh of opposite sign" in turned.stdout, turned
    for file, arguments, why in ((path, ("--set", "http_port=1"), "http_port changes nothing"), (home.options_file, (), "first line"),
                                 (tmp_path / "none", (), "No such file")):
        broken = replay(home, file, *arguments)
        assert broken.returncode == 1 and why in broken.stderr and broken.stderr.count("\n") == 1, broken

    page.get_by_label("Option, such as hold").fill("target_offset")
    page.get_by_label("Value").fill("150")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#replay .answer")).to_contain_text("answers would have been others")
    expect(page.locator("#rep-out tbody tr")).to_have_count(2)
    page.wait_for_selector("#rep-charts canvas")
    assert one.axe() == []
    one.shot("recording")
    one.allowed = ("status of 400",)
    page.get_by_label("Value").fill("a lot")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#replay .answer")).to_contain_text("target_offset")
    german = look(home, "recording", locale="de-DE")
    german.allowed = ("status of 400",)
    for option, value, why in (("hold", "viel", 'hold = "viel": '), ("http_port", "1", "http_port ändert beim Nachspielen nichts"),
                               ("holt", "5", 'die Option "holt" gibt es nicht; am nächsten kommt hold')):
        german.page.locator("#replay input").nth(0).fill(option)
        german.page.locator("#replay input").nth(1).fill(value)
        german.page.get_by_role("button", name="Vergleichen").click()
        expect(german.page.locator("#replay .answer")).to_contain_text(why)
    small = phone(look, home, "recording", locale="de-DE", color_scheme="dark")
    expect(small.page.get_by_role("heading", name="Andere Einstellungen erproben")).to_be_visible()
    assert small.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than a phone"
    small.shot("recording-phone")
    delete = page.get_by_role("button", name="Delete this recording")
    assert not delete.is_visible() and path.exists(), "not with one click"
    page.locator("#rec-kept summary").click()
    expect(page.locator("#rec-kept .danger")).to_contain_text("gone for good")
    assert one.axe() == []
    one.shot("recording-delete")
    delete.click()
    expect(page.locator("#rec-kept")).to_contain_text("No recordings yet")
    assert not list((home.data / "recordings").iterdir())


def test_a_recording_ends_with_the_process_and_its_door_is_that_of_all_changes(home):
    def start(**more):
        return fetch(home.dashboard_port, "POST", "/recording", {"do": "start"}, {**JSON, **more})
    assert start(Origin="http://evil.example").status == 403
    assert start().status == 200 and start().status == 409, "one at a time"
    path = next((home.data / "recordings").iterdir())
    until(lambda: '"is":"question"' in path.read_text(), 5)
    assert fetch(home.dashboard_port, "GET", "/recording.jsonl?name=../options.json").status == 404
    home.restart()
    assert json.loads(path.read_text().splitlines()[-1])["why"] == "exit"
    assert replay(home, path).returncode == 0
