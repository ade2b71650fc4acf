"""What is shipped beside the app's own files: the systemd unit, the compose file's environment, profile, Dockerfile, scripts, YAML
and workflows, checked by their tools and by being run."""
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness import LOCAL, ROOT, fetch, free_port, free_range, until

UNIT = ROOT / "docs/virtual-shelly.service"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.y*ml"))


def tool(name):
    """A checker that scripts/test installs."""
    path = shutil.which(name) or shutil.which(name, path=f"/usr/sbin:/sbin:{Path(sys.executable).parent}")
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


def test_the_dockerfile_and_the_scripts_pass_theirs():
    assert checked(tool("hadolint"), "--no-color", "Dockerfile") == ""
    assert checked(tool("shellcheck"), "--severity=warning", "scripts/test", "tests/tools/local_image.sh") == ""


def steps_of(job):
    return job.get("steps", [])


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_workflows_name_only_what_there_is(file, tmp_path):
    """What would otherwise show when the workflow runs: jobs, outputs, steps, variables and inputs of its expressions; its scripts."""
    flow = yaml.safe_load(file.read_text())
    jobs, trigger = flow["jobs"], flow[True]  # YAML reads `on` as a boolean
    assert flow["permissions"] == {"contents": "read"}, "each job asks for what it needs beyond that"
    for name, job in jobs.items():
        needs = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
        assert set(needs) <= set(jobs), name
        assert job["timeout-minutes"] and job["runs-on"], name
        ids = {step["id"] for step in steps_of(job) if "id" in step}
        text = yaml.safe_dump(job)
        for other, output in re.findall(r"needs\.(\w+)\.outputs\.(\w+)", text):
            assert other in needs and output in jobs[other]["outputs"], f"{name}: {other}.{output}"
        assert {step for step in re.findall(r"steps\.(\w+)\.outputs", text)} <= ids, name
        assert {each for each in re.findall(r"inputs\.(\w+)", text)} <= set((trigger.get("workflow_dispatch") or {}).get("inputs", {})), name
        assert not re.search(r"(?<![\w.])matrix\.\w", text) or "strategy" in job, name
        assert set(re.findall(r"secrets\.(\w+)", text)) <= {"GITHUB_TOKEN"}, name
        for step in steps_of(job):
            variables = {**flow.get("env", {}), **job.get("env", {}), **step.get("env", {})}
            assert set(re.findall(r"\benv\.(\w+)", yaml.safe_dump(step))) <= set(variables), f"{name}: {step}"
            assert ("uses" in step) != ("run" in step), step
            if "uses" in step:
                assert re.search(r"@(v[0-9]|[0-9a-f]{40}$)|^docker://.+:[0-9]", step["uses"]), f"{step['uses']} is not pinned"
            else:
                assert "${{" not in step["run"], "what others wrote comes in as an environment variable"
                script = tmp_path / "step.sh"
                script.write_text(f"#!/usr/bin/env bash\n{step['run']}")
                checked(tool("shellcheck"), "--severity=warning", script)


def test_a_release_shows_image_and_version_in_one_commit_after_both_are_published(tmp_path):
    flow = yaml.safe_load((ROOT / ".github/workflows/release.yaml").read_text())
    jobs = flow["jobs"]

    def before(name):
        needs = [jobs[name]["needs"]] if isinstance(jobs[name].get("needs"), str) else jobs[name].get("needs", [])
        return {*needs, *(each for need in needs for each in before(need))}

    assert before("store") == set(jobs) - {"store"} and "build" in before("manifest") and "check" in before("build")
    writers = [name for name, job in jobs.items() if job.get("permissions", {}).get("contents") == "write"]
    assert writers == ["store"], "nothing else can move a branch"
    assert "refs/heads/next" in jobs["check"]["if"]
    pushed = next(step["with"] for step in steps_of(jobs["build"]) if "build-image" in step.get("uses", ""))
    joined = next(step["with"] for step in steps_of(jobs["manifest"]) if "manifest" in step.get("uses", ""))
    assert pushed["push"] == "true" and pushed["image-tags"] == joined["image-tags"]
    script = steps_of(jobs["store"])[-1]["run"]
    assert script.index("config.yaml") < script.index("git commit") < script.index("git push")

    # The step itself, on a repository of its own: `main` at the last release, `next` ahead.
    work, version, image = tmp_path / "work", "9.8.7", "ghcr.io/owner/virtual-shelly"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "VERSION": version, "IMAGE": image,
                   "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org"}

    def git(*words, cwd=work):
        return subprocess.run(["git", *words], cwd=cwd, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "--bare", str(tmp_path / "origin"), cwd=tmp_path)
    git("init", "-q", "-b", "main", str(work), cwd=tmp_path)
    old = (ROOT / "config.yaml").read_text()
    (work / "config.yaml").write_text(old)
    for words in (["add", "."], ["commit", "-qm", "old"], ["remote", "add", "origin", str(tmp_path / "origin")],
                  ["push", "-q", "origin", "main", "main:next"]):
        git(*words)
    (work / "config.yaml").write_text(re.sub(r"(?m)^version: .*", f'version: "{version}"', old))
    git("commit", "-qam", "raise the version")
    git("push", "-q", "origin", "HEAD:next")
    tested = git("rev-parse", "HEAD")
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=work, env={**environment, "GITHUB_SHA": tested},
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = {ref: git("rev-parse", ref, cwd=tmp_path / "origin") for ref in ("main", "next", f"v{version}^{{commit}}")}
    assert len(set(shown.values())) == 1, shown
    assert git("rev-parse", "main^", cwd=tmp_path / "origin") == tested, "one commit on what was tested"
    new = yaml.safe_load(git("show", "main:config.yaml", cwd=tmp_path / "origin"))
    assert new == {**yaml.safe_load(old), "version": version, "image": image}
    # Whatever else was pushed to `next` meanwhile was not tested: nothing is shown then.
    late = subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=work, env={**environment, "GITHUB_SHA": "0" * 40}, capture_output=True)
    assert late.returncode != 0
