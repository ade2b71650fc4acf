"""Who may change what through ingress, and what the Supervisor does to an app that asks it for something."""
import functools
import time

import pytest

import app_options
from browser import expect
from fake_ingress import ADMINISTRATOR, GUEST, PEER
from fake_supervisor import FakeSupervisor
from harness import fetch, near, until
from ingress_world import app_behind, ask_ha, browser, visit  # noqa: F401: fixtures
from installed import IMAGE, installed

pytestmark = pytest.mark.skipif(bool(IMAGE), reason="the stand-in's own addresses")
RESTARTING = {"en": "Restarting", "de": "Startet neu", "fr": "Redémarrage", "nl": "Herstart", "es": "Reiniciando"}
LOCKED = {"en": "administrators of Home Assistant", "de": "Administratoren von Home Assistant", "fr": "administrateurs de Home Assistant",
          "nl": "beheerders van Home Assistant", "es": "administradores de Home Assistant"}
RESTART, OPTIONS = "POST /addons/self/restart", "POST /addons/self/options"


@pytest.fixture
def app(binary, tmp_path, fake_ha):
    fake_ha.set("sensor.grid", "512")
    supervisor = FakeSupervisor(fake_ha, options={"total_power": "sensor.grid"}).start()
    try:
        with installed(binary, tmp_path, supervisor) as one:
            one.start()
            until(lambda: near(one.total(), 512), 10)
            until(lambda: ask(one, "GET", "live.json").status == 200, 15)
            yield one
    finally:
        supervisor.close()


def ask(app, method, path, body=None, language="en", user=ADMINISTRATOR):
    """As the Supervisor's proxy asks the app."""
    headers = {"Accept-Language": language, "Content-Type": "application/json", **({"X-Remote-User-Id": user} if user else {})}
    return fetch(app.supervisor.ingress_port, method, f"/{path}", body, headers, source=PEER, timeout=20)


def run_of(app):
    try:
        answer = ask(app, "GET", "restart")
        return answer.json()["run"] if answer.status == 200 else None
    except OSError:
        return None


@pytest.mark.parametrize("language", RESTARTING)
def test_a_restart_is_answered_before_the_process_ends(app, language):
    """The Supervisor answers a restart only after stop and start, so there is nobody left to tell a browser that it worked."""
    pid, run = app.pid(), run_of(app)
    answer = ask(app, "POST", "restart", {}, language)
    assert answer.status == 202 and RESTARTING[language] in answer.json()["text"] and answer.json()["run"] == run
    until(lambda: run_of(app) not in (None, run), 20, "another process answers")
    assert app.supervisor.restarts == 1 and app.pid() != pid
    assert "error" not in app.log().lower().replace("0 errors", ""), app.log()


@pytest.mark.parametrize("fault", ["502", "reset"])
def test_a_restart_whose_answer_is_lost_is_on_its_way(app, fault):
    app.supervisor.faults[RESTART] = fault
    assert ask(app, "POST", "restart", {}).status == 202
    until(lambda: RESTART in app.supervisor.calls, 5)
    time.sleep(1)  # an answer that would be taken for a refusal has come by then
    now = ask(app, "GET", "restart").json()
    assert now["ok"] and now["text"] == "", now


@pytest.mark.parametrize("fault, says", [("not ready", "not ready"), ("403", "403"), ("401", "401")])
def test_a_restart_that_is_refused_is_told(app, fault, says):
    app.supervisor.faults[RESTART] = fault
    assert ask(app, "POST", "restart", {}).status == 202
    told = until(lambda: (now := ask(app, "GET", "restart").json()) and not now["ok"] and now, 10)
    assert says in told["text"], told
    app.supervisor.faults.clear()
    run = run_of(app)
    assert ask(app, "POST", "restart", {}).status == 202
    until(lambda: run_of(app) not in (None, run), 20, "asked again it comes")


@pytest.mark.parametrize("fault, says", [("not ready", "not ready"), ("401", "401"), ("403", "403"), ("502", "502"), ("reset", "does not answer"),
                                         (12, "no answer in time")])
def test_options_that_cannot_be_handed_over_are_not_called_saved(app, fault, says):
    before = dict(app.supervisor.options)
    app.supervisor.faults[OPTIONS] = fault
    answer = ask(app, "POST", "settings", {"changes": {"hold": 45}})
    assert answer.status == 502 and says in answer.json()["text"], answer.text
    assert app.supervisor.options == before or fault == 12
    app.supervisor.faults.clear()
    assert ask(app, "POST", "settings", {"changes": {"hold": 46}}).status == 200
    assert app.supervisor.options["hold"] == 46 and app.supervisor.options["meters"] == []


