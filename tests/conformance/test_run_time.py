"""What is set while the meter runs: pauses on every channel, and who a reader is."""
import json
import struct

import pytest
from playwright.sync_api import expect
from pymodbus.client import ModbusTcpClient

from harness import aio_until, fetch, free_port, near, until
from test_pages import browser, look  # noqa: F401: fixtures
from test_victron import LOCAL, Gx

BATTERY, VIEWER = "127.0.0.7", "127.0.0.8"
FRAME = {"id": 1, "method": "EM.GetStatus", "params": {"id": 0}}
JSON = {"Content-Type": "application/json"}


def control(meter, status=200, **change):
    """Change it over HTTP as an automation does."""
    answer = fetch(meter.dashboard_port, "POST", "/control", change, JSON)
    assert answer.status == status, answer
    return answer.json()


def register(meter):
    """The total at 1013 as a Modbus master reads it, or its exception."""
    with ModbusTcpClient(LOCAL, port=meter.modbus_port) as client:
        answer = client.read_input_registers(1013, count=2, device_id=1)
        if answer.isError():
            return f"exception {answer.exception_code}"
        low, high = answer.registers
        return struct.unpack(">f", struct.pack(">HH", high, low))[0]


def by_udp(meter, source=BATTERY, timeout=0.3):
    text = meter.udp(FRAME, source=source, timeout=timeout)
    return json.loads(text)["result"]["total_act_power"] if text else None


async def test_a_pause_at_0_w_reaches_every_channel(replay):
    async with Gx().listen() as gx:
        meter = replay(300.0, 120.5, 80.0, {"outbound_ws": [gx.url], "ws_notify_interval": 0.0})
        mac = meter.info()["mac"]
        await aio_until(lambda: gx.meters[mac]["power"] == [300.0, 120.5, 80.0], 10)
        async with meter.ws() as socket:
            await socket.call("Shelly.GetDeviceInfo")
            now = control(meter, pause=True, pause_kind="zero")
            assert (now["paused"], now["pause_kind"]) == (True, "zero"), now
            until(lambda: near(meter.total(), 0), 3)
            status = meter.rpc("EM.GetStatus", {"id": 0})
            assert [status[f"{p}_act_power"] for p in "abc"] == [0, 0, 0] and status["a_voltage"] > 200, status
            assert '"total_act_power":0.0' in meter.post("/rpc/EM.GetStatus", {"id": 0}).text.replace(" ", ""), "with its decimals, and not -0"
            assert meter.get("/rpc/Shelly.GetStatus").json()["em:0"]["total_act_power"] == 0
            assert near(by_udp(meter), 0) and register(meter) == 0.0
            told = await socket.note(where=lambda frame: frame["params"].get("em:0", {}).get("total_act_power") == 0)
            assert told["params"]["em:0"]["a_current"] == 0
            await aio_until(lambda: gx.meters[mac]["power"] == [0.0, 0.0, 0.0], 5, "the GX is told too")
            # Nobody takes the house for idle: the pages and /healthz say that it is a pause.
            health = meter.get("/healthz").text
            assert "readers are told 0 W" in health, health
            assert meter.admin("/live.json")["w"] is None
            for page in ("/", "/readers", "/health"):
                assert "Paused: readers are told 0 W" in fetch(meter.dashboard_port, "GET", page).text, page
            # Counters go on with what is measured.
            before = meter.emdata()["total_act"]
            until(lambda: meter.emdata()["total_act"] > before, 70)
            # Another kind at once.
            control(meter, pause_kind="nothing")
            until(lambda: meter.post("/rpc/EM.GetStatus", {"id": 0}).status == 500, 3)
            assert by_udp(meter) is None and register(meter) == "exception 4"
            control(meter, pause=False)
            meter.until_total(500.5, 5)
            await aio_until(lambda: gx.meters[mac]["power"] == [300.0, 120.5, 80.0], 5)
            assert near(register(meter), 500.5) and near(by_udp(meter), 500.5)


