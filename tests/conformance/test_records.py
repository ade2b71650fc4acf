"""Minute records by RPC, event and CSV, from a meter that runs over the end of a minute."""
import json

from harness import golden, near, shape, until

HEADER = golden("csv_emdata_header_and_row")["response"]["header"]
ROW = golden("csv_emdata_header_and_row")["response"]["row"]


def test_nothing_yet(demo):
    assert demo.rpc("EMData.GetRecords", {"id": 0}) == {"data_blocks": []}
    assert demo.rpc("EMData.GetData", {"id": 0, "ts": 0, "add_keys": False}) == {"data": []}
    assert demo.post("/rpc/EMData.GetData", {"id": 0}).json()["code"] == -103
    answer = demo.get("/emdata/0/data.csv?add_keys=true")
    assert answer.status == 200 and answer.text.strip() == HEADER
    assert answer.headers["content-type"].startswith("text/csv")
    assert demo.get("/emdata/1/data.csv").status != 200 and demo.get("/em1data/0/data.csv").status == 404


async def test_a_minute(replay):
    meter = replay(600.0, -300.0, 0.0)
    async with meter.ws() as ws:
        await ws.call("Sys.GetStatus")
        event = (await ws.note("NotifyEvent", 75, where=lambda f: f["params"]["events"][0]["event"] == "data"))["params"]
        text = next(t for t in reversed(ws.texts) if '"NotifyEvent"' in t)
        record = event["events"][0]
        assert list(record) == ["component", "id", "event", "ts", "data"] and record["component"] == "emdata:0"
        start = record["data"]["ts"]
        assert start % 60 == 0 and record["ts"] == start and record["data"]["period"] == 60
        assert start + 60 <= event["ts"] <= start + 65
        # The counters' note comes a second after the minute, the record once it is kept: either may be first.
        def counters(frame):
            return frame["method"] == "NotifyStatus" and frame["params"]["ts"] >= start + 60 and frame["params"].get("emdata:0")
        told = [found for t in ws.texts if '"NotifyStatus"' in t and (found := counters(json.loads(t)))]
        told = told or [(await ws.note(where=counters, seconds=5))["params"]["emdata:0"]]
        assert told[0]["id"] == 0
    # A minute of which the end came before we listened is a record too.
    block, = meter.rpc("EMData.GetRecords", {"id": 0})["data_blocks"]
    first, count = block["ts"], block["records"]
    assert block["period"] == 60 and count >= 1 and first <= start < first + 60 * count and first >= start - 60
    answer = meter.post("/rpc/EMData.GetData", {"id": 0, "ts": start})
    data = answer.json()
    keys = data["keys"]
    assert list(data) == ["keys", "data"] and keys == HEADER.split(",")[1:] and len(keys) == 51
    assert list(data["data"][0]) == ["ts", "period", "values"] and data["data"][0]["values"] == record["data"]["values"]
    values = dict(zip(keys, data["data"][0]["values"][0]))
    decimals = ["number with %d decimals" % len(v.partition(".")[2]) for v in ROW.split(",")[1:]]
    assert dict(dict(shape(answer.text))["data"][0])["values"][0] == decimals
    assert dict(dict(dict(shape(text))["params"])["events"][0])["ts"] == "number with 2 decimals"
    assert values["a_max_act_power"] == values["a_min_act_power"] == 600.0 and values["b_max_act_power"] == -300.0
    assert values["a_avg_voltage"] == 230.0 and values["n_avg_current"] == 0.0
    share = values["a_total_act_energy"] / 10
    assert 0 < share <= 1.02 and near(values["b_total_act_ret_energy"] / 5, share, 0.02) and values["c_total_act_energy"] == 0
    net = meter.rpc("EMData.GetNetEnergies", {"id": 0, "ts": start, "period": 300})
    assert net["keys"] == ["a_net_act_energy", "b_net_act_energy", "c_net_act_energy"]
    rows = [row for block in net["data"] for row in block["values"]]
    expected = (values["a_total_act_energy"], -values["b_total_act_ret_energy"], 0)
    assert len(rows) <= 1 and all(near(v, e, 0.001) for row in rows for v, e in zip(row, expected))
    assert meter.post("/rpc/EMData.GetNetEnergies", {"id": 0, "ts": start, "period": 7}).json()["code"] == -103
    lines = meter.get(f"/emdata/0/data.csv?add_keys=true&ts={start}&end_ts={start}").text.split()
    assert lines[0] == HEADER and len(lines) == 2 and lines[1].split(",")[0] == str(start)
    assert [len(v.partition(".")[2]) for v in lines[1].split(",")] == [len(v.partition(".")[2]) for v in ROW.split(",")]
    assert len(meter.get("/emdata/0/data.csv?add_keys=false").text.split()) == 1
    assert meter.get("/emdata/0/data.csv").text.split()[0] == HEADER, "the keys come unless they are declined"
    # kept over a restart; counters reset without the history, the history by its own call
    meter.restart()
    assert meter.rpc("EMData.GetRecords", {"id": 0})["data_blocks"][0]["ts"] == first
    assert meter.rpc("EMData.ResetCounters", {"id": 0}) is None
    assert meter.emdata()["total_act"] < 1 and meter.rpc("EMData.GetRecords", {"id": 0})["data_blocks"]
    assert meter.rpc("EMData.DeleteAllData", {"id": 0}) is None
    until(lambda: meter.rpc("EMData.GetRecords", {"id": 0})["data_blocks"] == [], 5)


