"use strict";
// Keeps a page fresh that is complete without it. All texts come from the server. The second script of a page, where it has one, is
// given what this one holds.
const dashboard = (() => {
  const root = document.documentElement, rel = root.dataset.rel, meter = root.dataset.m;
  const $ = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const texts = $("#texts").dataset;
  const url = (name, query = {}) => {
    const to = new URL(rel + name, location.href);
    to.search = new URLSearchParams(meter === "0" ? query : { m: meter, ...query });
    return to;
  };
  const post = async (name, body) => {
    let answer = {}, said = {};
    try {
      answer = await fetch(url(name), { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) });
      said = await answer.json();
    } catch { /* nobody there, or without words */ }
    return { ok: Boolean(answer.ok), text: said.text || said.error || (answer.ok ? "" : texts.failed), ...said, status: answer.status };
  };
  // What is wrong, each with the option that it is wrong with; nothing where that is not known.
  const wrong = said => said.problems?.map(p => `${p.key ? `${p.key}: ` : ""}${p.text}`).join(" ") || said.text;
  const make = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  };

  // whether the meter is heard: while it is not, figures grey out and the page says so
  const main = $("#main"), live = $("#live"), toast = $("#toast");
  let missed = 0, since = 0, shut = false;
  const tell = () => {
    // Where no figure is live, one miss may be chance.
    const lost = missed > (live ? 0 : 1), text = shut || (lost && Date.now() - since > 60000) ? texts.reload : lost ? texts.reconnecting : "";
    main.classList.toggle("lost", lost);
    toast.hidden = !text;
    if (toast.textContent !== text) toast.textContent = text;
  };
  const heard = () => { missed = 0; tell(); };
  const miss = () => { if (!missed) since = Date.now(); missed += 1; tell(); };
  // An ended session of Home Assistant comes back only by loading anew.
  const admitted = answer => { shut = answer.status === 401 || answer.status === 403; return answer.ok; };

  // what is marked data-refresh is kept fresh: the server is told the stamps of what is here, and says what differs
  const stampOf = region => region.firstChild?.data?.split(" ")[1];
  const stamps = new Map(all("[data-refresh]").map(region => [region.id, stampOf(region)])), renewed = [];
  // What of this page changed; nothing where it cannot be had.
  const changed = async () => {
    try {
      const have = [...stamps].map(pair => pair.join(":")).join(",");
      const answer = await fetch(location.href, { headers: { Accept: "text/html", "X-Have": have }, cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (admitted(answer)) {
        const said = await answer.json();
        if (live) tell(); else heard();
        return said;
      }
    } catch { /* the next one may come through */ }
    if (live) tell(); else miss();
  };
  // Whether somebody is at it: what has the focus, or is being selected, stays.
  const held = region => {
    const selected = getSelection();
    return (region.contains(document.activeElement) && document.activeElement.matches("a,button,input,select"))
      || (!selected.isCollapsed && (region.contains(selected.anchorNode) || region.contains(selected.focusNode)));
  };
  const refresh = async () => {
    if (document.hidden) return;
    for (const [id, [stamp, html]] of Object.entries(await changed() ?? {})) {
      const old = document.getElementById(id);
      if (!old || held(old)) continue;
      stamps.set(id, stamp);
      const fresh = make("template");
      fresh.innerHTML = html;
      for (const open of all("details[open]", old)) {
        const same = open.id && fresh.content.querySelector("#" + CSS.escape(open.id));
        if (!same) continue;
        same.open = true;
        const kept = $("[data-keep]", open), place = $("[data-keep]", same);
        if (kept && place) place.replaceWith(kept);
      }
      const focus = document.activeElement?.closest?.("details")?.id;
      old.replaceChildren(fresh.content);
      if (focus) document.getElementById(focus)?.querySelector("summary")?.focus();
    }
    for (const then of renewed) then();
  };
  if (root.dataset.page !== "setup") {
    setInterval(refresh, 5000);
    document.addEventListener("visibilitychange", refresh);
  }

  const listeners = [];
  const show = update => {
    for (const [key, text] of Object.entries(update.v)) for (const place of all(`[data-v="${key}"]`)) if (place.textContent !== text) place.textContent = text;
    for (const [key, state] of Object.entries(update.s)) {
      for (const place of all(`[data-s="${key}"]`)) place.dataset.state = state;
      for (const place of all(`[data-f="${key}"]`)) place.dataset.flow = state;
    }
    for (const listen of listeners) listen(update);
  };
  if (live) {
    let socket, pause = 1000, polling, last = Date.now(); // the page itself was fresh
    const got = update => { last = Date.now(); heard(); show(update); };
    const poll = async () => {
      try {
        const answer = await fetch(url("live.json"));
        if (admitted(answer)) { got(await answer.json()); return; }
      } catch { /* the next one may come through */ }
      miss();
    };
    const connect = () => {
      const to = url("live");
      to.protocol = to.protocol.replace("http", "ws");
      socket = new WebSocket(to);
      socket.onmessage = event => { clearInterval(polling); polling = undefined; pause = 1000; got(JSON.parse(event.data)); };
      socket.onclose = () => {
        polling ??= setInterval(poll, 2000);
        setTimeout(connect, pause);
        pause = Math.min(pause * 2, 30000);
      };
    };
    connect();
    setInterval(() => { if (Date.now() - last > 6000) { miss(); if (socket.readyState === 1) socket.close(); } }, 2000);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
  }

  // a reader's calls against this meter: how each ended, and of what is not good what was due and what came
  const test = $("#test-as");
  if (test) {
    const button = $("button", test), said = $(".answer", test), list = $("#test-steps"), words = test.dataset;
    const states = { good: "live", note: "held", bad: "absent", skipped: "unused" };
    const shown = step => {
      const row = make("li"), dot = make("span", undefined, "dot"), about = make("details"), call = make("summary");
      dot.dataset.state = states[step.state];
      about.open = step.state === "bad" || step.state === "note";
      call.append(make("code", step.call));
      about.append(call);
      for (const why of step.why) about.append(make("p", why.text, "is"));
      for (const [pattern, text] of [[words.expected, step.expected], [words.came, step.came]]) if (text) about.append(make("p", pattern.replace("{text}", () => text), "muted"));
      row.append(dot, make("span", words[step.state], "word"), about);
      return row;
    };
    test.addEventListener("submit", async event => {
      event.preventDefault();
      button.disabled = true;
      said.textContent = words.runs;
      delete said.dataset.state;
      list.replaceChildren();
      const answer = await post("test-as", { as: $("select", test).value });
      said.textContent = answer.text;
      said.dataset.state = !answer.ok || !answer.passed ? "absent" : answer.elsewhere ? "held" : "live";
      list.replaceChildren(...(answer.steps ?? []).map(shown));
      button.disabled = false;
    });
  }

  // the doctor: what was found, what does not work first, and what to do
  const finding = found => {
    const row = make("li"), dot = make("span", undefined, "dot"), about = make("div");
    dot.dataset.state = { good: "live", note: "held", bad: "absent" }[found.level];
    about.append(make("p", found.text, found.level === "good" ? undefined : "is"));
    if (found.remedy) about.append(make("p", found.remedy));
    row.append(dot, make("span", found.area, "word"), about);
    return row;
  };
  const doctor = $("#doctor");
  if (doctor) {
    const button = $("button", doctor), said = $(".answer", doctor), list = $("#doctor-findings");
    doctor.addEventListener("submit", async event => {
      event.preventDefault();
      button.disabled = true;
      said.textContent = doctor.dataset.runs;
      delete said.dataset.state;
      let answer = {}, told = {};
      try { answer = await fetch(url("doctor.json")); told = await answer.json(); } catch { /* nobody there, or without words */ }
      said.textContent = told.text || told.error || texts.failed;
      said.dataset.state = answer.ok && told.ok ? "live" : "absent";
      list.replaceChildren(...(told.findings ?? []).map(finding));
      button.disabled = false;
    });
  }

  // bars: a tap or the pointer says a day's figures in a line of its own; all are in the table
  const charts = $("#charts");
  if (charts) {
    const picked = new Map(); // of a chart's id: the date of its bar
    const mark = () => {
      for (const line of all("[data-bars]", charts)) {
        const bars = $(`#bars-${line.dataset.bars}`), bar = $(`[data-at="${picked.get(bars.id)}"]`, bars), [help, hint] = line.children;
        for (const other of all(".on", bars)) if (other !== bar) other.classList.remove("on");
        bar?.classList.add("on");
        line.hidden = false;
        help.hidden = Boolean(bar);
        hint.textContent = bar?.dataset.hint ?? "";
      }
    };
    // What is picked already, as by a mouse that is over it, is opened by a click.
    for (const event of ["pointerover", "click"]) charts.addEventListener(event, e => {
      const bar = e.target.closest("g"), of = bar?.parentElement.id, at = bar?.dataset.at;
      if (!bar || (event === "pointerover" && e.pointerType !== "mouse")) return;
      if (event === "click" && of === "bars-day" && meter === "0" && picked.get(of) === at) { location.assign(`${rel}./#day=${at}`); return; }
      picked.set(of, at);
      mark();
    });
    charts.addEventListener("pointerout", e => {
      const bars = e.target.closest(".bars");
      if (e.pointerType === "mouse" && bars && !bars.contains(e.relatedTarget)) { picked.delete(bars.id); mark(); }
    });
    renewed.push(mark);
    mark();
  }

  // a pause ends on every page that tells of it
  document.addEventListener("click", async event => {
    const button = event.target.closest("[data-resume]");
    if (!button) return;
    button.disabled = true;
    const said = await post("control", { pause: false });
    if (said.ok) { button.blur(); refresh(); return; }
    button.disabled = false;
    const place = $(".answer", button.parentElement);
    place.textContent = said.text;
    place.dataset.state = "absent";
  });

  // readers: the last calls of an opened row
  const copy = async (text, button) => {
    try { await navigator.clipboard.writeText(text); } catch {
      const area = make("textarea", text); area.className = "hidden"; document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
    }
    const name = button.dataset.name ??= button.textContent;
    button.textContent = texts.copied;
    setTimeout(() => { button.textContent = name; }, 1500);
  };
  // by delegation: rows are made anew
  document.addEventListener("click", async event => {
    const button = event.target.closest("[data-copy],[data-use]");
    if (!button) return;
    if (button.dataset.copy) { copy(button.dataset.copy, button); return; }
    button.disabled = true;
    const said = await post("profile", { profile: button.dataset.use }), place = $(".answer", button.parentElement);
    place.textContent = wrong(said);
    place.dataset.state = said.ok ? "live" : "absent";
    button.disabled = said.ok;
  });
  document.addEventListener("submit", async event => {
    const form = event.target.closest(".assign");
    if (!form) return;
    event.preventDefault();
    const said = await post("profile", { ip: form.dataset.ip, ...Object.fromEntries(new FormData(form)) }), place = $(".answer", form);
    place.textContent = wrong(said);
    place.dataset.state = said.ok ? "live" : "absent";
    // What has the focus is left as it is: the row is to say its new profile.
    if (said.ok) { document.activeElement?.blur(); refresh(); }
  });
  // what will read it: a light each, green with the first call
  if ($("#reads")) setInterval(async () => {
    if (document.hidden || !$("#reads").checkVisibility()) return;
    try {
      const lights = await (await fetch(url("connect.json"))).json();
      for (const tile of all("[data-tile]")) {
        const light = lights[tile.dataset.tile];
        if (!light) continue;
        for (const dot of all(".dot", tile)) dot.dataset.state = light.state;
        const text = $("[data-light]", tile);
        if (text.textContent !== light.text) text.textContent = light.text;
      }
    } catch { /* the next one may come through */ }
  }, 2000);
  const fill = async row => {
    const place = $(".calls", row);
    const answer = await fetch(url("exchanges.json", { ip: row.dataset.ip, channel: row.dataset.channel })).catch(() => ({}));
    if (!answer.ok) { place.textContent = texts.failed; return; }
    const calls = await answer.json();
    const written = call => `${call.time} ${call.method}${call.error == null ? "" : ` ${call.error}`}\n> ${call.request}\n< ${call.reply || texts.noReply}\n`;
    const every = $("[data-copy-all]", row);
    if (!every) return; // the row was made anew meanwhile
    every.hidden = !calls.length;
    every.onclick = () => copy(calls.map(written).join("\n"), every);
    place.replaceChildren();
    if (!calls.length) place.append(make("p", texts.noCalls, "muted"));
    for (const call of calls) {
      const part = make("div", undefined, "call"), head = make("p"), button = make("button", texts.copy, "plain");
      button.type = "button";
      button.addEventListener("click", () => copy(written(call), button));
      head.append(make("span", call.time, "muted"), " ", make("strong", call.method), call.error == null ? "" : ` ${call.error}`, " ", button);
      part.append(head);
      for (const [label, text] of [[texts.request, call.request], [texts.reply, call.reply || texts.noReply]]) { const pre = make("pre", text); pre.tabIndex = 0; pre.setAttribute("aria-label", label); part.append(pre); }
      place.append(part);
    }
  };
  const watchRows = () => all("details[data-ip]").forEach(row => {
    if (row.dataset.watched) return;
    row.dataset.watched = "1";
    row.addEventListener("toggle", () => { if (row.open && !$(".call", row)) fill(row); });
  });
  renewed.push(watchRows);
  watchRows();

  for (const button of all("[data-post]")) button.addEventListener("click", async () => {
    button.disabled = true;
    const said = await post(button.dataset.post, JSON.parse(button.dataset.body || "{}"));
    $(".answer", button.closest("details, form")).textContent = said.text;
    const restarts = button.dataset.post === "restart" && said.ok;
    button.disabled = restarts;
    // What it did is seen at once, not only said.
    if (!restarts) { refresh(); return; }
    // Until another run of the process answers, or this one says that there will be none.
    const place = $(".answer", button.closest("form"));
    const back = setInterval(async () => {
      try {
        const answer = await fetch(url("restart"));
        if (!admitted(answer)) { if (shut) tell(); return; }
        const now = await answer.json();
        if (now.run === said.run && now.ok) return;
        clearInterval(back);
        if (now.run !== said.run) { location.reload(); return; }
        place.textContent = now.text;
        button.disabled = false;
      } catch { /* not yet */ }
    }, 2000);
  });

  // What matches of elements and their words is shown; that nothing does is said.
  const search = (list, then) => {
    const find = $("#find"), none = $("#no-hit");
    find?.addEventListener("input", () => {
      const want = find.value.trim().toLowerCase();
      let hits = 0;
      for (const [element, words] of list) { element.hidden = want !== "" && !words.includes(want); hits += !element.hidden; }
      none.hidden = hits > 0;
      none.textContent = hits ? "" : none.dataset.none.replace("{text}", find.value.trim());
      then?.(want);
    });
  };

  return { wrong, search, finding, root, rel, meter, $, all, texts, url, post, make, live, admitted, shut: () => shut, miss, heard, tell, refresh, renewed, listeners };
})();
