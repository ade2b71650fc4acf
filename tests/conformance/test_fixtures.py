"""Every reply against the dumps and golden pairs of real devices: keys, their order, types, number format."""
import json
import re

import pytest

from harness import dump, fetch, golden, shape, until

# Where a meter without a house behind it may say null although the dumped device had a value, and the reverse.
NULLABLE = {"config.sys.device.name", "config.sys.location.lat", "config.sys.location.lon", "config.mqtt.server",
            "config.mqtt.user", "config.wifi.sta.ssid", "config.sys.location.tz", "status.sys.last_sync_ts"}
ORDER = {  # docs/protocol/methods.md#status-and-configuration, firmware 1.6.1
    "sys": "mac restart_required time unixtime last_sync_ts uptime ram_size ram_free ram_min_free fs_size fs_free cfg_rev "
           "kvs_rev schedule_rev webhook_rev btrelay_rev available_updates reset_reason utc_offset",
    "wifi": "sta_ip status ssid rssi sta_ip6", "eth": "ip ip6", "temperature:0": "id tC tF"}
CONFIG_ORDER = {
    "em:0": "id name blink_mode_selector phase_selector monitor_phase_sequence ct_type reverse",
    "mqtt": "enable server client_id user ssl_ca topic_prefix rpc_ntf status_ntf use_client_cert enable_rpc enable_control",
    "sys": "device location debug ui_data rpc_udp sntp cfg_rev", "wifi": "ap sta sta1 roam",
    "ws": "enable server ssl_ca", "temperature:0": "id name report_thr_C offset_C"}
COMPONENTS = ["BLE", "BTHome", "Cloud", "EM", "EMData", "Eth", "Modbus", "Mqtt", "Sys", "Temperature", "Wifi", "WS"]


@pytest.fixture
def meter(replay):
    return replay(0.0, 1.7, 72.1, {"device_name": "Test Name", "firmware": "1.6.1"})


def kind(value):
    return {bool: "bool", int: "int", float: "float", str: "text", type(None): "null"}.get(type(value), type(value).__name__)


def differences(path, real, ours, extra=()):
    """Paths whose keys or types are not the device's."""
    if isinstance(real, dict) and isinstance(ours, dict):
        out = [f"{path}.{k} is missing" for k in real if k not in ours]
        out += [f"{path}.{k} is not the device's" for k in ours if k not in real and f"{path}.{k}" not in extra]
        for k in real:
            if k in ours:
                out += differences(f"{path}.{k}", real[k], ours[k], extra)
        return out
    if kind(real) == kind(ours) or path in NULLABLE and "null" in (kind(real), kind(ours)):
        return []
    return [f"{path}: {kind(real)} on the device, here {ours!r}"]


def test_shelly(meter):
    answer = meter.get("/shelly")
    real = golden("http_get_shelly")["response"]
    assert answer.status == 200 and answer.headers["content-type"] == real["content_type"]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert int(answer.headers["content-length"]) == len(answer.text.encode())
    assert shape(answer.text) == shape(real["body_text"])
    ours, device = answer.json(), dump()["shelly"]
    same = ("app", "fw_id", "gen", "model", "name", "profile", "slot", "ver")
    assert {k: ours[k] for k in same} == {k: device[k] for k in same}
    assert ours["auth_en"] is False and ours["auth_domain"] is None
    assert re.fullmatch("[0-9A-F]{12}", ours["mac"]) and int(ours["mac"][1], 16) & 2, "locally administered"
    assert ours["id"] == f"shellypro3em-{ours['mac'].lower()}"
    assert meter.rpc("Shelly.GetDeviceInfo") == ours


@pytest.mark.parametrize("name", ["http_get_em_getstatus", "http_get_emdata_getstatus"])
def test_number_texts(meter, name):
    pair = golden(name)
    answer = meter.get(pair["request"]["target"])
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    assert shape(answer.text) == shape(pair["response"]["body_text"])


def test_values(meter):
    em = meter.em()
    assert [em[f"{p}_act_power"] for p in "abc"] == [0.0, 1.7, 72.1] and em["total_act_power"] == 73.8
    assert em["b_voltage"] == 230.0 and em["b_pf"] == 1.0 and em["b_freq"] == 50.0 and em["n_current"] is None
    assert "-0.0" not in meter.get("/rpc/EM.GetStatus?id=0").text