def test_read_only(replay):
    meter = replay(3600.0, 0.0, 0.0, {"read_only": True})
    until(lambda: meter.emdata()["total_act"] > 0, 10)
    for method in ("EMData.ResetCounters", "EMData.DeleteAllData", "Shelly.Reboot"):
        answer = meter.post(f"/rpc/{method}", {"id": 0})
        assert answer.status == 403 and answer.json()["code"] == 403, method
    assert meter.emdata()["total_act"] > 0


def test_writes(demo):
    assert demo.rpc("Sys.SetConfig", {"config": {"device": {"name": "Haus"}}}) == {"restart_required": False}
    assert demo.info()["name"] == "Haus"
    assert demo.rpc("KVS.Set", {"key": "k", "value": "v"})["rev"] >= 1 and demo.rpc("KVS.Get", {"key": "k"})["value"] == "v"
    for method in ("Shelly.FactoryReset", "Shelly.Update", "Shelly.ResetWiFiConfig"):
        assert demo.post(f"/rpc/{method}", {"stage": "stable"}).json()["code"] == -109, method
    cross = demo.post("/rpc/Sys.SetConfig", {"config": {}}, headers={"Origin": "http://evil.example"})
    assert cross.status == 403, "a browser's cross-site write"
    before = demo.rpc("Sys.GetStatus")["uptime"]
    until(lambda: demo.rpc("Sys.GetStatus")["uptime"] > before, 5)
    assert demo.rpc("Shelly.Reboot", {"delay_ms": 500}) is None
    until(lambda: demo.rpc("Sys.GetStatus")["uptime"] <= before, 10, "uptime restarts")
    assert demo.restart().info()["name"] == "Haus" and demo.process.poll() is None


def test_profile(demo):
    assert demo.rpc("Shelly.SetProfile", {"name": "monophase"}) == {"profile_was": "triphase"}
    until(lambda: demo.info()["profile"] == "monophase", 10)
    methods = demo.rpc("Shelly.ListMethods")["methods"]
    assert "EM1.GetStatus" in methods and not [m for m in methods if m.startswith(("EM.", "EMData."))]
    text = demo.get("/rpc/EM1.GetStatus?id=2").text
    assert [k for k, _ in shape(text)] == ["id", "voltage", "current", "act_power", "aprt_power", "pf", "freq", "calibration"]
    assert json.loads(text)["id"] == 2 and demo.get("/rpc/EM1Data.GetStatus?id=0").json()["total_act_energy"] >= 0
    assert demo.get("/rpc/EM.GetStatus?id=0").status == 404
    assert demo.post("/rpc/Shelly.SetProfile", {"name": "no"}).json()["code"] == -103
