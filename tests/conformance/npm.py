"""Real clients from npm."""
import fcntl
import json
import shutil
import subprocess

import pytest

from harness import ROOT

needed = pytest.mark.skipif(not (shutil.which("node") and shutil.which("npm")), reason="no npm on this machine")


def installed(package, version):
    """The folder that it is installed in; once, also where several workers ask for it."""
    folder = ROOT / "target/npm" / package
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = folder / "node_modules" / package / "package.json"
        if not there.exists() or json.loads(there.read_text())["version"] != version:
            (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": {package: version}}))
            subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"], cwd=folder,
                           check=True, timeout=200)
    return folder
