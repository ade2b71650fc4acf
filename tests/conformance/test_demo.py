"""The demo as somebody finds it who only tries it out."""
import re

from harness import fetch, until


def test_it_begins_with_a_week_behind_it_and_a_battery(new_meter):
    meter = new_meter({"demo_history_days": 7, "demo_battery": True, "forecast_cpu": 100}, args=["--source", "demo"]).start()
    lines = meter.log().splitlines()
    assert lines[0].endswith(f"Open http://127.0.0.1:{meter.dashboard_port}"), lines[0]
    assert not any(level in line for line in lines for level in (" WARN ", " ERROR ")), lines
    energy = meter.rpc("EMData.GetStatus", {"id": 0})
    assert energy["total_act"] > 20_000 and energy["total_act_ret"] > 1_000, "what a week took and gave, Wh"
    records = meter.rpc("EMData.GetRecords", {"id": 0, "ts": 0})["data_blocks"]
    assert sum(block["records"] for block in records) >= 7 * 1440 - 1, records
    readers = until(lambda: [c for c in meter.admin()["consumers"] if c["channel"] == "udp"], 10)
    assert readers[0]["ip"] == "127.0.0.2"
    # It is a battery to the pages, too, not somebody who only looks.
    until(lambda: re.search(r"Marstek [^<]* read [^<]*All is well\.", fetch(meter.dashboard_port, "GET", "/").text), 20, "it got a value")
    # the battery has a share of what the house takes: near zero in a quiet moment, or at its limit
    until(lambda: "trained" in meter.log(), 60)
    page = fetch(meter.dashboard_port, "GET", "/").text
    assert "made up" in page
    assert meter.admin("/ui/power")