def test_status_as_dumped(meter):
    answer = meter.get("/rpc/Shelly.GetStatus")
    ours = answer.json()
    assert list(ours) == sorted(ours), "components in alphabetical order"
    assert differences("status", dump()["status"], ours) == []
    for key, order in ORDER.items():
        assert list(ours[key]) == order.split(), key
    assert shape(json.dumps(ours["em:0"])) and ours["cloud"] == {"connected": False}
    assert ours["wifi"]["status"] == "got ip" and ours["wifi"]["sta_ip"] == "127.0.0.1" and ours["eth"]["ip"] is None
    assert ours["sys"]["available_updates"] == {}
    inner = dict(shape(answer.text))
    assert inner["em:0"] == shape(golden("http_get_em_getstatus")["response"]["body_text"])
    assert inner["emdata:0"] == shape(golden("http_get_emdata_getstatus")["response"]["body_text"])
    assert dict(inner["temperature:0"])["tC"] == "number with 1 decimals"


@pytest.mark.parametrize(("name", "firmware", "profile"), [
    ("pro3em-1.7.5-triphase", None, "triphase"), ("pro3em-monophase", "1.7.5", "monophase"), ("pro3em63-2.0.1-triphase", "2.0.1", "triphase")])
def test_other_sets_as_captured(new_meter, name, firmware, profile):
    """Keys of whole captures; of 1.7.5, whose captures kept the device's order, in that order. 1.7.5 is the default."""
    real = dump(name)
    real = real.get("dump", real)
    options = {"device_name": "3EM Pro", "profile": profile} | ({"firmware": firmware} if firmware else {})
    meter = new_meter(options, args=["--source", "demo"]).start()
    until(lambda: meter.get("/healthz").status == 200, 10, "all phases have a value")
    own = {"beta", "version", "tz", "lat", "lon", "alt", "addr", "flags", "device_revision", "bssid", "rssi", *"desc name stable build_id".split()}

    def keys(value, path=""):
        if not isinstance(value, dict):
            return []
        return [k for key, v in value.items() for k in [f"{path}.{key}", *keys(v, f"{path}.{key}")] if key not in own and "Pro3EMProAddon" not in k]

    for part, method in (("shelly", "Shelly.GetDeviceInfo"), ("settings", "Shelly.GetConfig"), ("status", "Shelly.GetStatus")):
        theirs = real.get(part) or real[{"shelly": "device_info", "settings": "config"}[part]]
        theirs, ours = keys(theirs), keys(meter.rpc(method))
        assert (ours == theirs) if "1.7.5" in name or profile == "monophase" else (sorted(ours) == sorted(theirs)), part
    info = real.get("shelly") or real["device_info"]
    assert {k: meter.info()[k] for k in ("fw_id", "ver", "app", "gen")} == {k: info[k] for k in ("fw_id", "ver", "app", "gen")}


def test_another_version_gets_the_nearest_set_and_a_warning(replay):
    meter = replay(0.0, 1.7, 72.1, {"firmware": "1.7.1"})
    assert (meter.info()["ver"], meter.info()["fw_id"]) == ("1.7.1", "20260311-095913/1.7.5-g9979d16")
    assert "firmware 1.7.1: known are 1.6.1, 1.7.5, 2.0.1" in meter.log()


def test_config_as_dumped(meter):
    ours = meter.rpc("Shelly.GetConfig")
    assert list(ours) == sorted(ours)
    extra = {f"config.wifi.{k}" for k in ("ap", "sta1", "roam")}  # left out of the dump by its authors
    assert differences("config", dump()["config"], ours, extra) == []
    for key, order in CONFIG_ORDER.items():
        assert list(ours[key]) == order.split(), key
    assert ours["wifi"]["ap"]["enable"] is False and ours["wifi"]["sta"]["enable"] is True
    assert not re.search(r'"pass', json.dumps(ours), re.I), "passwords are never returned"
    info = meter.info()
    assert ours["sys"]["device"]["mac"] == info["mac"] and ours["sys"]["device"]["fw_id"] == info["fw_id"]


def test_components_one_by_one(meter):
    status, config = meter.rpc("Shelly.GetStatus"), meter.rpc("Shelly.GetConfig")
    for name in COMPONENTS:
        key = name.lower() + (":0" if name in ("EM", "EMData", "Temperature") else "")
        params = {"id": 0} if ":" in key else {}
        assert list(meter.rpc(f"{name}.GetStatus", params)) == list(status[key]), name
        assert meter.rpc(f"{name}.GetConfig", params) == config[key], name


