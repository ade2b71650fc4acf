"""A power that is not there, through decoders that read null as 0: they see an error, and never 0 W."""
import json

import pytest
from harness import near, until

PHASES = {"a_power": "sensor.l1", "b_power": "sensor.l2", "c_power": "sensor.l3"}


def frame(method, params=None):
    return {"id": 1, "method": method, "params": {"id": 0} if params is None else params}


def zero(answer):
    """A sketch's `doc["total_act_power"] | 0.0`: only the HTTP status is looked at."""
    if answer.status != 200:
        return None
    body = answer.json()
    for step in ("result", "em:0", "em1:0"):
        body = body.get(step, body)
    return body.get("total_act_power") or body.get("act_power") or 0.0


def asked(meter, em):
    """Every call that holds the power, in every form that a client sends."""
    for method, params in ((em, {"id": 0}), ("Shelly.GetStatus", {})):
        query = "?id=0" if params else ""
        yield meter.get(f"/rpc/{method}{query}")
        yield meter.get(f"/rpc?method={method}")
        yield meter.post(f"/rpc/{method}", {"id": 0, "src": "evcc", "method": method})
        yield meter.post("/rpc", frame(method, params))
        yield meter.post("/rpc", frame(method, params), headers={"User-Agent": "fhem"})


def never_zero(meter, em="EM.GetStatus"):
    answers = list(asked(meter, em))
    assert [zero(a) for a in answers] == [None] * len(answers), answers
    assert all(json.loads(a.text).get("code", json.loads(a.text).get("error", {}).get("code")) == -114 for a in answers), answers
    assert meter.udp(frame(em), timeout=0.3) is None
    known = meter.get("/rpc/Shelly.GetStatus", headers={"User-Agent": "HomeAssistant/2026.11.0"})
    assert known.status == 200 and "power_meter_failure" in known.text


@pytest.mark.parametrize("profile", ["triphase", "monophase"])
def test_start_one_phase_and_the_end_of_home_assistant(fake_ha, new_meter, profile):
    """A house whose charger regulated on 0 W from the restart of Home Assistant until somebody noticed."""
    em = "EM.GetStatus" if profile == "triphase" else "EM1.GetStatus"
    meter = new_meter({**PHASES, "hold": 0, "profile": profile}, ha=fake_ha).start()
    never_zero(meter, em)  # before the first value: the entities are not there yet
    for name, watts in (("l1", "100"), ("l2", "20"), ("l3", "3")):
        fake_ha.set(f"sensor.{name}", watts)
    there = until(lambda: (s := zero(meter.get(f"/rpc/{em}?id=0"))) and s, 10)
    assert near(there, 123 if profile == "triphase" else 100)
    fake_ha.set("sensor.l1", "unavailable")
    until(lambda: zero(meter.get(f"/rpc/{em}?id=0")) is None, 3)
    never_zero(meter, em)
    if profile == "monophase":
        assert near(meter.rpc(em, {"id": 1})["act_power"], 20), "the other channels are meters of their own"
    fake_ha.set("sensor.l1", "100")
    until(lambda: zero(meter.get(f"/rpc/{em}?id=0")), 3)
    fake_ha.drop()
    until(lambda: zero(meter.get(f"/rpc/{em}?id=0")) is None, 30)
    never_zero(meter, em)
