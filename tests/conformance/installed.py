"""The app as the Supervisor runs it: from its options.json, with a token and the Network card.

Runs the binary in a mount namespace with a /run of its own; with VIRTUAL_SHELLY_IMAGE (a name that tests/tools/local_image.sh
built, root) the image instead, with its own entry point and /data bound, in a network that has the addresses of the Supervisor's
bridge (scripts/test makes it).
"""
import contextlib
import fcntl
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from fake_ingress import PEER
from harness import LOCAL, ROOT, fetch, free_port, free_range, until

IMAGE = os.environ.get("VIRTUAL_SHELLY_IMAGE")
# The image's environment cannot be extended: there the Supervisor and its bridge have the addresses that they have in a home.
SUPERVISOR, BRIDGE = "172.30.32.2", "172.30.32.1"
USER = [] if os.geteuid() == 0 else ["--map-root-user"]
# In a container without privileges there is one /run for all: then one app at a time, without a namespace.
ALONE = not IMAGE and subprocess.run(["unshare", *USER, "--mount", "true"], capture_output=True).returncode != 0


class App:
    """The installed app."""

    def __init__(self, binary, folder, supervisor):
        self.binary, self.supervisor = binary, supervisor
        self.data, self.log_file = folder / "data", folder / "log"
        self.data.mkdir()
        self.http_port, self.udp_port, ws = free_port(), free_port(), free_range(2)
        supervisor.network = {"80/tcp": self.http_port, "502/tcp": None, "1010/udp": self.udp_port, "2220/udp": None,
                              "2222/udp": None, "2223/udp": None}
        supervisor.options |= {"bind": LOCAL, "ws_port_start": ws, "ws_port_end": ws + 1, "mdns_enable": False, "store_interval": 10}
        self.process = None
        supervisor.app = self

    def start(self, wait=True):
        self.supervisor.write_options(self.data)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(self._command(), env=self._environment(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, start_new_session=True)
        if wait:
            until(lambda: self.get("/livez").status == 200, 30, "the app answers")
        return self

    def _command(self):
        if IMAGE:
            return [str(ROOT / "tests/tools/local_image.sh"), "run", IMAGE, str(self.data)]
        if ALONE:
            return [str(self.binary), "run", "--data-dir", str(self.data)]
        own_run = 'mount -t tmpfs none /run && exec "$0" run --data-dir "$1"'
        return ["unshare", *USER, "--mount", "sh", "-c", own_run, str(self.binary), str(self.data)]

    def _environment(self):
        keep = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
        if IMAGE:
            return {**keep, "SUPERVISOR_TOKEN": self.supervisor.token, "EXTRA_HOSTS": f"{SUPERVISOR} supervisor hassio"}
        return {**keep, "TZ": "Europe/Berlin", "SUPERVISOR_TOKEN": self.supervisor.token,
                "VIRTUAL_SHELLY_SUPERVISOR_URL": self.supervisor.url, "VIRTUAL_SHELLY_INGRESS_BIND": LOCAL,
                "VIRTUAL_SHELLY_INGRESS_PEER": PEER}

    def pid(self):
        """The service's own process, by the token that only it has."""
        for proc in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(proc / "exe").endswith("virtual-shelly") and self.supervisor.token.encode() in (proc / "environ").read_bytes():
                    return int(proc.name)
        raise AssertionError(f"it does not run:\n{self.log()}")

    def ask(self, *words):
        """A sub-command, as `docker exec` and the Supervisor's hooks run it: (exit code, text)."""
        inside = [] if ALONE else ["nsenter", "-t", str(self.pid()), "-m"]
        if IMAGE:
            inside += ["-r", "--", "/usr/bin/virtual-shelly", *words]
        else:
            inside += ["-U", "--preserve-credentials"] if USER and not ALONE else []
            inside += [str(self.binary), *words]
        done = subprocess.run(inside, env=self._environment(), capture_output=True, text=True, timeout=70)
        return done.returncode, done.stdout + done.stderr

    def stop(self):
        """SIGTERM, as `docker stop`; how long it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        took = time.monotonic() - began
        assert code == 0, f"exit code {code}:\n{self.log()}"
        return took

    def restarted(self):
        """As the Supervisor does it: stopped, then started."""
        self.stop()
        self.start(wait=False)

    def end(self):
        if self.process and self.process.poll() is None:
            with contextlib.suppress(AssertionError, ProcessLookupError):
                os.kill(self.pid(), signal.SIGKILL)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)

    def log(self):
        return self.log_file.read_text(errors="replace")

    def get(self, path):
        return fetch(self.http_port, "GET", path)

    def total(self):
        """W; None while it is absent, which is an error to who asks."""
        return self.get("/rpc/EM.GetStatus?id=0").json().get("total_act_power")

    def energy(self):
        return self.get("/rpc/EMData.GetStatus?id=0").json()["total_act"]


@contextlib.contextmanager
def installed(binary, folder, supervisor):
    """The app, ended at the end; where it shares /run with others, one at a time."""
    with open(Path(tempfile.gettempdir()) / "virtual-shelly-app.lock", "w") as lock:
        if ALONE or IMAGE:
            fcntl.flock(lock, fcntl.LOCK_EX)
        app = App(binary, folder, supervisor)
        try:
            yield app
        finally:
            for one in list(supervisor.ingress.visits):  # a page that is still open asks an app that has ended
                one.close()
            app.end()
    assert "panicked at" not in app.log()
    assert supervisor.token not in app.log(), "the token is a secret"