def test_get_components(meter):
    all_ = meter.rpc("Shelly.GetStatus")
    assert meter.rpc("Shelly.GetComponents", {"dynamic_only": True}) == {
        "components": [], "cfg_rev": all_["sys"]["cfg_rev"], "offset": 0, "total": 0}
    seen = {}
    while len(seen) < len(all_):
        page = meter.rpc("Shelly.GetComponents", {"offset": len(seen)})
        assert list(page) == ["components", "cfg_rev", "offset", "total"]
        assert page["offset"] == len(seen) and page["total"] == len(all_) and page["components"]
        seen |= {c["key"]: c for c in page["components"]}
    assert set(seen) == set(all_) and all(list(c) == ["key", "status", "config"] for c in seen.values())
    only = meter.rpc("Shelly.GetComponents", {"keys": ["em:0"], "include": ["config"]})["components"]
    assert [list(c) for c in only] == [["key", "config"]]


def test_methods_listed_are_answered(meter):
    listed = meter.rpc("Shelly.ListMethods")
    assert list(listed) == ["methods"]
    methods = listed["methods"]
    assert {"EM.GetStatus", "EMData.GetStatus", "Shelly.GetStatus", "Shelly.ListMethods"} <= set(methods)
    absent = ("EM1.", "EM1Data.", "Switch.", "Light.", "Cover.", "PM1.", "ProOutputAddon.", "HTTP.")
    assert not [m for m in methods if m.startswith(absent) or m in ("Shelly.Ping", "Shelly.SetConfig", "MQTT.Status")]
    acting = re.compile(r"Set|Reset|Delete|Reboot|Update|Create|Put|Calib|Add|Start|Stop|Identify", re.I)
    for method in methods:
        if not acting.search(method):
            answer = meter.post(f"/rpc/{method}", {"id": 0, "ts": 0, "period": 300})
            assert answer.status != 404 or answer.json()["message"] != f"No handler for {method}", method


@pytest.mark.parametrize("method, result", [
    ("Shelly.ListProfiles", {"profiles": {
        "triphase": {"components": [{"type": "em", "count": 1}, {"type": "emdata", "count": 1}]},
        "monophase": {"components": [{"type": "em1", "count": 3}, {"type": "em1data", "count": 3}]}}}),
    ("Shelly.CheckForUpdate", {}), ("Script.List", {"scripts": []}), ("Schedule.List", {"jobs": [], "rev": 0}),
    ("Webhook.List", {"hooks": [], "rev": 0}), ("WiFi.Scan", {"results": []}), ("Shelly.Identify", None),
    ("WiFi.ListAPClients", {"ts": None, "ap_clients": []}), ("KVS.List", {"keys": {}, "rev": 0})])
def test_small_answers(demo, method, result):
    answer = demo.post(f"/rpc/{method}", {})
    assert answer.status == 200 and answer.json() == result


# -- HTTP forms and errors
def test_unknown_method(meter):
    pair = golden("http_unknown_method")
    answer = meter.get(pair["request"]["target"])
    assert answer.status == pair["response"]["status"] and answer.json() == pair["response"]["body"]
    assert list(answer.json()) == ["code", "message"]
    for method in ("EM1.GetStatus", "Switch.GetStatus", "PM1.GetStatus", "No.Such"):
        assert meter.post(f"/rpc/{method}", {"id": 0}).status == 404


@pytest.mark.parametrize("name", ["post_rpc_missing_id", "post_rpc_unknown_instance"])
def test_frame_errors(meter, name):
    pair = golden(name)
    answer = meter.post("/rpc", pair["request"]["body"])
    real = pair["response"]["frame"] | {"src": meter.info()["id"]}
    assert answer.status == 200 and answer.json() == real and list(answer.json()) == list(real)


def test_bare_errors(meter):
    assert (meter.get("/rpc/EM.GetStatus").status, meter.get("/rpc/EM.GetStatus").json()["code"]) == (500, -103)
    assert (meter.get("/rpc/EM.GetStatus?id=7").status, meter.get("/rpc/EM.GetStatus?id=7").json()["code"]) == (500, -105)
    assert meter.get("/rpc/EMData.GetConfig?id=1").json()["code"] == -105


