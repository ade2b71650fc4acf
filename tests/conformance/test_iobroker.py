"""ioBroker's own Shelly adapter, from npm, in MQTT mode: its main.js, its broker and its decoding, without ioBroker around it."""
import contextlib
import json
import subprocess
import threading

import pytest

import npm
from harness import LOCAL, ROOT, free_port, near, until

PACKAGE, VERSION = "iobroker.shelly", "12.0.0"
DRIVER = ROOT / "tests/conformance/iobroker.js"
# What no Pro 3EM says by itself: no Bluetooth scanner nor the adapter's script for it, no add-on with a relay, no update under way; the rest
# are buttons.
UNSAID = {"BLE.Event", "BLE.scriptVersion", "Ext.switch100", "firmwareupdateProgress", "firmwareupdate", "reboot",
          *(f"{c}.ResetCounters" for c in ("EMData0", "EM1Data0", "EM1Data1", "EM1Data2"))}

pytestmark = npm.needed


@pytest.fixture(scope="module")
def package():
    return npm.installed(PACKAGE, VERSION)


class Adapter:
    """The running adapter: its states of the one device, by name, and what it complains of."""

    def __init__(self, folder, meter):
        self.port, self.seen = free_port(), {"states": {}, "kinds": {}, "errors": []}
        command = ["node", str(DRIVER), str(folder), str(self.port), f"{LOCAL}:{meter.http_port}"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.seen = json.loads(line)

    def of_device(self, what):
        return {key.partition("#1.")[2]: value for key, value in self.seen[what].items() if "#1." in key}

    @property
    def states(self):
        return self.of_device("states")

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.reader.join(10)
        self.process.stdout.close()


@contextlib.contextmanager
def connected(folder, meter):
    """The adapter, with the meter told whom to dial as its guide says."""
    adapter = Adapter(folder, meter)
    try:
        config = {"enable": True, "server": f"{LOCAL}:{adapter.port}", "user": "iobroker", "pass": "hunter2", "rpc_ntf": True, "status_ntf": True}
        assert meter.rpc("Mqtt.SetConfig", {"config": config}) == {"restart_required": True}
        until(lambda: adapter.states.get("online") and meter.rpc("Mqtt.GetStatus")["connected"], 15)
        yield adapter
    finally:
        adapter.close()


def all_seen(adapter):
    """Every state that the adapter has made for a Pro 3EM of this mode has a value."""
    kinds, states = adapter.of_device("kinds"), adapter.states
    unsaid = set(kinds) - set(states)
    assert len(kinds) > 45 and unsaid <= UNSAID, sorted(unsaid - UNSAID)
    assert not adapter.seen["errors"], adapter.seen["errors"]
    return states


@pytest.mark.parametrize("mode", ["triphase", "monophase"])
def test_the_adapter_sees_every_state(package, replay, mode):
    meter = replay(412.5, -112.0, 20.0, {"outbound_ws_local": True})
    if mode == "monophase":
        meter.options["profile"] = mode
        meter.restart()
        until(lambda: meter.rpc("EM1.GetStatus", {"id": 2})["act_power"] == 20, 5)
    with connected(package, meter) as adapter:
        states = until(lambda: all_seen(adapter), 20)
        info = meter.info()
        assert (states["Sys.deviceMode"], states["model"], states["gen"]) == (mode, info["model"], 2)
        assert states["version"] == info["fw_id"] and states["Mqtt.topicPrefix"] == info["id"]
        kinds = adapter.of_device("kinds")
        if mode == "triphase":
            powers = [states[f"EM0.ActivePower{p}"] for p in "ABC"]
            assert powers == [412.5, -112.0, 20.0] and near(states["EM0.TotalActivePower"], 320.5), states
            assert kinds["EMData0.TotalActiveEnergy"] == ["number", "Wh"] and states["EM0.VoltageA"] > 200
            counter, own = "EMData0.TotalActiveEnergyA", lambda: meter.emdata()["a_total_act_energy"]
        else:
            assert [states[f"EM1:{n}.Power"] for n in range(3)] == [412.5, -112.0, 20.0] and states["EM1:2.Frequency"] == 50
            counter, own = "EM1Data0.TotalActiveEnergy", lambda: meter.rpc("EM1Data.GetStatus", {"id": 0})["total_act_energy"]
        until(lambda: 0 < adapter.states[counter] <= own(), 70, "a counter goes on with each minute")


def test_power_that_is_not_there_is_no_0_w_and_comes_back(package, grid):
    fake_ha, meter = grid
    meter.options |= {"hold": 0, "outbound_ws_local": True}
    meter.restart()
    meter.until_total(512, 10)
    with connected(package, meter) as adapter:
        def power():
            return adapter.states.get("EM0.TotalActivePower")
        until(lambda: power() == 512, 15)
        fake_ha.set("sensor.grid", "-250")
        until(lambda: power() == -250, 5)
        fake_ha.set("sensor.grid", "unavailable")
        until(lambda: meter.post("/rpc/EM.GetStatus", {"id": 0}).status == 500, 5)
        before = len(adapter.seen["errors"])
        fake_ha.set("sensor.grid", "77")
        assert until(lambda: (p := power()) != -250 and p, 5) == 77, "nothing in between"
        assert len(adapter.seen["errors"]) == before, adapter.seen["errors"]
