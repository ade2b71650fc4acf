"""node-red-contrib-shelly's own node, from npm, without Node-RED around it: what a flow gets, and that no figure comes while there is none."""
import contextlib
import json
import shutil
import subprocess

import pytest

from harness import LOCAL, ROOT, until

PACKAGE, VERSION = "node-red-contrib-shelly", "11.12.0"
FOLDER = ROOT / "target/npm-clients"
DRIVER = ROOT / "tests/conformance/node_red.js"

pytestmark = pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="no npm on this machine")


@pytest.fixture(scope="module")
def package():
    """The folder that it is installed in; once."""
    there = FOLDER / "node_modules" / PACKAGE / "package.json"
    if not there.exists() or json.loads(there.read_text())["version"] != VERSION:
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "package.json").write_text(json.dumps({"private": True, "dependencies": {PACKAGE: VERSION}}))
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"], cwd=FOLDER, check=True,
                       timeout=300)
    return FOLDER


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