def test_frames(meter):
    own = meter.info()["id"]
    answer = meter.post("/rpc", {"id": 5, "src": "me", "method": "EM.GetStatus", "params": {"id": 0}})
    assert list(answer.json()) == ["id", "src", "dst", "result"]
    assert (answer.json()["id"], answer.json()["src"], answer.json()["dst"]) == (5, own, "me")
    assert list(meter.post("/rpc", {"id": "x", "method": "Sys.GetStatus"}).json()) == ["id", "src", "result"]
    assert meter.post("/rpc", {"id": "77", "method": "Shelly.Identify"}).json()["id"] == 77
    assert meter.post("/rpc", {"id": "a-1", "method": "Shelly.Identify"}).json() == {"id": "a-1", "src": own, "result": None}
    assert meter.post("/rpc", {"id": 1, "method": "em.getstatus", "args": {"id": 0}}).json()["result"]["id"] == 0
    silent = meter.post("/rpc", {"method": "EM.GetStatus", "params": {"id": 0}})
    assert silent.status == 200 and silent.text.strip() == ""
    for text in ("", "no json", "17", '"x"', '{"id":1,'):
        assert meter.post("/rpc", text).status == 400, text
    old = meter.post("/rpc", {"jsonrpc": "2.0", "id": 1, "method": "Sys.GetStatus"}).json()
    assert list(old)[0] == "jsonrpc" and "result" in old


def test_get_parameters(meter):
    assert meter.get("/rpc/EM.GetStatus?id=0&esp").status == 200
    assert meter.get("/rpc/Shelly.GetStatus?esp").status == 200
    assert meter.get("/rpc/shelly.getdeviceinfo").json() == meter.info()
    some = meter.get("/rpc/Shelly.GetComponents?include=[%22status%22]&keys=[%22em:0%22]").json()
    assert some["components"][0]["status"]["id"] == 0
    assert meter.post("/rpc/EM.GetStatus?id=0", "").json()["code"] == -103, "POST reads no query"


def test_options_and_gen1_paths(meter):
    answer = fetch(meter.http_port, "OPTIONS", "/rpc/EM.GetStatus", headers={"Origin": "http://a.example"})
    assert answer.status == 200 and answer.text == "" and answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == "*"
    for path in ("/status", "/settings", "/relay/0", "/rpc2"):
        assert meter.get(path).status == 404, path
    page = meter.get("/", headers={"Accept": "text/html"})
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    assert set(meter.get("/", headers={"Accept": "application/json"}).json()) >= {"service", "rpc"}


# -- WebSocket
async def test_websocket_frames(meter):
    own = meter.info()["id"]
    async with meter.ws() as ws:
        await ws.send({"id": 1, "method": "Shelly.GetDeviceInfo", "src": "aios-23359691362240"})
        await ws.receive()
        real = shape(golden("ws_getdeviceinfo")["response"]["frame_text"])
        assert shape(ws.texts[-1]) == real
        note = await ws.note(where=lambda f: "em:0" in f["params"])  # emdata:0 comes alone when a minute is over
        assert list(note) == ["src", "dst", "method", "params"] and note["src"] == own
        assert note["dst"] == "aios-23359691362240"
        params = golden("ws_notifystatus_em0")["response"]["frame"]["params"]
        assert list(note["params"]) == list(params) and list(note["params"]["em:0"]) == list(params["em:0"])
        text = next(t for t in reversed(ws.texts) if '"NotifyStatus"' in t and '"em:0"' in t)
        sent = dict(dict(shape(text))["params"])
        assert sent["ts"] == "number with 2 decimals"
        real = dict(shape(golden("http_get_em_getstatus")["response"]["body_text"]))
        assert all(kind_ == real[k] for k, kind_ in sent["em:0"])


async def test_websocket_without_src_gets_no_notifications(demo):
    async with demo.ws() as ws:
        await ws.send({"id": 1, "method": "Sys.GetStatus"})
        answer = await ws.receive()
        assert list(answer) == ["id", "src", "result"]
        with pytest.raises(AssertionError, match="no NotifyStatus"):
            await ws.note(seconds=2.5)


async def test_passive_listener(demo):
    async with demo.ws() as ws:
        first = await ws.receive(5)
        assert list(first) == ["src", "method", "params"] and first["method"] == "NotifyFullStatus"
        assert set(first["params"]) == {"ts", *demo.rpc("Shelly.GetStatus")}
        assert (await ws.note(where=lambda f: "em:0" in f["params"]))["params"]["em:0"]["id"] == 0


async def test_fanout_ports(demo):
    for port in (demo.ws_port, demo.ws_port + 1):
        async with demo.ws(port, "/any/path") as ws:
            assert (await ws.receive(5))["method"] == "NotifyFullStatus"
            assert (await ws.call("EM.GetStatus", {"id": 0}))["result"]["id"] == 0


async def test_websocket_rubbish(demo):
    async with demo.ws() as ws:
        for text in ("", "{", "17", '{"id":1}', '{"id":77,"src":"x","error":{"code":500,"message":"Not Implemented"}}'):
            await ws.send(text)
        assert (await ws.call("Sys.GetStatus"))["result"]["mac"] == demo.info()["mac"]
