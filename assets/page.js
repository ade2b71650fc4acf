"use strict";
// Keeps a page fresh that is complete without it. All texts come from the server.
(() => {
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
    const answer = await fetch(url(name), { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) });
    let said;
    try { said = await answer.json(); } catch { said = {}; }
    return { ok: answer.ok, text: said.text || said.error || (answer.ok ? "" : texts.failed), ...said, status: answer.status };
  };
  const make = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  };
  const toast = $("#toast");
  const say = text => { toast.hidden = !text; toast.textContent = text; };

  // ---- what is marked data-refresh is taken anew from the page itself
  const regions = all("[data-refresh]");
  const refresh = async () => {
    if (document.hidden || !regions.length) return;
    let page;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok) return;
      page = new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch { return; }
    for (const old of regions) {
      const fresh = page.getElementById(old.id);
      if (!fresh || old.innerHTML === fresh.innerHTML || (old.contains(document.activeElement) && document.activeElement.matches("a,button,input"))) continue;
      for (const open of all("details[open]", old)) {
        const same = open.id && fresh.querySelector("#" + CSS.escape(open.id));
        if (!same) continue;
        same.open = true;
        const kept = $("[data-keep]", open), place = $("[data-keep]", same);
        if (kept && place) place.replaceWith(kept);
      }
      const focus = document.activeElement?.closest?.("details")?.id;
      old.replaceChildren(...document.adoptNode(fresh).childNodes);
      if (focus) document.getElementById(focus)?.querySelector("summary")?.focus();
    }
    watchRows();
  };
  if (root.dataset.page !== "setup" && regions.length) setInterval(refresh, 5000);

  // ---- live figures
  const listeners = [];
  const show = update => {
    for (const [key, text] of Object.entries(update.v)) for (const place of all(`[data-v="${key}"]`)) if (place.textContent !== text) place.textContent = text;
    for (const [key, state] of Object.entries(update.s)) {
      for (const place of all(`[data-s="${key}"]`)) place.dataset.state = state;
      for (const place of all(`[data-f="${key}"]`)) place.dataset.flow = state;
    }
    for (const listen of listeners) listen(update);
  };
  const live = $("#live");
  if (live) {
    let socket, pause = 1000, polling, heard = Date.now(); // the page itself was fresh
    const lost = is => { live.classList.toggle("lost", is); say(is ? texts.reconnecting : ""); };
    const got = update => { heard = Date.now(); lost(false); show(update); };
    const poll = async () => {
      try {
        const answer = await fetch(url("live.json"));
        if (answer.ok) { got(await answer.json()); return; }
      } catch { /* the next one may come through */ }
      lost(true);
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
    setInterval(() => { if (Date.now() - heard > 6000) { lost(true); if (socket.readyState === 1) socket.close(); } }, 2000);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) { poll(); refresh(); } });
  }

  // ---- chart
  const box = $("#chart");
  if (box && window.uPlot) {
    const css = name => getComputedStyle(root).getPropertyValue(name).trim();
    const hover = $("#hover"), help = hover.innerHTML, locale = root.lang;
    // Times as the person is used to them, in the page's language: en-GB has no AM and PM.
    const region = navigator.languages.find(l => l.split("-")[0] === locale) ?? locale;
    let range = "3m", plot, data, seconds = 180;
    const number = w => {
      const size = Math.abs(w), kilo = size >= 9999.5, digits = kilo ? 2 : size < 9.95 && size >= 0.05 ? 1 : 0;
      return (kilo ? size / 1000 : size).toLocaleString(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }) + "\u202f" + (kilo ? "kW" : "W");
    };
    const words = w => (w >= 0.05 ? texts.import : w <= -0.05 ? texts.export : texts.idle) + " · " + number(w);
    const clock = (ts, long) => new Date(ts * 1000).toLocaleString(region, long ? { dateStyle: "short", timeStyle: "medium" } : seconds > 172800 ? { day: "numeric", month: "numeric" } : seconds > 7200 ? { hour: "2-digit", minute: "2-digit" } : seconds > 600 ? { hour: "2-digit", minute: "2-digit" } : { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    const columns = chart => {
      const ts = [], w = [], mn = [], mx = [], fc = [];
      chart.ts.forEach((at, i) => {
        if (i && at - chart.ts[i - 1] > Math.max(chart.step * 3, 15)) { ts.push(chart.ts[i - 1] + chart.step); for (const c of [w, mn, mx, fc]) c.push(null); }
        ts.push(at); w.push(chart.w[i]); mn.push(chart.mn[i]); mx.push(chart.mx[i]); fc.push(null);
      });
      for (const [at, value] of chart.forecast) if (!ts.length || at > ts[ts.length - 1]) { ts.push(at); w.push(null); mn.push(null); mx.push(null); fc.push(value); }
      // The whole period, also where nothing was measured.
      if (!ts.length || ts[ts.length - 1] < chart.to - Math.max(chart.step * 3, 15)) { ts.push(chart.to); for (const c of [w, mn, mx, fc]) c.push(null); }
      if (!ts.length || ts[0] > chart.from) { ts.unshift(chart.from); for (const c of [w, mn, mx, fc]) c.unshift(null); }
      return [ts, w, mn, mx, fc];
    };
    const zero = u => {
      const y = u.valToPos(0, "y", true);
      if (y < u.bbox.top || y > u.bbox.top + u.bbox.height) return;
      u.ctx.save(); u.ctx.strokeStyle = css("--muted"); u.ctx.lineWidth = devicePixelRatio; u.ctx.beginPath();
      u.ctx.moveTo(u.bbox.left, y); u.ctx.lineTo(u.bbox.left + u.bbox.width, y); u.ctx.stroke(); u.ctx.restore();
    };
    const draw = () => {
      const line = css("--import"), grid = { stroke: css("--line"), width: 1 }, axis = { stroke: css("--muted"), grid, ticks: grid, font: "12px system-ui, sans-serif" };
      const options = {
        width: box.clientWidth, padding: [8, 40, 0, 0], height: box.clientWidth < 500 ? 220 : 280, legend: { show: false },
        cursor: { drag: { x: true, y: false }, points: { size: 7 } },
        scales: { y: { range: (u, low, high) => { const a = Math.min(low ?? 0, 0), b = Math.max(high ?? 0, 0), pad = Math.max((b - a) * 0.08, 5); return [a < 0 ? a - pad : -pad * 0.4, b > 0 ? b + pad : pad]; } } },
        axes: [{ ...axis, values: (u, ticks) => ticks.map(t => clock(t)), space: () => (seconds > 600 ? 70 : 100), size: 34 }, { ...axis, size: 72, values: (u, ticks) => ticks.map(t => (t < 0 ? "−" : "") + number(t)) }],
        series: [{}, { label: texts.power, stroke: line, width: 2, spanGaps: false, points: { show: false } }, { stroke: "transparent", points: { show: false } }, { stroke: "transparent", points: { show: false } }, { label: texts.forecast, stroke: css("--forecast"), width: 2, dash: [6, 5], points: { show: false } }],
        bands: [{ series: [3, 2], fill: line + "2e" }],
        hooks: {
          drawAxes: [zero],
          setCursor: [u => {
            const i = u.cursor.idx, w = i == null ? null : data[1][i] ?? data[4][i];
            if (w == null) { hover.innerHTML = help; return; }
            const band = data[2][i] != null && data[3][i] - data[2][i] > 0.5 && range !== "3m" ? ` (${data[2][i] < 0 ? "−" : ""}${number(data[2][i])} … ${data[3][i] < 0 ? "−" : ""}${number(data[3][i])})` : "";
            hover.replaceChildren(make("span", clock(data[0][i], true), "muted"), " ", make("strong", words(w)), make("span", band, "muted"));
          }],
        },
      };
      plot?.destroy();
      plot = new window.uPlot(options, data, box);
    };
    const load = async wanted => {
      try {
        const answer = await fetch(url("chart.json", { range: wanted }));
        if (!answer.ok) throw new Error(String(answer.status));
        const chart = await answer.json();
        range = wanted; seconds = chart.to - chart.from; data = columns(chart);
        draw();
        box.dataset.range = range;
      } catch { hover.textContent = texts.failed; }
    };
    for (const button of all("[data-range]", $("#chart-card"))) if (button.tagName === "BUTTON") button.addEventListener("click", () => {
      for (const other of all("button[data-range]")) other.setAttribute("aria-pressed", String(other === button));
      load(button.dataset.range);
    });
    listeners.push(update => {
      if (!plot || range !== "3m" || update.w == null || plot.cursor.drag._x) return;
      const ts = Math.round(update.ts), last = data[0].length - 1;
      if (ts <= data[0][last]) return;
      for (const [i, value] of [ts, update.w, update.w, update.w, null].entries()) data[i].push(value);
      while (data[0].length && data[0][0] < ts - 180) for (const column of data) column.shift();
      if (plot.scales.x.max - plot.scales.x.min > 60) plot.setData(data);
    });
    setInterval(() => { if (!document.hidden && range !== "3m" && plot && Math.abs(plot.scales.x.max - data[0][data[0].length - 1]) < 1) load(range); }, 60000);
    addEventListener("resize", () => plot && plot.setSize({ width: box.clientWidth, padding: [8, 40, 0, 0], height: plot.height }));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot && draw());
    load(range);
  }

  // ---- readers: the last calls of an opened row
  const copy = async (text, button) => {
    try { await navigator.clipboard.writeText(text); } catch {
      const area = make("textarea", text); area.className = "hidden"; document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
    }
    button.textContent = texts.copied;
    setTimeout(() => { button.textContent = texts.copy; }, 1500);
  };
  const fill = async row => {
    const place = $(".calls", row);
    const answer = await fetch(url("exchanges.json", { ip: row.dataset.ip, channel: row.dataset.channel }));
    if (!answer.ok) { place.textContent = texts.failed; return; }
    const calls = await answer.json();
    place.replaceChildren();
    if (!calls.length) place.append(make("p", texts.noCalls, "muted"));
    for (const call of calls) {
      const part = make("div", undefined, "call"), head = make("p"), button = make("button", texts.copy, "plain");
      button.type = "button";
      button.addEventListener("click", () => copy(`${call.time} ${call.method}\n> ${call.request}\n< ${call.reply}\n`, button));
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
  watchRows();

  // ---- buttons that do one thing
  for (const button of all("[data-post]")) button.addEventListener("click", async () => {
    button.disabled = true;
    const said = await post(button.dataset.post, JSON.parse(button.dataset.body || "{}"));
    $(".answer", button.closest("details, form")).textContent = said.text;
    button.disabled = false;
    if (button.dataset.post === "restart" && said.ok) {
      const back = setInterval(async () => { try { if ((await fetch(url("live.json"))).ok) { clearInterval(back); location.reload(); } } catch { /* not yet */ } }, 3000);
    }
  });

  // ---- a search field hides what does not match
  const find = $("#find");
  const seek = (text, list) => { const want = text.trim().toLowerCase(); for (const [element, words] of list) element.hidden = want !== "" && !words.includes(want); return want; };

  // ---- settings
  const form = $("#settings");
  if (form) {
    const fields = all(".field", form).map(place => ({ place, key: place.dataset.key, input: $("input:not([type=checkbox]),select,textarea", place), remove: $("[data-remove]", place), error: $(".error", place) }));
    const initial = new Map(fields.map(f => [f.key, f.input.value]));
    const save = $("button[type=submit]", form), reset = $("button[type=reset]", form), answer = $(".savebar .answer", form);
    const changes = () => Object.fromEntries(fields.filter(f => f.remove?.checked || f.input.value !== initial.get(f.key)).map(f => [f.key, f.remove?.checked || f.input.value.trim() === "" ? null : f.input.value]));
    const look = () => { const any = Object.keys(changes()).length > 0; save.disabled = reset.disabled = !any; for (const f of fields) f.place.classList.toggle("changed", f.remove?.checked || f.input.value !== initial.get(f.key)); };
    form.addEventListener("input", look);
    form.addEventListener("reset", () => setTimeout(() => { for (const f of fields) f.error.hidden = true; answer.textContent = ""; look(); }));
    form.addEventListener("submit", async event => {
      event.preventDefault();
      const wanted = changes();
      save.disabled = true;
      for (const f of fields) { f.error.hidden = true; f.input.removeAttribute("aria-invalid"); }
      const said = await post("settings", { changes: wanted });
      answer.textContent = said.text;
      answer.dataset.state = said.ok ? "live" : "absent";
      if (said.ok) {
        for (const f of fields) if (f.key in wanted) { if (f.remove) { f.remove.checked = false; } if (f.input.type === "password") f.input.value = ""; initial.set(f.key, f.input.value); }
        const restart = $("#restart");
        if (restart && said.restart) restart.hidden = false;
        look();
        return;
      }
      let first;
      for (const problem of said.problems || []) {
        const f = fields.find(x => x.key === problem.key) || fields.find(x => problem.key.startsWith(x.key + "["));
        if (!f) { answer.textContent += ` ${problem.key}: ${problem.text}`; continue; }
        f.error.textContent = problem.text; f.error.hidden = false; f.input.setAttribute("aria-invalid", "true"); f.place.closest("details").open = true;
        first ??= f.input;
      }
      first?.focus();
      save.disabled = false;
    });
    const words = fields.map(f => [f.place, f.place.textContent.toLowerCase()]);
    find?.addEventListener("input", () => {
      const want = seek(find.value, words);
      for (const group of all("details.group", form)) { const hit = all(".field", group).some(f => !f.hidden); group.hidden = want !== "" && !hit; if (want) group.open = hit; }
    });
    addEventListener("beforeunload", event => { if (Object.keys(changes()).length) event.preventDefault(); });
  }

  // ---- set-up
  const setup = $("#setup");
  if (setup) {
    const look = $("#look"), error = $("#pv-error"), take = $("#take"), yes = $("#yes"), no = $("#no");
    const slots = all(".slot", setup), empty = $("strong", slots[0]).textContent, chosen = {};
    let kind = "one", base = null, inverted = false, timer, flow = "none", active = slots[0], taken = false, asked = 0;
    const usable = slot => slot.dataset.kind.split(" ").includes(kind);
    const inputs = () => {
      if (!base) return null;
      const out = { ...base };
      if (inverted) for (const key of ["total", "a", "b", "c"]) if (out[`${key}_power`]) out[`${key}_invert`] = !base[`${key}_invert`];
      return out;
    };
    const preview = async () => {
      clearTimeout(timer);
      const wanted = inputs(), mine = ++asked;
      if (!wanted) { look.hidden = true; return; }
      const said = await post("preview", wanted);
      if (mine !== asked) return; // something else was chosen meanwhile
      look.hidden = false;
      error.hidden = said.status === 200;
      error.textContent = said.problems?.map(p => p.text).join(" ") || said.text;
      if (said.status === 200) {
        flow = said.flow;
        $("#pv-word").textContent = said.word; $("#pv-power").textContent = said.power; look.dataset.flow = flow;
        $("#pv-phases").replaceChildren(...said.phases.map(p => { const item = make("li"); item.dataset.flow = p.flow; item.append(make("strong", p.name), make("span", p.word), make("span", p.power, "num")); return item; }));
      }
      take.disabled = said.status !== 200;
      timer = setTimeout(preview, 2000);
    };
    const choose = () => {
      base = null;
      if (found) found.hidden = false;
      for (const sensor of all(".sensor", setup)) sensor.setAttribute("aria-pressed", String(slots.some(s => usable(s) && chosen[s.dataset.slot] === sensor.dataset.id)));
      const out = {};
      for (const slot of slots) if (usable(slot) && chosen[slot.dataset.slot]) out[slot.dataset.slot] = chosen[slot.dataset.slot];
      if (kind === "three" ? Object.keys(out).length : out.total_power && (kind === "one" || out.total_power_export)) {
        const phase = $("#phase").value;
        if (phase && kind !== "three") out.total_phase = phase;
        base = out;
      }
      inverted = false; $("#flipped").hidden = true;
      for (const b of [yes, no]) b.setAttribute("aria-pressed", "false");
      preview();
    };
    const activate = slot => { active = slot; for (const s of slots) s.setAttribute("aria-pressed", String(s === slot)); };
    for (const slot of slots) slot.addEventListener("click", () => {
      activate(slot);
      if (chosen[slot.dataset.slot]) { delete chosen[slot.dataset.slot]; $("strong", slot).textContent = empty; choose(); }
    });
    for (const radio of all("input[name=kind]", setup)) radio.addEventListener("change", () => {
      kind = radio.value;
      for (const part of all("[data-kind]", setup)) part.hidden = !part.dataset.kind.split(" ").includes(kind);
      activate(slots.find(s => usable(s) && !chosen[s.dataset.slot]) || slots.find(usable));
      choose();
    });
    for (const sensor of all(".sensor", setup)) sensor.addEventListener("click", () => {
      chosen[active.dataset.slot] = sensor.dataset.id;
      $("strong", active).textContent = $(".what", sensor).firstChild.textContent;
      const next = slots.find(s => usable(s) && !chosen[s.dataset.slot]);
      if (next) activate(next);
      choose();
    });
    $("#phase").addEventListener("change", choose);
    const found = $("#use-found");
    const useFound = () => {
      base = JSON.parse(found.dataset.inputs); inverted = false; found.hidden = true; $("#flipped").hidden = true;
      for (const b of [yes, no]) b.setAttribute("aria-pressed", "false");
      return preview();
    };
    found?.addEventListener("click", () => useFound().then(() => look.scrollIntoView({ block: "nearest" })));
    if (found && !$(".pick", setup).open) useFound();
    const answer = drawing => {
      yes.setAttribute("aria-pressed", String(drawing)); no.setAttribute("aria-pressed", String(!drawing));
      if (flow === "import" || flow === "export") if ((flow === "import") !== drawing) { inverted = !inverted; $("#flipped").hidden = !inverted; preview(); }
    };
    yes.addEventListener("click", () => answer(true));
    no.addEventListener("click", () => answer(false));
    take.addEventListener("click", async () => {
      take.disabled = true;
      const said = await post("setup", inputs());
      $(".answer", look).textContent = said.problems?.length ? said.problems.map(p => `${p.key}: ${p.text}`).join(" ") : said.text;
      if (said.ok) { clearTimeout(timer); taken = true; $("#done").hidden = false; $("#done").scrollIntoView({ block: "nearest" }); } else take.disabled = false;
    });
    const list = all(".sensors li", setup).map(li => [li, li.textContent.toLowerCase()]);
    find?.addEventListener("input", () => seek(find.value, list));
    // The sensors' values stay fresh; a page that had none yet is made anew when there are some.
    setInterval(async () => {
      if (document.hidden || taken) return;
      let page;
      try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
        if (!answer.ok) return;
        page = new DOMParser().parseFromString(await answer.text(), "text/html");
      } catch { return; }
      const fresh = new Map(all("[data-sensor]", page).map(row => [row.tagName + row.dataset.sensor, row]));
      if (fresh.size && !$("[data-sensor]", setup)) { location.reload(); return; }
      for (const row of all("[data-sensor]", setup)) {
        const now = fresh.get(row.tagName + row.dataset.sensor);
        if (now) for (const part of [".is", ":scope > .muted"]) { const old = $(part, row), text = $(part, now)?.textContent; if (old && text !== undefined && old.textContent !== text) old.textContent = text; }
        if (now) $(".dot", row).dataset.state = $(".dot", now).dataset.state;
      }
    }, 5000);
  }
})();
