"""Home Assistant, or what stands before it, misbehaves."""
import contextlib
import json
import threading
import time

from aiohttp import web

from conftest import reading, resident, settles
from harness import fetch, until

STAYS = 20


def test_events_of_thirty_megabytes(grid, row):
    """One attribute of an entity that grows to 30 MB, three times."""
    ha, meter = grid
    before = resident(meter)
    with reading(meter) as good:
        time.sleep(1)
        for n in range(3):
            ha.set("sensor.grid", str(600 + n), blob="x" * 30_000_000 + str(n))
            time.sleep(1)
        until(lambda: ha.set("sensor.grid", "700") is None and meter.em()["total_act_power"] == 700, 20, "it still reads")
        time.sleep(1)
    after = settles(lambda: resident(meter), before + STAYS, 30)
    row(no=11, case="three events of 30 MB", **good.cells(), MB=f"{before:.0f} → {after:.0f}")
    good.check()
    assert after <= before + STAYS


def test_thousands_of_entities_and_the_set_up_in_a_loop(new_meter, fake_ha, row):
    """A big house, and somebody who reloads the set-up page."""
    for n in range(5000):
        fake_ha.states[f"sensor.s{n}"] = {"s": str(n), "c": "01M8", "lc": time.time(), "a": {
            "unit_of_measurement": "W", "device_class": "power", "state_class": "measurement", "friendly_name": f"Power of plug {n}", "icon": "mdi:flash"}}
    fake_ha.set("sensor.grid", "512")
    meter = new_meter({"total_power": "sensor.grid"}, ha=fake_ha).start()
    meter.until_total(512, 10)
    stop, pages = threading.Event(), []

    def reload():
        while not stop.is_set():
            with contextlib.suppress(OSError):
                pages.append(fetch(meter.dashboard_port, "GET", "/setup", timeout=30).status)
    browser = threading.Thread(target=reload)
    with reading(meter) as good:
        browser.start()
        time.sleep(10)
        stop.set()
        browser.join()
    row(no=8, case=f"5,000 entities, set-up loaded {len(pages)} times", **good.cells())
    good.check()
    assert pages and set(pages) <= {200, 503}


def test_a_question_that_is_never_answered(new_meter, fake_ha, row):
    """Home Assistant takes the subscription and says nothing of it: after a while that is told, and it is asked anew."""
    fake_ha.set("sensor.grid", "512")
    meter = new_meter({"total_power": "sensor.grid", "hold": 2}, ha=fake_ha).start()
    meter.until_total(512, 5)
    answer = fake_ha._command

    async def silent(ws, m):
        if m["type"] in ("ping",):
            await answer(ws, m)
    fake_ha._command = silent
    fake_ha.run(_abort(fake_ha))
    until(lambda: meter.get("/healthz").status == 503, 10, "the value is gone")
    before = fake_ha.connections
    until(lambda: fake_ha.connections > before + 1, 120, "it tries again instead of waiting for ever")
    fake_ha._command = answer
    meter.until_total(512, 60)
    row(no=13, case="a question that is never answered", note="asked anew")


def test_a_set_up_that_is_never_answered(new_meter, fake_ha, row):
    """One of the questions beside the readings gets no answer: it is named once, and asked again."""
    fake_ha.set("sensor.grid", "512")
    answer, asked = fake_ha._command, []

    async def silent(ws, m):
        if m["type"] == "get_states":
            asked.append(m)
        else:
            await answer(ws, m)
    fake_ha._command = silent
    meter = new_meter({}, ha=fake_ha).start()
    until(lambda: len(asked) > 1, 120, "it asks again instead of waiting for ever")
    assert meter.log().count("did not answer get_states for 30 s") == 1, meter.log()
    fake_ha.prefs = {"energy_sources": [{"type": "grid", "stat_energy_from": "sensor.e", "stat_rate": "sensor.grid"}]}
    fake_ha._command = answer
    meter.until_total(512, 120)
    row(no=13, case="a set-up question that is never answered", note="named, asked again")


def test_an_answer_of_rest_that_does_not_end(new_meter, fake_ha, row):
    """REST sends blanks for ever, as fast as they are taken."""
    taken = 0

    async def endless(request):
        nonlocal taken
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        while True:
            await answer.write(b" " * 65536)
            taken += 65536
    fake_ha.set("sensor.grid", "512")
    meter = new_meter({"total_power": "sensor.grid", "ha_transport": "rest", "hold": 120}, ha=fake_ha).start()
    meter.until_total(512, 10)
    before, most = resident(meter), 0
    with reading(meter) as good:
        fake_ha.drop()
        fake_ha._rest = endless
        fake_ha.accept()
        end = time.monotonic() + 15
        while time.monotonic() < end:
            most = max(most, resident(meter))
            time.sleep(0.05)
    after = settles(lambda: resident(meter), before + STAYS, 30)
    row(no=11, case=f"a REST answer without an end, {taken / 1e6:.0f} MB of it in 15 s", **good.cells(), MB=f"{before:.0f} → {most:.0f} → {after:.0f}")
    good.check()
    assert "larger than the 32768 kB" in meter.log(), "the limit is named"
    assert most < before + 100 and after <= before + STAYS and taken < 150e6, "it is not read again and again"


def test_one_wrong_sample_of_an_energy_entity(new_meter, fake_ha, row):
    """1234.1 → 123410 → 1234.2 kWh: the counter goes on as if the middle one had never been said."""
    def say(kwh):
        fake_ha.set("sensor.e", kwh, unit="kWh", device_class="energy", state_class="total_increasing")
    fake_ha.set("sensor.grid", "512")
    say("1234.1")
    meter = new_meter({"total_power": "sensor.grid", "energy_import": "sensor.e", "energy_source": "entities"}, ha=fake_ha).start()

    def counter():
        return meter.rpc("EMData.GetStatus", {"id": 0})["total_act"]
    until(lambda: counter() == 1_234_100, 10, "it begins with the entity's value")
    say("123410")
    until(lambda: "from 1234.1 kWh to 123410 kWh" in meter.log(), 5, "both readings are told")
    say("1234.2")
    until(lambda: counter() == 1_234_200, 30, "it goes on")
    meter.restart()
    until(lambda: counter() == 1_234_200, 10, "and does so over a restart")
    say("1234.3")
    until(lambda: counter() == 1_234_300, 30)
    row(no=15, case="one wrong sample of an energy entity", note="not counted")


async def _abort(ha):
    for ws in list(ha.sockets):
        if ws._req is not None and ws._req.transport is not None:
            ws._req.transport.abort()


def test_only_pings_of_a_proxy(new_meter, fake_ha, row):
    """Home Assistant hangs behind a proxy whose WebSocket pings go on: that is no sign of life."""
    fake_ha.set("sensor.grid", "512")
    meter = new_meter({"total_power": "sensor.grid", "hold": 5}, ha=fake_ha).start()
    meter.until_total(512, 5)
    fake_ha.mute()
    began = time.monotonic()
    while meter.get("/healthz").status == 200 and time.monotonic() - began < 100:
        for ws in list(fake_ha.sockets):
            with contextlib.suppress(ConnectionError):
                fake_ha.run(ws.ping())
        time.sleep(1)
    took = time.monotonic() - began
    row(no=14, case="only pings of a proxy", note=f"absent after {took:.0f} s")
    assert json.loads(meter.get("/healthz").text)["status"] == "stale", "it is live on pings alone"
    assert took < 90
