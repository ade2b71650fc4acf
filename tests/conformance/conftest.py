"""Fixtures: the binary, meters that are stopped and looked at, a real and a scripted Home Assistant."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fake_ha as fake
from ha_up import HomeAssistant
from harness import ROOT, Meter, free_port, until

# Runs by itself (scripts/hostile): what it times must not be the neighbours.
collect_ignore = [] if any("hostile" in str(a) for a in sys.argv) else ["hostile"]
METERS = pytest.StashKey[list]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the logs of its meters."""
    report = yield
    if report.failed:
        for meter in item.stash.get(METERS, []):
            report.sections.append((f"log of {meter.folder.name}", meter.log()[-12000:]))
    return report


@pytest.fixture(scope="session")
def binary():
    """The program under test: VIRTUAL_SHELLY_BIN, or the release build (made if it is not there)."""
    if named := os.environ.get("VIRTUAL_SHELLY_BIN"):
        path = Path(named).resolve()
    else:
        subprocess.run(["cargo", "build", "-q", "--locked", "--release"], cwd=ROOT, check=True, stdin=subprocess.DEVNULL)
        path = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve() / "release/virtual-shelly"
    assert path.is_file(), f"{path} is missing"
    return path


@pytest.fixture
def new_meter(binary, tmp_path, request):
    """Make meters (not started): `new_meter(options, ha=…, args=…)`. At the end each is stopped, and must end with 0."""
    made = request.node.stash[METERS] = []

    def make(options=None, ha=None, env=None, args=(), mdns=False, token=None):
        env = dict(env or {})
        if ha is not None:
            env |= {"HA_BASE_URL": ha.url, "HA_TOKEN": token or ha.token}
        made.append(Meter(binary, tmp_path / f"meter{len(made)}", options or {}, env, tuple(args), mdns))
        return made[-1]
    yield make
    try:
        for meter in made:
            if meter.process and meter.process.poll() is None:
                meter.stop()
    finally:
        for meter in made:
            meter.kill()
    for meter in made:
        assert "panicked at" not in meter.log(), "it panicked"


@pytest.fixture
def demo(new_meter):
    """A meter with the demo household, which has its first values."""
    meter = new_meter(args=["--source", "demo"]).start()
    until(lambda: meter.get("/healthz").status == 200, 10, "all phases have a value")
    return meter


@pytest.fixture
def replay(new_meter, tmp_path):
    """Start a meter that serves three constant phases: `replay(a, b, c, options)`."""
    def start(a, b, c, options=None, **how):
        file = tmp_path / "replay.csv"
        # an hour of the same values: nothing ends while the test looks
        file.write_text("ts,a,b,c\n" + "".join(f"{1_700_000_000 + n},{a},{b},{c}\n" for n in range(3600)))
        meter = new_meter(options, args=["--source", "replay", "--replay-file", str(file)], **how).start()
        meter.until_total(a + b + c, 5)
        return meter
    return start


@pytest.fixture
def fake_ha():
    """A scripted Home Assistant."""
    ha = fake.FakeHA().start()
    yield ha
    ha.close()


@pytest.fixture
def grid(fake_ha, new_meter):
    """A meter that reads sensor.grid (W, 512 at first) of the scripted Home Assistant: (fake_ha, meter)."""
    fake_ha.set("sensor.grid", "512")
    meter = new_meter({"total_power": "sensor.grid", "ws_notify_interval": 0.0}, ha=fake_ha).start()
    meter.until_total(512, 5)
    return fake_ha, meter


def _home_assistant(folder):
    ha = HomeAssistant(folder, free_port(), lifetime=3600)
    ha.start()
    return ha


@pytest.fixture(scope="session")
def ha(tmp_path_factory):
    """A real Home Assistant Core, one a test process; it keeps running. Its folder is new."""
    core = _home_assistant(tmp_path_factory.mktemp("ha"))
    yield core
    core.stop()


@pytest.fixture
def own_ha(tmp_path):
    """A real Home Assistant Core that the test may kill."""
    core = _home_assistant(tmp_path / "ha")
    yield core
    core.kill()
