"""A database that version 0.2.0 wrote (`tests/data/store/0.2.0.sqlite`), opened by this one: nothing of it is lost.

It is of three minutes of 1500, -600 and 250 W, with what readers had set.
"""
import contextlib
import shutil
import sqlite3

from harness import ROOT, fetch, until

FIRST = 1795917720
COUNTED = {"a_total_act_energy": 79.17, "b_total_act_ret_energy": 31.67, "c_total_act_energy": 13.19, "total_act": 92.36, "total_act_ret": 31.67}


def test_a_database_of_version_0_2_0_is_opened_whole(new_meter):
    meter = new_meter({"total_power": "sensor.none"}, args=["--records-days", "400"])
    meter.data.mkdir()
    shutil.copy(ROOT / "tests/data/store/0.2.0.sqlite", meter.data / "virtual-shelly.db")
    with contextlib.closing(sqlite3.connect(meter.data / "virtual-shelly.db")) as db:
        samples = db.execute("SELECT count(*) FROM s2").fetchone()[0]
    assert samples > 60
    meter.start()
    assert meter.info()["mac"] == "2CBCBB0A1B2C" and meter.info()["id"] == "shellypro3em-2cbcbb0a1b2c"
    # The time without it is one of the things that went wrong.
    until(lambda: any(words in fetch(meter.dashboard_port, "GET", "/health").text for words in ("Stopped or restarted", "Ended without notice")),
          10, "it is listed")
    counters = meter.emdata()
    # What a start adds so that none is served lower than before is far less than what was counted.
    assert all(0 <= counters[key] - value < 0.05 for key, value in COUNTED.items()), counters
    assert counters["c_total_act_ret_energy"] == 0
    # A start may add the minute that was not over.
    block = meter.rpc("EMData.GetRecords", {"id": 0})["data_blocks"][0]
    assert block["ts"] == FIRST and block["records"] in (3, 4), block
    data = meter.rpc("EMData.GetData", {"id": 0, "ts": FIRST})
    rows = [dict(zip(data["keys"], values)) for block in data["data"] for values in block["values"]]
    assert [row["a_max_act_power"] for row in rows][:3] == [1500.0] * 3 and rows[0]["b_min_act_power"] == -600.0
    assert meter.rpc("KVS.Get", {"key": "home"})["value"] == "Keller"
    assert meter.rpc("KVS.Get", {"key": "plan.7"})["value"] == '{"x":[1,2]}'
    assert meter.rpc("KVS.List")["rev"] == 2
    assert meter.info()["name"] == "Keller 7"
    assert meter.rpc("Ws.GetConfig")["server"] == "ws://192.0.2.7:8080/"
    assert meter.rpc("Modbus.GetConfig")["enable"] is False
    meter.stop()
    with contextlib.closing(sqlite3.connect(meter.data / "virtual-shelly.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM s2").fetchone()[0] >= samples
