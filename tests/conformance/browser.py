"""A real Chromium, driven by Playwright; nothing is downloaded: it is Debian's own."""
import contextlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import axe_playwright_python
from playwright.sync_api import expect, sync_playwright

from harness import LOCAL, ROOT

SHOTS = ROOT / "target/screenshots"
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"]
PATIENCE = 20_000  # ms; a busy machine is no fault of the page
expect.set_options(timeout=PATIENCE)


@contextlib.contextmanager
def chromium(*more):
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert program, "install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, *more])
        try:
            yield browser
        finally:
            browser.close()


def directly(meter):
    """The way to the pages of a plain run, which no Supervisor stands before."""
    url = f"http://{LOCAL}:{meter.dashboard_port}/"
    return SimpleNamespace(url=url, cookie={"name": "of", "value": "nobody", "url": url}, visits=[])


@contextlib.contextmanager
def visits(browser):
    """Open browsers: `start(ingress, width=…, locale=…)`; what was wrong in any of them is raised at the end."""
    made = []

    def start(ingress, **options):
        made.append(Visit(browser, ingress, **options))
        return made[-1]
    yield start
    faults = [one.close() for one in made]
    assert not any(faults), faults


class Visit:
    """One person's browser at one app: `go("energy")`, `page`; `faults` are console errors and requests outside the prefix."""

    def __init__(self, browser, ingress, width=1280, height=900, **options):
        self.ingress = ingress
        ingress.visits.append(self)
        self.context = browser.new_context(viewport={"width": width, "height": height}, **{"locale": "en-GB", "timezone_id": "Europe/Berlin", **options})
        self.context.add_cookies([ingress.cookie])
        self.context.set_default_timeout(PATIENCE)
        self.page = self.context.new_page()
        self.requests, self.faults, self.allowed = [], [], ()
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.faults.append(f"console: {m.text} {m.location.get('url')}"))
        self.page.on("pageerror", lambda e: self.faults.append(f"uncaught: {e}"))
        self.page.on("request", lambda r: self.asked(r.url))
        self.page.on("websocket", lambda ws: self.asked(ws.url.replace("ws", "http", 1)))

    def asked(self, url):
        self.requests.append(url)
        if not url.startswith((self.ingress.url, "data:", "blob:")):
            self.faults.append(f"outside the prefix: {url}")

    def go(self, path=""):
        answer = self.page.goto(self.ingress.url + path)
        assert answer.status == 200, f"{path}: {answer.status}"
        return self.page

    def shot(self, name, whole=True):
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png", full_page=whole, animations="disabled")

    def axe(self):
        """What axe-core finds to be serious or critical, a line each."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [f"{v['impact']} {v['id']}: {n['html'][:200]} {n.get('failureSummary', '')[:300]}"
                for v in found["violations"] if v["impact"] in ("serious", "critical") for n in v["nodes"]]

    def close(self):
        """Ends it, once or again; what was wrong and not to be expected."""
        if self in self.ingress.visits:
            self.ingress.visits.remove(self)
            self.context.close()
        return [fault for fault in self.faults if not any(word in fault for word in self.allowed)]