def test_switches_that_are_on_are_nobodys_choice(app):
    """They stand in the app's options so that the form draws them as on."""
    assert app.supervisor.merged()["udp_enable"] is True
    settings = ask(app, "GET", "settings").text
    assert 'id="g-udp" open' not in settings and 'id="g-modbus" open' not in settings, "none is shown as chosen"
    assert ask(app, "POST", "settings", {"changes": {"legacy_http": False}}).status == 200
    assert app.supervisor.options["legacy_http"] is False
    assert ask(app, "POST", "settings", {"changes": {"legacy_http": None}}).status == 200
    assert app.supervisor.merged()["legacy_http"] is True
    app.supervisor.options = {key: value for key, value in app.supervisor.options.items() if key not in app_options.defaults()}
    app.stop()
    app.start()
    until(lambda: near(app.total(), 512), 10, "nothing of them is needed")


CHANGES = ("settings", "setup", "preview", "reset", "seed", "restart", "train", "ui/settings", "ui/reset", "ui/restart")


def test_only_administrators_change(app, fake_ha):
    """Ingress lets every user of Home Assistant in and says who it is."""
    before = dict(app.supervisor.options)
    for language, words in LOCKED.items():
        for path in CHANGES:
            answer = ask(app, "POST", path, {"changes": {"hold": 7}}, language, GUEST)
            assert answer.status == 403 and words in answer.json()["text"], f"{path}: {answer.text}"
        page = ask(app, "GET", "settings", language=language, user=GUEST)
        assert page.status == 200 and words in page.text and 'data-post="restart"' not in page.text
        assert page.text.count("<select ") + page.text.count("<textarea ") == page.text.count(" disabled><option") + page.text.count(' disabled placeholder="[]"')
    for path in ("", "energy", "readers", "forecast", "health", "live.json", "diagnostics"):
        assert ask(app, "GET", path, user=GUEST).status == 200, path
    assert ask(app, "POST", "settings", {"changes": {"hold": 7}}, user="f" * 32).status == 403, "an id that Home Assistant does not know"
    assert app.supervisor.options == before and app.supervisor.restarts == 0
    unknown = ask(app, "POST", "settings", {"changes": {"hold": 7}}, user=None)
    assert unknown.status == 403 and "does not say who you are" in unknown.json()["text"]
    assert ask(app, "POST", "settings", {"changes": {"hold": 7}}).status == 200 and app.supervisor.options["hold"] == 7
    lists = [call for call in app.supervisor.calls if call == "GET /core/websocket"]
    assert len(lists) < 15, "it is not asked for each request"


def test_while_home_assistant_is_away_only_known_ones_change(app):
    change = functools.partial(ask, app, "POST", "settings")
    assert change({"changes": {"hold": 8}}).status == 200
    app.supervisor.core_state(False)
    assert change({"changes": {"hold": 9}}).status == 200, "a known one stays it"
    app.stop()
    app.start(wait=False)
    until(lambda: run_of(app), 20)
    refused = change({"changes": {"hold": 10}})
    assert refused.status == 403 and "cannot be asked" in refused.json()["text"], refused.text
    assert "cannot be asked" in ask(app, "GET", "settings").text
    app.supervisor.core_state(True)
    until(lambda: change({"changes": {"hold": 10}}).status == 200, 20, "once it answers")


def test_a_user_of_a_real_home_assistant_looks_and_cannot_change(binary, ha, tmp_path, visit):
    with app_behind(binary, ha, tmp_path, {"total_power": "sensor.grid_power"}) as app:
        app.start()
        owner = app.supervisor.ingress.user
        guest = ask_ha(ha, ("config/auth/create", {"name": "Guest", "group_ids": ["system-users"]}))["user"]["id"]
        try:
            until(lambda: ask(app, "GET", "live.json", user=owner).status == 200, 20)
            app.supervisor.ingress.user = guest
            one = visit(app, "settings")
            expect(one.page.locator("#locked")).to_contain_text("administrators of Home Assistant")
            assert one.page.locator("form input:enabled:not([type=search]), form select:enabled, form button").count() == 0
            one.shot("settings-guest")
            one.go("energy")
            one.page.locator("#reset summary").click()
            assert one.page.locator("#reset button").is_disabled() and "administrators" in one.page.locator("#reset").inner_text()
            assert one.axe() == []
            one.shot("energy-guest")
            phone = visit(app, "settings", width=390, height=844, locale="de-DE")
            expect(phone.page.locator("#locked")).to_contain_text("Administratoren")
            phone.shot("settings-guest-phone-de", whole=False)
            assert ask(app, "POST", "reset", {}, user=guest).status == 403
            app.supervisor.ingress.user = owner
            one.go("settings")
            assert one.page.locator("#locked").count() == 0 and one.page.locator("#i-hold").is_enabled()
            ask_ha(ha, ("config/auth/update", {"user_id": guest, "group_ids": ["system-admin"]}))
            until(lambda: ask(app, "POST", "settings", {"changes": {"hold": 11}}, user=guest).status == 200, 45, "one who was made an administrator")
        finally:
            ask_ha(ha, ("config/auth/delete", {"user_id": guest}))
