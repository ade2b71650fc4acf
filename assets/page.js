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
    let answer = {}, said = {};
    try {
      answer = await fetch(url(name), { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) });
      said = await answer.json();
    } catch { /* nobody there, or without words */ }
    return { ok: Boolean(answer.ok), text: said.text || said.error || (answer.ok ? "" : texts.failed), ...said, status: answer.status };
  };
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

  // what is marked data-refresh is taken anew from the page itself
  const regions = all("[data-refresh]"), served = new Map(regions.map(region => [region, region.innerHTML])), renewed = [];
  // This page as it is now; nothing where it cannot be had.
  const again = async () => {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(10000) });
      if (admitted(answer)) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (live) tell(); else heard();
        return page;
      }
    } catch { /* the next one may come through */ }
    if (live) tell(); else miss();
  };
  // Whether somebody is at it: what has the focus, or is being selected, stays.
  const held = region => {
    const selected = getSelection();
    return (region.contains(document.activeElement) && document.activeElement.matches("a,button,input"))
      || (!selected.isCollapsed && (region.contains(selected.anchorNode) || region.contains(selected.focusNode)));
  };
  const refresh = async () => {
    if (document.hidden) return;
    const page = await again();
    if (!page) return;
    for (const old of regions) {
      const fresh = page.getElementById(old.id), text = fresh?.innerHTML;
      if (!fresh || served.get(old) === text || held(old)) continue;
      served.set(old, text);
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

  // charts: what was measured in blue, what is forecast red and dashed with its band
  const css = name => getComputedStyle(root).getPropertyValue(name).trim(), locale = root.lang;
  // Times as the person is used to them, in the page's language: en-GB has no AM and PM.
  const region = navigator.languages.find(l => l.split("-")[0] === locale) ?? locale;
  // In the house's time zone, as the lists beside the charts; a browser that does not know it takes its own.
  const zone = (() => { try { return new Intl.DateTimeFormat(locale, { timeZone: root.dataset.zone }).resolvedOptions().timeZone; } catch { return undefined; } })();
  // Grouped also where the language leaves four digits together, as the server writes them.
  const written = (size, digits, least = digits) => size.toLocaleString(locale, { minimumFractionDigits: least, maximumFractionDigits: digits, useGrouping: true });
  const number = w => {
    const size = Math.abs(w), kilo = size >= 9999.5;
    return written(kilo ? size / 1000 : size, kilo ? 2 : size < 9.95 && size >= 0.05 ? 1 : 0) + "\u202f" + (kilo ? "kW" : "W");
  };
  const signed = w => (w <= -0.05 ? "−" : "") + number(w);
  const percent = p => (p < 0 ? "−" : "") + written(Math.abs(p), 1, 0) + "\u202f%";
  const words = w => (w >= 0.05 ? texts.import : w <= -0.05 ? texts.export : texts.idle) + " · " + number(w);
  // Ticks of an axis in one unit, with the decimals that tell them apart.
  const watts = ticks => {
    const kilo = ticks.some(w => Math.abs(w) >= 9999.5), all = ticks.map(w => (kilo ? w / 1000 : w));
    const digits = [0, 1, 2].find(d => all.every(v => Math.abs(v * 10 ** d - Math.round(v * 10 ** d)) < 1e-6)) ?? 3;
    return all.map(v => (v < 0 ? "−" : "") + written(Math.abs(v), digits) + "\u202f" + (kilo ? "kW" : "W"));
  };
  const percents = ticks => ticks.map(percent);
  // Seconds between two times on the axis; uPlot's own have none between one minute and five.
  const spans = [1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 10800, 21600, 43200, 86400, 172800, 432000, 864000];
  // An axis as wide as its widest label.
  const wide = (u, labels, i, cycle) => {
    const axis = u.axes[i];
    if (cycle > 1) return axis._size;
    u.ctx.font = axis.font[0];
    return Math.ceil(axis.ticks.size + axis.gap + Math.max(44, ...(labels ?? []).map(label => u.ctx.measureText(label).width / devicePixelRatio)));
  };
  const stamp = ts => new Date(ts * 1000).toLocaleString(region, { dateStyle: "short", timeStyle: "medium", timeZone: zone });
  const clock = (ts, span) => new Date(ts * 1000).toLocaleString(region, { timeZone: zone, ...(span > 172800 ? { day: "numeric", month: "numeric" } : { hour: "2-digit", minute: "2-digit", ...(span > 600 ? {} : { second: "2-digit" }) }) });
  // Rows of time, W, least, most, forecast, and the band's ends, as columns; a row of nothing is a gap.
  const gap = (last, at, step) => at - last > Math.max(step * 3, 15);
  const turned = (rows, width) => Array.from({ length: width }, (_, c) => rows.map(row => row[c] ?? null));
  const ahead = chart => {
    const rows = [], { ts, w, mn, mx, step, forecast } = chart;
    ts.forEach((at, i) => {
      if (i && gap(ts[i - 1], at, step)) rows.push([ts[i - 1] + step]);
      rows.push([at, w[i], mn[i], mx[i]]);
    });
    const last = rows[rows.length - 1], next = forecast.filter(f => !last || f[0] > last[0]);
    // From what is known into what is not, unless something is missing between.
    if (last && next.length && !gap(last[0], next[0][0], Math.max(step, forecast.length > 1 ? forecast[1][0] - forecast[0][0] : 0))) last.push(last[1], last[1], last[1]);
    for (const [at, line, lo, hi] of next) rows.push([at, null, null, null, line, lo, hi]);
    // The whole period, also where nothing was measured.
    if (!rows.length || gap(rows[rows.length - 1][0], chart.to, step)) rows.push([chart.to]);
    if (!rows.length || rows[0][0] > chart.from) rows.unshift([chart.from]);
    return turned(rows, 7);
  };
  const beside = ({ ts, w, forecast }, step) => {
    const rows = [];
    ts.forEach((at, i) => {
      if (i && gap(ts[i - 1], at, step)) rows.push([ts[i - 1] + step]);
      rows.push([at, w[i], w[i], w[i], ...forecast[i].slice(1)]);
    });
    return turned(rows, 7);
  };
  const zero = u => {
    const y = u.valToPos(0, "y", true);
    if (y < u.bbox.top || y > u.bbox.top + u.bbox.height) return;
    u.ctx.save(); u.ctx.strokeStyle = css("--muted"); u.ctx.lineWidth = devicePixelRatio; u.ctx.beginPath();
    u.ctx.moveTo(u.bbox.left, y); u.ctx.lineTo(u.bbox.left + u.bbox.width, y); u.ctx.stroke(); u.ctx.restore();
  };
  // What batteries were told, as dots at its time and power.
  const dots = (u, told) => {
    const [from, to] = [u.scales.x.min, u.scales.x.max];
    u.ctx.save(); u.ctx.fillStyle = css("--accent");
    for (const [at, w] of told) {
      if (at < from || at > to) continue;
      u.ctx.beginPath(); u.ctx.arc(u.valToPos(at, "x", true), u.valToPos(w, "y", true), 3.5 * devicePixelRatio, 0, 7); u.ctx.fill();
    }
    u.ctx.restore();
  };
  // What a power chart says at a place: parts of text, muted or not.
  const measured = (data, i, range) => {
    const [, w, mn, mx, line, lo, hi] = data.map(column => column[i]), out = [];
    if (w != null) out.push([line != null && range === "drawn" ? `${texts.came}: ${words(w)}` : words(w)]);
    if (w != null && mx - mn > 0.5 && range !== "3m") out.push([`${signed(mn)} … ${signed(mx)}`, "muted"]);
    if (line != null && (w == null || range === "drawn")) {
      out.push([`${texts.forecast}: ${words(line)}`]);
      if (lo != null && hi != null) out.push([texts.between.replace("{lo}", signed(lo)).replace("{hi}", signed(hi)), "muted"]);
    }
    return out;
  };
  const power = () => {
    const line = css("--import"), red = css("--forecast"), none = { stroke: "transparent", points: { show: false } };
    return {
      series: [{}, { label: texts.power, stroke: line, width: 2, spanGaps: false, points: { show: false } }, none, none, { label: texts.forecast, stroke: red, width: 2, dash: [6, 5], points: { show: false } }, none, none],
      bands: [{ series: [3, 2], fill: line + "2e" }, { series: [6, 5], fill: red + "2e" }],
    };
  };
  const share = () => ({ series: [{}, { stroke: css("--accent"), width: 2, points: { show: true, size: 5 } }] });
  const plots = [];
  const plotOf = (box, hover, { lines = power, tell = measured, ticks = watts, least = 5, tall = () => 200 }) => {
    const help = hover.innerHTML;
    let plot, data, range, held = false, told = [];
    const span = () => data[0][data[0].length - 1] - data[0][0];
    const size = () => ({ width: box.clientWidth, height: tall() });
    const draw = () => {
      const grid = { stroke: css("--line"), width: 1 }, axis = { stroke: css("--muted"), grid, ticks: grid, font: "12px system-ui, sans-serif" };
      plot?.destroy();
      plot = new window.uPlot({
        ...size(), padding: [8, 40, 0, 0], legend: { show: false }, ...lines(),
        tzDate: ts => zone ? window.uPlot.tzDate(new Date(ts * 1000), zone) : new Date(ts * 1000),
        cursor: { drag: { x: true, y: false }, points: { size: 7 } },
        scales: { y: { range: (u, low, high) => { const a = Math.min(low ?? 0, 0), b = Math.max(high ?? 0, 0), pad = Math.max((b - a) * 0.08, least); return [a < 0 ? a - pad : -pad * 0.4, b > 0 ? b + pad : pad]; } } },
        axes: [{ ...axis, values: (u, ticks) => ticks.map(t => clock(t, span())), space: () => (span() > 600 ? 70 : 100), incrs: spans, size: 34 }, { ...axis, size: wide, values: (u, places) => ticks(places) }],
        hooks: {
          drawAxes: [zero],
          draw: [u => dots(u, told)],
          setCursor: [u => {
            const i = u.cursor.idx, parts = i == null ? [] : tell(data, i, range);
            if (!parts.length) { hover.innerHTML = help; return; }
            hover.replaceChildren(make("span", stamp(data[0][i]), "muted"), ...parts.flatMap(([text, name]) => [" ", make(name ? "span" : "strong", text, name)]));
          }],
        },
      }, data, box);
    };
    const zoomed = () => { const { min, max } = plot.scales.x; return min != null && (Math.abs(min - data[0][0]) > 1 || Math.abs(max - data[0][data[0].length - 1]) > 1); };
    box.addEventListener("mousedown", () => { held = true; });
    addEventListener("mouseup", () => { held = false; });
    const drawn = {
      // In place; somebody who has zoomed in keeps what is looked at.
      set(next, name, answers = []) {
        told = answers;
        box.hidden = !next[0].length;
        if (box.hidden) return;
        if (plot && name === range && (held || zoomed())) return;
        const same = plot && name === range;
        data = next; range = name;
        if (next.slice(1).some(column => column.some(v => v != null))) delete box.dataset.nothing; else box.dataset.nothing = texts.nothing;
        if (same) plot.setData(data); else draw();
      },
      redraw: () => plot && draw(),
      fit: () => plot && plot.setSize(size()),
    };
    plots.push(drawn);
    return drawn;
  };
  addEventListener("resize", () => plots.forEach(p => p.fit()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(p => p.redraw()));

  const box = $("#chart");
  if (box && window.uPlot) {
    const hover = $("#hover"), plot = plotOf(box, hover, { tall: () => box.clientWidth < 500 ? 220 : 280 });
    let range = "3m", chart, wanted, span;
    const load = async name => {
      wanted = name;
      try {
        const answer = await fetch(url("chart.json", { range: name }));
        if (!answer.ok) throw new Error(String(answer.status));
        const fresh = await answer.json();
        if (wanted !== name) return;
        // The line that grew by itself stays as it is; only what is ahead of it is new.
        const grown = chart && range === name && name === "3m" && chart.ts[chart.ts.length - 1] > fresh.to - 10;
        chart = grown ? { ...chart, forecast: fresh.forecast, told: fresh.told } : fresh;
        range = name;
        span = fresh.to - fresh.from - 1;
        plot.set(ahead(chart), range, chart.told);
        box.dataset.range = range;
        box.dataset.told = chart.told.length;
        $("#told").hidden = !chart.told.length;
        box.dataset.forecast = chart.forecast.length;
      } catch { if (!chart) hover.textContent = texts.failed; }
    };
    for (const button of all("[data-range]", $("#chart-card"))) if (button.tagName === "BUTTON") button.addEventListener("click", () => {
      for (const other of all("button[data-range]")) other.setAttribute("aria-pressed", String(other === button));
      load(button.dataset.range);
    });
    listeners.push(update => {
      if (!chart || range !== "3m" || update.w == null) return;
      const ts = Math.round(update.ts);
      if (ts <= chart.ts[chart.ts.length - 1]) return;
      chart.ts.push(ts);
      for (const column of [chart.w, chart.mn, chart.mx]) column.push(update.w);
      chart.from = ts - span;
      while (chart.ts[0] < chart.from) for (const column of [chart.ts, chart.w, chart.mn, chart.mx]) column.shift();
      plot.set(ahead(chart), range, chart.told);
    });
    let tick = 0;
    setInterval(() => { tick += 1; if (!document.hidden && (range === "3m" || tick % 12 === 0)) load(wanted); }, 5000);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) { chart = undefined; load(wanted); } });
    load(range);
  }

  const outlook = $("#forecast");
  if (outlook) {
    const progress = $("#fc-progress"), bar = $("#fc-bar"), train = $("#train"), button = $("button", train), said = $(".answer", train), drawings = new Map();
    if (button) button.hidden = false;
    let running = !progress.hidden, tick = 0, timer;
    const follow = training => {
      progress.hidden = training.percent == null;
      if (training.percent != null) { bar.value = training.percent; $("#fc-stage").textContent = training.text; }
      if (button) button.disabled = training.percent != null;
      const ended = running && training.percent == null;
      running = training.percent != null;
      if (ended) { if (said) said.textContent = ""; refresh(); lines(); }
    };
    const ask = async query => { const answer = await fetch(url("forecast.json", query)); if (!answer.ok) throw new Error(String(answer.status)); return answer.json(); };
    const drawing = (card, name) => {
      const key = `${card.dataset.horizon} ${name}`;
      if (!drawings.has(key)) {
        const place = $(`[data-plot=${name}]`, card), hover = $("[data-hover]", place.parentElement);
        if (name === "skill") { place.parentElement.hidden = false; $("[data-no-skill]", card).hidden = true; }
        drawings.set(key, plotOf(place, hover, name === "skill" ? { lines: share, tell: (data, i) => data[1][i] == null ? [] : [[percent(data[1][i])]], ticks: percents, tall: () => 130 } : {}));
      }
      return drawings.get(key);
    };
    const skills = (points, i) => {
      const rows = [], far = points.slice(1).map((p, n) => p[0] - points[n][0]).sort((a, b) => a - b)[points.length >> 1] || 3600;
      points.forEach(([ts, all], n) => {
        if (n && ts - points[n - 1][0] > 3 * far) rows.push([points[n - 1][0] + far]);
        rows.push([ts, all[i]]);
      });
      return turned(rows, 2);
    };
    const lines = async () => {
      try {
        const fresh = await ask({}), cards = all("[data-horizon]", outlook);
        if (!cards.length && fresh.horizons.length) { location.reload(); return; }
        if (button) button.textContent = fresh.button;
        follow(fresh.training);
        if (window.uPlot) fresh.horizons.forEach((horizon, i) => {
          const card = cards.find(c => c.dataset.horizon === horizon.id);
          if (!card) return;
          drawing(card, "ahead").set(ahead(horizon.chart), "ahead");
          drawing(card, "drawn").set(beside(horizon.drawn, horizon.step), "drawn");
          // A history begins with its second point.
          if (fresh.skills.filter(p => p[1][i] != null).length > 1) drawing(card, "skill").set(skills(fresh.skills, i), "skill");
        });
        outlook.dataset.drawn = fresh.horizons.length;
      } catch { /* the next one may come through */ }
    };
    const next = async () => {
      clearTimeout(timer);
      if (!document.hidden) {
        if (running) try { follow(await ask({ part: "training" })); } catch { /* the next one may come through */ }
        if (!running || tick % 5 === 0) await lines();
        tick += 1;
      }
      timer = setTimeout(next, running ? 1000 : 5000);
    };
    train.addEventListener("submit", async event => {
      event.preventDefault();
      button.disabled = true;
      const answer = await post("train");
      said.textContent = answer.text;
      said.dataset.state = answer.ok ? "live" : "absent";
      button.disabled = running = answer.ok;
      next();
    });
    next();
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
    for (const event of ["pointerover", "click"]) charts.addEventListener(event, e => {
      const bar = e.target.closest("g");
      if (bar) { picked.set(bar.parentElement.id, bar.dataset.at); mark(); }
    });
    charts.addEventListener("pointerout", e => {
      const bars = e.target.closest(".bars");
      if (e.pointerType === "mouse" && bars && !bars.contains(e.relatedTarget)) { picked.delete(bars.id); mark(); }
    });
    renewed.push(mark);
    mark();
  }

  // readers: the last calls of an opened row
  const copy = async (text, button) => {
    try { await navigator.clipboard.writeText(text); } catch {
      const area = make("textarea", text); area.className = "hidden"; document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
    }
    const name = button.dataset.name ??= button.textContent;
    button.textContent = texts.copied;
    setTimeout(() => { button.textContent = name; }, 1500);
  };
  const fill = async row => {
    const place = $(".calls", row);
    const answer = await fetch(url("exchanges.json", { ip: row.dataset.ip, channel: row.dataset.channel })).catch(() => ({}));
    if (!answer.ok) { place.textContent = texts.failed; return; }
    const calls = await answer.json();
    const written = call => `${call.time} ${call.method}${call.error == null ? "" : ` ${call.error}`}\n> ${call.request}\n< ${call.reply || texts.noReply}\n`;
    const every = $("[data-copy-all]", row);
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
    if (!restarts) return;
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

  const find = $("#find");
  const seek = (text, list) => { const want = text.trim().toLowerCase(); for (const [element, words] of list) element.hidden = want !== "" && !words.includes(want); return want; };

  const form = $("#settings");
  // Who may only look has no bar to save with.
  if (form && $(".savebar", form)) {
    const fields = all(".field", form).map(place => ({ place, key: place.dataset.key, input: $("input:not([type=checkbox]),select,textarea", place), remove: $("[data-remove]", place), error: $(".error", place) }));
    const initial = new Map(fields.map(f => [f.key, f.input.value]));
    const save = $("button[type=submit]", form), reset = $("button[type=reset]", form), answer = $(".savebar .answer", form);
    const changes = () => Object.fromEntries(fields.filter(f => f.remove?.checked || f.input.value !== initial.get(f.key)).map(f => [f.key, f.remove?.checked || f.input.value.trim() === "" ? null : f.input.value]));
    const look = () => { const any = Object.keys(changes()).length > 0; save.disabled = reset.disabled = !any; for (const f of fields) f.place.classList.toggle("changed", f.remove?.checked || f.input.value !== initial.get(f.key)); };
    form.addEventListener("input", look);
    const meant = $("#anyway");
    form.addEventListener("input", () => { meant.hidden = true; });
    form.addEventListener("reset", () => setTimeout(() => { for (const f of fields) f.error.hidden = true; answer.textContent = ""; meant.hidden = true; look(); }));
    const send = async anyway => {
      const wanted = changes();
      save.disabled = true;
      meant.hidden = true;
      for (const f of fields) { f.error.hidden = true; f.input.removeAttribute("aria-invalid"); }
      const said = await post("settings", { changes: wanted, anyway });
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
        if (!f) { answer.textContent += ` ${problem.key ? `${problem.key}: ` : ""}${problem.text}`; continue; }
        f.error.textContent = problem.text; f.error.hidden = false; f.input.setAttribute("aria-invalid", "true"); f.place.closest("details").open = true;
        first ??= f.input;
      }
      meant.hidden = !said.ask;
      first?.focus();
      save.disabled = false;
    };
    form.addEventListener("submit", event => { event.preventDefault(); send(false); });
    meant.addEventListener("click", () => send(true));
    // An address with an option or a group in it opens the group.
    const to = location.hash && document.getElementById(location.hash.slice(1));
    if (to) { const group = to.closest("details"); if (group) group.open = true; to.scrollIntoView(); }
    const words = fields.map(f => [f.place, f.place.textContent.toLowerCase()]);
    find?.addEventListener("input", () => {
      const want = seek(find.value, words);
      for (const group of all("details.group", form)) { const hit = all(".field", group).some(f => !f.hidden); group.hidden = want !== "" && !hit; if (want) group.open = hit; }
    });
    addEventListener("beforeunload", event => { if (Object.keys(changes()).length) event.preventDefault(); });
  }

  const setup = $("#setup");
  if (setup) {
    const look = $("#look"), error = $("#pv-error"), take = $("#take"), yes = $("#yes"), no = $("#no");
    const slots = all(".slot", setup), empty = $("strong", slots[0]).textContent, chosen = {};
    const turned = new Set(), told = $("#sign"), ask = $("#ask"), wait = $("#wait"), plain = take.textContent, outcome = $(".answer", look);
    let kind = "one", base = null, sign = null, answered = false, anyway = false, timer, active = slots[0], taken = false, asked = 0;
    const usable = slot => slot.dataset.kind.split(" ").includes(kind);
    const inputs = () => {
      if (!base) return null;
      const out = { ...base };
      for (const key of turned) if (out[`${key}_power`]) out[`${key}_invert`] = !base[`${key}_invert`];
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
      // The counters know: what they prove needs no answer, what they contradict is said before it is asked about.
      sign = said.sign;
      const proven = sign?.state === "proven";
      told.hidden = !sign; told.classList.toggle("notice", Boolean(sign));
      if (sign) { told.dataset.state = proven ? "good" : "warn"; $("span", told).textContent = sign.text; }
      no.classList.toggle("right", sign?.state === "contradicted");
      ask.hidden = !said.answers;
      wait.hidden = !said.ok || Boolean(said.answers) || proven;
      if (said.answers) [yes.textContent, no.textContent] = said.answers;
      if (said.status === 200) {
        $("#pv-word").textContent = said.word; $("#pv-power").textContent = said.power; look.dataset.flow = said.flow;
        $("#pv-phases").replaceChildren(...said.phases.map(p => { const item = make("li"); item.dataset.flow = p.flow; item.append(make("strong", p.name), make("span", p.word), make("span", p.power, "num")); return item; }));
      }
      // Who takes it has said that the sign is right, or turned it.
      take.disabled = said.status !== 200 || !(answered || proven);
      timer = setTimeout(preview, 2000);
    };
    const fresh = () => {
      answered = anyway = false; turned.clear();
      $("#flipped").hidden = true; take.textContent = plain; outcome.textContent = "";
      for (const b of [yes, no]) b.setAttribute("aria-pressed", "false");
    };
    const choose = () => {
      base = null;
      for (const button of found) button.hidden = false;
      for (const sensor of all(".sensor", setup)) sensor.setAttribute("aria-pressed", String(slots.some(s => usable(s) && chosen[s.dataset.slot] === sensor.dataset.id)));
      const out = {};
      for (const slot of slots) if (usable(slot) && chosen[slot.dataset.slot]) out[slot.dataset.slot] = chosen[slot.dataset.slot];
      if (kind === "three" ? Object.keys(out).length : out.total_power && (kind === "one" || out.total_power_export)) {
        const phase = $("#phase").value;
        if (phase && kind !== "three") out.total_phase = phase;
        base = out;
      }
      fresh();
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
    const found = all(".use-found", setup);
    const useFound = button => {
      base = JSON.parse(button.dataset.inputs);
      for (const other of found) other.hidden = other === button;
      fresh();
      return preview();
    };
    for (const button of found) button.addEventListener("click", () => useFound(button).then(() => look.scrollIntoView({ block: "nearest" })));
    if (found.length && !$(".pick", setup).open) useFound(found[0]);
    // What is shown is right, or the other way round: then it is turned, and what is shown then was said to be right.
    const answer = right => {
      answered = true; anyway = false; take.textContent = plain; outcome.textContent = "";
      if (!right) {
        for (const key of sign?.turn?.length ? sign.turn : ["total", "a", "b", "c"]) if (!turned.delete(key)) turned.add(key);
        $("#flipped").hidden = !turned.size;
      }
      yes.setAttribute("aria-pressed", "true"); no.setAttribute("aria-pressed", "false");
      preview();
    };
    yes.addEventListener("click", () => answer(true));
    no.addEventListener("click", () => answer(false));
    take.addEventListener("click", async () => {
      take.disabled = true;
      const said = await post("setup", { ...inputs(), anyway });
      outcome.textContent = said.problems?.length ? said.problems.map(p => p.text).join(" ") : said.text;
      anyway = Boolean(said.ask);
      take.textContent = anyway ? take.dataset.anyway : plain;
      if (said.ok) { clearTimeout(timer); taken = true; $("#done").hidden = false; $("#done").scrollIntoView({ block: "nearest" }); } else take.disabled = false;
    });
    const list = all(".sensors li", setup).map(li => [li, li.textContent.toLowerCase()]);
    find?.addEventListener("input", () => seek(find.value, list));
    // The sensors' values stay fresh; a page that had none yet is made anew when there are some.
    setInterval(async () => {
      if (document.hidden || taken) return;
      const page = await again();
      if (!page) return;
      const rows = new Map(all("[data-sensor]", page).map(row => [row.tagName + row.dataset.sensor, row]));
      if (rows.size && !$("[data-sensor]", setup)) { location.reload(); return; }
      for (const row of all("[data-sensor]", setup)) {
        const now = rows.get(row.tagName + row.dataset.sensor);
        if (now) for (const part of [".is", ":scope > .muted"]) { const old = $(part, row), text = $(part, now)?.textContent; if (old && text !== undefined && old.textContent !== text) old.textContent = text; }
        if (now) $(".dot", row).dataset.state = $(".dot", now).dataset.state;
      }
    }, 5000);
  }
})();
