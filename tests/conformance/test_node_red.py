"""node-red-contrib-shelly's own node, from npm, without Node-RED around it: what a flow gets, and that no figure comes while there is none."""
import contextlib
import json
import subprocess

import pytest

import npm
from harness import LOCAL, ROOT, until

PACKAGE, VERSION = "node-red-contrib-shelly", "11.12.0"
DRIVER = ROOT / "tests/conformance/node_red.js"

pytestmark = npm.needed


@pytest.fixture(scope="module")
def package():
    return npm.installed(PACKAGE, VERSION)


@contextlib.contextmanager
def flow(folder, meter):
    """A flow with one node: each call triggers it and gives the message that it sends."""
    command = ["node", str(DRIVER), str(folder), f"{LOCAL}:{meter.http_port}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        def trigger():
            process.stdin.write("\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())
        try:
            yield trigger
        finally:
            process.stdin.close()
            process.wait(10)


def power(message):
    return message["status"]["em:0"]["total_act_power"]


def test_a_flow_gets_values_and_an_error_while_there_is_none(package, fake_ha, new_meter):
    fake_ha.set("sensor.grid", "512")
    meter = new_meter({"total_power": "sensor.grid", "hold": 0}, ha=fake_ha).start()
    meter.until_total(512, 10)
    with flow(package, meter) as trigger:
        said = trigger()
        assert "error" not in said and "payload" in said and power(said) == 512
        fake_ha.set("sensor.grid", "unavailable")
        until(lambda: meter.total() is None, 5)
        said = trigger()
        assert "status code 500" in said["error"]["error"] and "-114" in said["error"]["error"]
        assert "payload" not in said and "status" not in said, "no figure that a flow could take for 0 W"
        fake_ha.set("sensor.grid", "-250")
        meter.until_total(-250, 5)
        assert power(trigger()) == -250