async def test_by_profile_a_pause_is_silence_to_a_battery_and_0_w_to_a_gx(replay):
    async with Gx().listen() as gx:
        meter = replay(300.0, 0.0, 0.0, {"outbound_ws": [gx.url]})
        mac = meter.info()["mac"]
        await aio_until(lambda: gx.meters[mac]["power"] == [300.0, 0.0, 0.0], 10)
        assert near(by_udp(meter), 300)
        assert control(meter, pause=True, minutes=5)["pause_kind"] == "profile"
        # From another address than the GX's.
        until(lambda: meter.post("/rpc/EM.GetStatus", {"id": 0}, source=VIEWER).status == 500, 3)
        assert by_udp(meter) is None, "a battery that hears nothing goes to its safe state"
        await aio_until(lambda: gx.meters[mac]["power"] == [0.0, 0.0, 0.0], 5, "a GX would go on with the last figures")
        assert "0 W where that suits it better" in meter.get("/healthz").text


def test_a_pause_is_nothing_that_went_wrong(fake_ha, new_meter):
    """Beside a meter that really has no reading, and is told of."""
    for name in ("grid", "garage"):
        fake_ha.set(f"sensor.{name}", "512")
    garage = {"name": "garage", "a_power": "sensor.garage", "http_port": free_port(), "bind": LOCAL, "hold": 0}
    meter = new_meter({"total_power": "sensor.grid", "meters": [garage]}, ha=fake_ha).start()
    meter.until_total(512, 10)
    control(meter, pause=True)
    until(lambda: meter.post("/rpc/EM.GetStatus", {"id": 0}).status == 500, 3)
    until(lambda: fetch(garage["http_port"], "GET", "/rpc/EM.GetStatus?id=0").status == 200, 5)
    fake_ha.set("sensor.garage", "unavailable")
    health = lambda m: fetch(meter.dashboard_port, "GET", f"/health?m={m}").text  # noqa: E731
    until(lambda: "No reading: sensor.garage is unavailable" in health(1), 60, "as long as it takes")
    assert "No reading: " not in health(0) and "paused" in health(0)


def test_a_reader_is_given_a_profile_while_the_meter_runs(replay):
    meter = replay(300.0, 0.0, 0.0, {"hold": 0})
    why = control(meter, 400, profiles={VIEWER: "toaster"})["error"]
    assert "toaster" in why and "victron" in why, why
    # All of a change or nothing.
    many = {f"192.0.2.{n}": "evcc" for n in range(1, 70)}
    assert "at most 64" in control(meter, 400, profiles=many, shares={VIEWER: 0.5})["error"]
    now = fetch(meter.dashboard_port, "GET", "/control").json()
    assert (now["profiles"], now["shares"]) == ({}, {}), now
    assert control(meter, profiles={VIEWER: "victron", "127.0.0.9": "evcc"})["profiles"] == {VIEWER: "victron", "127.0.0.9": "evcc"}
    assert control(meter, profiles={"127.0.0.9": None})["profiles"] == {VIEWER: "victron"}
    meter.get("/rpc/EM.GetStatus?id=0", source=VIEWER)

    def seen():
        view = next(c for c in meter.admin()["consumers"] if c["ip"] == VIEWER)
        return view["profile"] and (view["profile"]["key"], view["profile"]["why"])
    assert seen() == ("victron", "address")
    control(meter, pause=True)
    until(lambda: meter.get("/rpc/EM.GetStatus?id=0").status == 500, 3)
    assert near(meter.get("/rpc/EM.GetStatus?id=0", source=VIEWER).json()["total_act_power"], 0)
    # A restart keeps it and ends the pause.
    meter.restart()
    meter.until_total(300, 5)
    meter.get("/rpc/EM.GetStatus?id=0", source=VIEWER)
    assert seen() == ("victron", "address")
    # What is chosen on the page is the newer word, also that nothing is.
    for chosen, known in (("solakon", ("solakon", "address")), ("", None)):
        answer = fetch(meter.dashboard_port, "POST", "/profile", {"ip": VIEWER, "profile": chosen}, JSON)
        assert answer.status == 200, answer
        until(lambda known=known: seen() == known, 5)
        assert fetch(meter.dashboard_port, "GET", "/control").json()["profiles"] == {}
    # So is a share.
    def seen_by(address):
        return meter.get("/rpc/EM.GetStatus?id=0", source=address).json()["total_act_power"]
    control(meter, shares={BATTERY: 0.5})
    until(lambda: near(seen_by(BATTERY), 150), 5)
    for share, watts in (("80", 240), ("", 300)):
        answer = fetch(meter.dashboard_port, "POST", "/profile", {"ip": BATTERY, "profile": "", "share": share}, JSON)
        assert answer.status == 200, answer
        until(lambda watts=watts: near(seen_by(BATTERY), watts), 5)
    assert fetch(meter.dashboard_port, "GET", "/control").json()["shares"] == {}
    control(meter, profiles={VIEWER: "victron"})
    answer = fetch(meter.dashboard_port, "POST", "/profile", {"ip": VIEWER, "profile": ""}, JSON)
    assert answer.status == 200 and seen() is None, "no option has changed by it"


