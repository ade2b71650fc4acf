"""What the documents tell people to type is typed: every block and every call, setting, path and command in running text.

A block or a span of a new kind fails until somebody says here how it is run.
"""
import json
import os
import re
import shlex
import subprocess
from dataclasses import dataclass

import pytest
import yaml

from harness import LOCAL, ROOT, fetch, free_port, near, until
from test_evcc import Evcc

# Pages for contributors: they say what a device, a reader or Home Assistant does, and tell nobody to type anything.
FOR_CONTRIBUTORS = {"docs/decisions.md", "docs/home-assistant.md", *(str(p.relative_to(ROOT)) for p in (ROOT / "docs/protocol").glob("*.md"))}
DOCUMENTS = ["README.md", "DOCS.md",
             *sorted({str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md")} - FOR_CONTRIBUTORS)]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
# The reference of all options is generated from their definitions, and compared with them elsewhere.
REFERENCE = re.compile(r"<!-- options:begin -->.*<!-- options:end -->", re.S)
# Calls that are described because they are refused, with the device's code.
REFUSED = {}
# Words of other programs, and of Home Assistant.
FOREIGN = {"register_type: read", "value_type: FP32_R", "modbus_controller"}
# What a line of the README's kind installs or needs before it can run; each has a test or a check of its own.
ELSEWHERE = {"cp .env.example .env", "docker compose up -d"}


@dataclass
class Snippet:
    """A piece of a document: `kind` is a block's language, or `span`."""

    where: str
    kind: str
    text: str

    def __str__(self):
        return f"{self.where}:{self.kind}:{self.text.splitlines()[0][:40]}"


def snippets():
    found = []
    for name in DOCUMENTS:
        text = REFERENCE.sub("", (ROOT / name).read_text())
        found += [Snippet(name, kind or "text", body) for kind, body in BLOCK.findall(text)]
        found += [Snippet(name, "span", span) for span in dict.fromkeys(re.findall(r"`([^`\n]+)`", BLOCK.sub("", text)))]
    return found


ALL = snippets()


def those(condition):
    chosen = [s for s in ALL if condition(s)]
    assert chosen, "the documents have none of these any more: delete the test"
    return pytest.mark.parametrize("snippet", chosen, ids=str)


def is_call(s):
    return s.kind == "span" and re.match(r"[A-Z][A-Za-z0-9]*\.[A-Z]\w+( \{|$)", s.text) and not s.text.endswith(".md")


def is_setting(s):
    return s.kind == "json" or s.kind == "span" and re.match(r'"[a-z_]+": ', s.text)


def is_path(s):
    return s.kind == "span" and re.match(r"((GET|POST) )?/\w", s.text)


def is_command(s):
    return s.kind in ("sh", "text") or s.kind == "span" and re.match(r"(virtual-shelly|cargo|scripts/|docker|cp|--[a-z])", s.text)


@pytest.fixture(scope="module")
def options(binary):
    """Every option's key, as the program says it."""
    done = subprocess.run([binary, "config", "--json", "--source", "demo"], capture_output=True, text=True, timeout=30, env={"PATH": os.environ["PATH"]})
    return set(json.loads(done.stdout)["options"])


@those(lambda s: s.kind != "span")
def test_every_block_is_of_a_kind_that_is_run_here(snippet):
    assert is_setting(snippet) or is_command(snippet) or snippet.kind == "yaml"


@those(lambda s: s.kind == "span" and re.match(r"\w+\s*[:=]\s*\S", s.text) and s.text not in FOREIGN)
def test_settings_are_written_as_the_options_file_takes_them(snippet, options):
    key = re.match(r"\w+", snippet.text)[0]
    assert key not in options, f'write it as `"{key}": …`'


@those(is_setting)
def test_a_setting_is_taken_by_the_options_file_and_by_the_page(snippet, demo, options, binary, tmp_path):
    """As a line of the options file, and typed on the Settings page."""
    settings = json.loads(snippet.text if snippet.kind == "json" else f"{{{snippet.text}}}")
    if set(settings) - options:
        assert snippet.text.startswith('"basis"'), f"no such option: {set(settings) - options}"
        return
    file = tmp_path / "options.json"
    file.write_text(json.dumps(settings))
    done = subprocess.run([binary, "config", "--json", "--source", "demo", "--options", str(file), "--data-dir", str(tmp_path)],
                          capture_output=True, text=True, timeout=30, env={"PATH": os.environ["PATH"]})
    assert (done.returncode, done.stderr) == (0, "")
    values = json.loads(done.stdout)["options"]
    assert all(values[key]["layer"] == "file" for key in settings), values
    typed = {key: ",".join(value) if isinstance(value, list) else value for key, value in settings.items()}
    answer = fetch(demo.dashboard_port, "POST", "/settings", {"changes": typed}, {"Content-Type": "application/json"})
    assert answer.status == 200, answer
    kept = json.loads(demo.options_file.read_text())
    assert all(kept[key] == value for key, value in settings.items()), kept


@those(lambda s: s.kind == "span" and re.fullmatch(r"[\d.]+(/\d+)?=[a-z-]+", s.text))
def test_a_reader_of_an_address_is_taken(snippet, demo):
    answer = fetch(demo.dashboard_port, "POST", "/settings", {"changes": {"readers": snippet.text}}, {"Content-Type": "application/json"})
    assert answer.status == 200, answer
    assert json.loads(demo.options_file.read_text())["readers"] == [snippet.text]


def test_each_member_of_the_run_time_control_is_taken(demo):
    """The table's members, with what it says of their values."""
    table = (ROOT / "docs/mqtt.md").read_text().partition("## Over HTTP")[2].partition("```")[0]
    members = re.findall(r"^\| `(\w+)` \|", table, re.M)
    values = {"target_offset": 50, "pause": True, "minutes": 30, "pause_kind": "zero", "profiles": {LOCAL: "evcc"}, "shares": {LOCAL: 0.5}}
    assert set(members) == set(values)
    for kind in re.search(r"`pause_kind` \| (.*?):", table)[1].replace("`", "").replace(" or ", ", ").split(", "):
        answer = fetch(demo.dashboard_port, "POST", "/control", {**values, "pause_kind": kind}, {"Content-Type": "application/json"})
        assert answer.status == 200, answer
        now = answer.json()
        assert now["pause_kind"] == kind and all(now[key] == values[key] for key in ("target_offset", "profiles", "shares")), now


@pytest.mark.parametrize("page", sorted((ROOT / "docs/consumers").glob("*.md")), ids=lambda p: p.name)
def test_a_consumers_page_tells_what_is_run_here(page):
    """Its text has what a test of this file types, and what it names as a test is one."""
    name = str(page.relative_to(ROOT))
    typed = [s for s in ALL if s.where == name and any(is_it(s) for is_it in (is_call, is_setting, is_path, is_command)) or s.where == name and s.kind == "yaml"]
    assert typed, "nothing of it is tried"
    for word in re.findall(r"test-as ([a-z-]+)", page.read_text()):
        assert f"`{word}`" in (ROOT / "docs/doctor.md").read_text(), word


@those(is_call)
def test_a_call_is_answered_in_one_of_the_profiles(snippet, demo):
    method, _, params = snippet.text.partition(" ")
    if params:
        answer = demo.post("/rpc", {"id": 1, "method": method, "params": json.loads(params)}).json()
        assert answer.get("error", {}).get("code") == REFUSED.get(method), answer
        return
    listed = {name.lower() for name in demo.rpc("Shelly.ListMethods")["methods"]}
    assert {method.lower(), method.lower().replace("em1", "em")} & listed, f"{method} is no method of a Pro 3EM"


@those(is_path)
def test_a_path_is_served(snippet, demo):
    verb, _, path = snippet.text.rpartition(" ")
    body = {} if verb == "POST" else None
    answers = [fetch(port, verb or "GET", path, body, {"Content-Type": "application/json"}) for port in (demo.http_port, demo.dashboard_port)]
    # A training has nothing to train on yet, and says that.
    assert any(a.status in (200, 202) or (verb == "POST" and a.status == 400) for a in answers), [a.status for a in answers]


@those(lambda s: s.kind == "yaml" and "rest_command" in s.text)
def test_home_assistants_commands_are_taken_by_the_dashboard(snippet, demo):
    """What Home Assistant would post once it has filled in its templates, one after the other."""
    for command in yaml.safe_load(snippet.text)["rest_command"].values():
        path = re.fullmatch(r"http://127\.0\.0\.1:8099(/\w+)", command["url"])[1]
        body = json.loads(re.sub(r"\{\{ \w+ }}", "50", command["payload"]))
        answer = fetch(demo.dashboard_port, command["method"].upper(), path, body, {"Content-Type": command["content_type"]})
        assert answer.status == 200, answer
    now = answer.json()
    assert now["target_offset"] == 50 and now["paused"] and now["resumes_in"] > 1700, now


@those(lambda s: s.kind == "yaml" and "rest_command" not in s.text)
def test_evccs_block_reads_the_meter(snippet, replay):
    """The one other block of YAML is evcc's: a meter that evcc has a template for, by address."""
    (entry,) = yaml.safe_load(snippet.text)["meters"]
    assert (entry["type"], entry["template"], entry["usage"]) == ("template", "shelly-pro-3em", "grid")
    assert set(entry) == {"name", "type", "template", "usage", "host"}
    meter = replay(100, 200, 300)
    evcc = Evcc(meter)
    evcc.set_up()
    assert near(evcc.exec("EM.GetStatus")["total_act_power"], 600)


def lines(text):
    """The commands of a block, without comments; a line that goes on is one."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]


@those(is_command)
def test_a_command_runs(snippet, binary, new_meter, fake_ha, tmp_path):
    for line in lines(snippet.text):
        words = shlex.split(line)
        environment = dict(w.split("=", 1) for w in words if re.match(r"[A-Z_]+=", w))
        words = [w for w in words if not re.match(r"[A-Z_]+=", w)]
        if line in ELSEWHERE:
            assert line.startswith("docker") or (ROOT / words[-1 if words[0] != "cp" else 1]).exists(), line
        elif words[:3] == ["cargo", "run", "--release"] or words == ["virtual-shelly"]:
            if "HA_BASE_URL" in environment:  # a scripted one, with its own token
                assert environment["HA_BASE_URL"].startswith("http://homeassistant.local") and "token" in environment["HA_TOKEN"]
                fake_ha.set("sensor.grid", "512")
                meter = new_meter({"total_power": "sensor.grid"}, ha=fake_ha).start()
                meter.until_total(512, 5)
            else:
                meter = new_meter(args=words[words.index("--") + 1:] if "--" in words else ()).start()
                until(lambda: meter.get("/healthz").status == 200, 15)
            meter.stop()
        elif words[0].startswith("scripts/") or words[:2] in (["cargo", "test"], ["cargo", "bench"], ["cargo", "build"]):
            names_what_there_is(words)
        elif words[:2] == ["virtual-shelly", "test-as"]:
            meter = new_meter(args=["--source", "demo"]).start()
            asks(binary, words[1:], meter)
            meter.stop()
        else:
            assert words[0] == "virtual-shelly" or words[0].startswith("--"), f"nobody knows how to run {line!r}"
            runs(binary, words, tmp_path)


def names_what_there_is(words):
    """A command that runs tests or a bench: running it here would be running all in all. The script, the file, the test are there."""
    if words[0].startswith("scripts/"):
        assert (ROOT / words[0]).exists(), words
        name = dict(zip(words, words[1:])).get("-k")
        files = list((ROOT / "tests" / "conformance").rglob("*.py"))
        said = f"def {name}"
        if any(path.stem == name for path in files):
            return
    else:
        given = dict(zip(words, words[1:]))
        test = given.get("--test")
        if words[1] == "build":
            assert words[2:] == ["--release"], words
            return
        if words[1] == "bench":
            known = re.findall(r'\("(\w+)", \w+::run\)', (ROOT / "benches" / "main.rs").read_text())
            assert known and words[2:4] == ["-p", "benches"] and set(words[4:]) <= set(known), words
            return
        assert not test or any((ROOT / "tests" / path).exists() for path in (f"{test}.rs", f"{test}/main.rs")), words
        name = words[-1] if len(words) > 2 and words[-1] not in ("--lib", test) else None
        files, said = (path for room in ("src", "crates", "tests") for path in (ROOT / room).rglob("*.rs")), f"fn {name}"
    assert name is None or any(said in path.read_text() for path in files), f"there is no {name}"


def asks(binary, words, meter):
    """A test as some reader, of a meter that is there in place of the one named."""
    port = {"marstek": meter.udp_ports[0], "modbus": meter.modbus_port}.get(words[1], meter.http_port)
    words = words[:words.index("--target")] + words[words.index("--target") + 2:] if "--target" in words else words
    done = subprocess.run([binary, *words, "--target", f"{LOCAL}:{port}"], capture_output=True, text=True, timeout=40, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stdout


def runs(binary, words, folder):
    """A sub-command on files that are made for it; an option alone must be one of some command."""
    env = {"PATH": os.environ["PATH"], "HOME": str(folder)}

    def run(*args):
        return subprocess.run([binary, *args], capture_output=True, text=True, timeout=120, env=env, cwd=folder, stdin=subprocess.DEVNULL)
    if words[0].startswith("--"):
        assert any(words[0] in run(*command, "--help").stdout for command in ((), ("backtest",), ("forecast",), ("config",), ("test-as",), ("doctor",), ("replay",))), words
        return
    if "--csv" in words:
        day = [300 + 200 * (n // 1800 % 2) + n % 7 for n in range(8 * 43200)]
        (folder / words[words.index("--csv") + 1]).write_text("ts,w\n" + "".join(f"{1_700_000_000 + 2 * n},{w}\n" for n, w in enumerate(day)))
    if words[1] == "replay":
        header = {"format": "virtual-shelly-recording", "version": 1, "program": "0", "start": 1.7e9, "meters": [{"a_power": "a_power"}]}
        (folder / words[2]).write_text(json.dumps(header) + "\n")
    if words[1:] in (["check"], ["doctor"]):
        words = [*words, "--source", "demo"]
    done = run(*words[1:])
    # Whoever has the usual ports on this machine is what the doctor is for.
    assert done.returncode in ((0, 1) if "doctor" in words else (0,)), f"{words}: {done.stdout[-500:]}{done.stderr[-2000:]}"
    if "--plot" in words:
        assert "<svg" in (folder / words[words.index("--plot") + 1]).read_text()


@those(lambda s: s.kind == "span" and re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", s.text) and s.text not in FOREIGN)
def test_a_name_in_running_text_exists(snippet, options):
    """An option, or a word of the source: names that were changed do not live on in the documents."""
    # A metric's name is put together from a prefix, a name and its unit.
    name = re.sub(r"^virtual_shelly_|_(watts|seconds)$", "", snippet.text)
    word = re.compile(rf"\b{re.escape(name)}(_(watts|seconds))?\b")
    assert snippet.text in options or any(word.search(p.read_text()) for room in ("src", "crates") for p in (ROOT / room).rglob("*.rs"))
