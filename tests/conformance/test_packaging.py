"""What is shipped beside the app's own files: the systemd unit, the compose file's environment, profile and YAML checked by their tools."""
import re
import shutil
import signal
import subprocess
from pathlib import Path

from harness import LOCAL, ROOT, fetch, free_port, free_range, until

UNIT = ROOT / "docs/virtual-shelly.service"


def tool(name):
    """A checker that scripts/test installs."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    assert path, f"{name} is not installed: scripts/test does that"
    return path


def checked(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def served(command, environment, folder):
    """Start a command, see it alive on its HTTP port, and end it with SIGTERM."""
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        until(lambda: fetch(int(environment["HTTP_PORT"]), "GET", "/livez").status == 200, 20, "it answers /livez")
        info = fetch(int(environment["HTTP_PORT"]), "GET", "/shelly").json()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
    return info, (folder / "log").read_text()


def test_the_systemd_unit_is_valid_and_its_command_runs(binary, tmp_path):
    text = UNIT.read_text()
    command = re.search(r"^ExecStart=(.+)$", text, re.M)[1].split()
    assert command[0] == "/usr/local/bin/virtual-shelly"
    installed = tmp_path / UNIT.name
    installed.write_text(text.replace(command[0], str(binary)))
    said = checked(tool("systemd-analyze"), "verify", installed)
    assert installed.name not in said, said
    state, ws = tmp_path / "state", free_range(2)
    state.mkdir()
    # The folder that StateDirectory= gives, and what EnvironmentFile= would hold.
    environment = {"STATE_DIRECTORY": str(state), "VIRTUAL_SHELLY_SOURCE": "demo", "HTTP_PORT": str(free_port()), "UDP_PORTS": str(free_port()),
                   "MODBUS_PORT": str(free_port()), "WS_PORT_START": str(ws), "WS_PORT_END": str(ws + 1),
                   "VIRTUAL_SHELLY_DASHBOARD_PORT": str(free_port())}
    served([str(binary), *command[1:]], environment, tmp_path)
    # A writable /data comes first; the unit's own sandbox has none.
    assert any(state.iterdir()) or Path("/data").is_dir(), "it keeps its files in the state folder"


def test_the_originals_environment_works(binary, tmp_path, fake_ha):
    """An .env of the Python original, with the identity values that it shipped."""
    fake_ha.set("sensor.phase_a_power", "230")
    ws = free_range(2)
    original = {
        "HA_BASE_URL": fake_ha.url, "HA_TOKEN": fake_ha.token, "A_POWER": "sensor.phase_a_power", "POLL_INTERVAL": "2.0",
        "DEVICE_ID": "shellypro3em-virtual-001", "APP_ID": "shellypro3em", "MODEL": "SHPRO-3EM", "FIRMWARE": "1.0.0-virt",
        "FW_ID": "1.0.0-virt", "MAC": "AA:BB:CC:DD:EE:FF", "SN": "VIRT3EM001", "MANUFACTURER": "Allterco Robotics", "GENERATION": "2",
        "HTTP_PORT": str(free_port()), "WS_PORT_START": str(ws), "WS_PORT_END": str(ws + 1), "UDP_PORTS": f"{free_port()},{free_port()}",
        "MODBUS_PORT": str(free_port()), "MODBUS_BIND": LOCAL, "MDNS_ENABLE": "false", "STATE_PATH": str(tmp_path / "data/state.json"),
        "FORECAST_ENABLE": "true", "LOG_LEVEL": "DEBUG", "REQUEST_SIDE_SCALING_ENABLE": "false",
        "VIRTUAL_SHELLY_BIND": LOCAL, "VIRTUAL_SHELLY_DASHBOARD_PORT": str(free_port()),
    }
    (tmp_path / "data").mkdir()
    info, log = served([str(binary)], original, tmp_path)
    assert info["app"] == "Pro3EM" and info["mac"] != "AABBCCDDEEFF" and info["id"].endswith(info["mac"].lower())
    assert "no device has it" in log, "each is named"


def test_profile_and_yaml_pass_their_tools():
    checked(tool("apparmor_parser"), "-Q", "-K", "-T", "apparmor.txt")
    files = ["config.yaml", "build.yaml", "repository.yaml", "compose.yaml", "translations", ".github/workflows"]
    assert checked(tool("yamllint"), "--strict", "-c", ".yamllint", *files) == ""