def test_a_meter_that_there_is_not_is_not_another(demo):
    """An automation, or a page that was open before a meter was removed, must not steer the one that is left."""
    calls = [("POST", "/control", {"pause": True}), ("GET", "/control", None), ("POST", "/profile", {"ip": VIEWER, "profile": "victron"}),
             ("POST", "/reader", {"ip": VIEWER, "channel": "http"}), ("POST", "/test-as", {"as": "modbus"})]
    # Whoever asks in another language is told in it.
    for change, why in (({"minutes": 5}, "minutes: wie lange eine Pause dauert; dazu gehört pause: true"),
                        ({"target_offset": 1e6}, "target_offset: 1000000 ist keine Zahl von -20000 bis 20000 W"),
                        ({"shares": {VIEWER: 2}}, "shares: ein Anteil ist eine Zahl von 0 bis 1")):
        answer = fetch(demo.dashboard_port, "POST", "/control", change, {**JSON, "Accept-Language": "de"})
        assert (answer.status, answer.json()) == (400, {"error": why}), answer
    for which in ("1", "7", "x", ""):
        for method, path, body in calls:
            answer = fetch(demo.dashboard_port, method, f"{path}?m={which}", body, {**JSON, "Accept-Language": "de"})
            assert (answer.status, answer.json()) == (404, {"error": "diesen Zähler gibt es nicht"}), (which, path, answer)
    now = fetch(demo.dashboard_port, "GET", "/control?m=0").json()
    assert (now["paused"], now["profiles"]) == (False, {}), now


def test_an_offset_that_was_taken_back_is_nothing_that_was_lost(demo):
    control(demo, target_offset=-50.5)
    page = fetch(demo.dashboard_port, "GET", "/settings", headers={"Accept-Language": "de"}).text
    assert page.count("im Betrieb ist −50,5\u202fW gesetzt") + page.count("im Betrieb ist −50,5 W gesetzt") == 1, "who looks at the option sees what counts"
    control(demo, target_offset=None)
    assert "at run time" not in fetch(demo.dashboard_port, "GET", "/settings").text
    demo.restart()
    until(lambda: demo.get("/healthz").status == 200, 10)
    assert demo.get("/healthz").json().get("problems", []) == [] and "could not be read" not in demo.log()
    assert control(demo)["target_offset"] == 0


@pytest.mark.parametrize("page", ["", "readers", "health"])
def test_a_pause_ends_by_the_button_of_a_page(demo, look, page):  # noqa: F811
    control(demo, pause=True, pause_kind="zero", minutes=30)
    one = look(demo, page)
    notice = one.page.locator("#notices .notice").filter(has_text="told 0 W")
    expect(notice).to_have_count(1)
    expect(notice).to_contain_text("29 min left")
    assert one.axe() == []
    notice.get_by_role("button", name="Resume").click()
    expect(notice).to_have_count(0)
    assert not fetch(demo.dashboard_port, "GET", "/control").json()["paused"]
    until(lambda: demo.get("/healthz").status == 200, 5)


def test_who_may_only_look_has_no_button(demo, new_meter):
    foreign = fetch(demo.dashboard_port, "POST", "/control", {"pause": True}, {**JSON, "Origin": "http://evil.example"})
    assert foreign.status == 403 and not fetch(demo.dashboard_port, "GET", "/control").json()["paused"]
    viewed = new_meter({"dashboard_on_lan": "view"}, args=["--source", "demo"]).start()
    control(viewed, pause=True)
    until(lambda: "data-resume" in fetch(viewed.dashboard_port, "GET", "/").text, 5)
    lan = viewed.get("/ui").text
    assert "paused" in lan.lower() and "data-resume" not in lan
    assert viewed.post("/ui/control", {"pause": False}, headers=JSON).status == 403
