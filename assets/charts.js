"use strict";
// Charts: what was measured in the colours of import and export, what is forecast red and dashed with its band.
(() => {
  const { root, meter, $, all, texts, url, post, make, refresh, renewed, listeners } = dashboard;
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
  const date = ts => new Date(ts * 1000).toLocaleDateString(region, { timeZone: zone, day: "numeric", month: "numeric" });
  const clock = (ts, span) => new Date(ts * 1000).toLocaleTimeString(region, { timeZone: zone, hour: "2-digit", minute: "2-digit", ...(span > 600 ? {} : { second: "2-digit" }) });
  // Labels of the time axis: the date where a new one begins, below the time.
  const dated = (ticks, span) => span > 345600 ? ticks.map(date) : ticks.map((t, i) => clock(t, span) + (span > 3600 && (i === 0 || date(ticks[i - 1]) !== date(t)) ? "\n" + date(t) : ""));
  // Rows of time, W, least, most, forecast, the band's ends and the phases, as columns; a row of nothing is a gap.
  const WIDTH = 10;
  const gap = (last, at, step) => at - last > Math.max(step * 3, 15);
  const turned = (rows, width) => Array.from({ length: width }, (_, c) => rows.map(row => row[c] ?? null));
  const ahead = chart => {
    const rows = [], { ts, w, mn, mx, step, forecast, phases } = chart, known = Math.min(chart.now ?? chart.to, chart.to);
    ts.forEach((at, i) => {
      if (i && gap(ts[i - 1], at, step)) rows.push([ts[i - 1] + step]);
      rows.push([at, w[i], mn[i], mx[i], null, null, null, phases?.[0][i], phases?.[1][i], phases?.[2][i]]);
    });
    const last = rows[rows.length - 1], next = forecast.filter(f => !last || f[0] > last[0]);
    // From what is known into what is not, unless something is missing between.
    if (last && next.length && !gap(last[0], next[0][0], Math.max(step, forecast.length > 1 ? forecast[1][0] - forecast[0][0] : 0))) last.splice(4, 3, last[1], last[1], last[1]);
    for (const [at, line, lo, hi] of next) rows.push([at, null, null, null, line, lo, hi]);
    // The whole period, also where nothing was measured.
    const end = rows[rows.length - 1]?.[0];
    if (end === undefined || (chart.to > known + 1 ? chart.to > end : gap(end, chart.to, step))) rows.push([chart.to]);
    if (rows[0][0] > chart.from) rows.unshift([chart.from]);
    return turned(rows, WIDTH);
  };
  // Where nothing was measured: from, to, why.
  const gapsOf = chart => {
    const out = [], end = Math.min(chart.now, chart.to);
    const put = (from, to) => {
      if (!gap(from, to, chart.step)) return;
      const common = f => Math.min(f[1], to) - Math.max(f[0], from);
      const why = chart.faults.filter(f => common(f) > 0).sort((a, b) => common(b) - common(a))[0];
      out.push([from, to, why?.[2] ?? texts.gap]);
    };
    if (!chart.ts.length) return out;
    put(chart.from, chart.ts[0]);
    chart.ts.forEach((at, i) => { if (i) put(chart.ts[i - 1] + chart.step, at); });
    put(chart.ts[chart.ts.length - 1] + chart.step, end);
    return out;
  };
  // Times that came as distances from the one before.
  const whens = distances => { let at = 0; return distances.map(d => at += d); };
  const beside = ({ ts, w, forecast, step }) => {
    const rows = [];
    ts.forEach((at, i) => {
      if (i && gap(ts[i - 1], at, step)) rows.push([ts[i - 1] + step]);
      rows.push([at, w[i], w[i], w[i], ...forecast[i]]);
    });
    return turned(rows, WIDTH);
  };
  const upright = (u, x, style, dash) => {
    u.ctx.save(); u.ctx.strokeStyle = style; u.ctx.lineWidth = devicePixelRatio; u.ctx.setLineDash(dash.map(n => n * devicePixelRatio)); u.ctx.beginPath();
    u.ctx.moveTo(x, u.bbox.top); u.ctx.lineTo(x, u.bbox.top + u.bbox.height); u.ctx.stroke(); u.ctx.restore();
  };
  const zero = u => {
    const y = u.valToPos(0, "y", true);
    if (y < u.bbox.top || y > u.bbox.top + u.bbox.height) return;
    u.ctx.save(); u.ctx.strokeStyle = css("--muted"); u.ctx.lineWidth = devicePixelRatio; u.ctx.beginPath();
    u.ctx.moveTo(u.bbox.left, y); u.ctx.lineTo(u.bbox.left + u.bbox.width, y); u.ctx.stroke(); u.ctx.restore();
  };
  // The moment that the page is of, where something is drawn after it.
  const nowLine = (u, now) => {
    const { min, max } = u.scales.x;
    if (!(now > min && max - now > (max - min) / 100)) return;
    const x = u.valToPos(now, "x", true), room = u.ctx.measureText(texts.now).width + 6 * devicePixelRatio;
    upright(u, x, css("--text"), [2, 3]);
    u.ctx.save(); u.ctx.fillStyle = css("--muted"); u.ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`; u.ctx.textBaseline = "top";
    const left = x - room > u.bbox.left;
    u.ctx.textAlign = left ? "right" : "left";
    u.ctx.fillText(texts.now, x + (left ? -4 : 4) * devicePixelRatio, u.bbox.top); u.ctx.restore();
  };
  const shade = (u, gaps) => {
    const { min, max } = u.scales.x;
    u.ctx.save(); u.ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`; u.ctx.textAlign = "center"; u.ctx.textBaseline = "middle";
    for (const [from, to, why] of gaps) {
      if (to < min || from > max) continue;
      const x = u.valToPos(Math.max(from, min), "x", true), width = u.valToPos(Math.min(to, max), "x", true) - x;
      u.ctx.fillStyle = css("--soft"); u.ctx.fillRect(x, u.bbox.top, width, u.bbox.height);
      let text = why;
      while (text.length > 8 && u.ctx.measureText(text).width > width - 8) text = text.slice(0, -2).trimEnd().replace(/…?$/, "…");
      if (u.ctx.measureText(text).width > width - 8) continue;
      u.ctx.fillStyle = css("--muted"); u.ctx.fillText(text, x + width / 2, u.bbox.top + u.bbox.height / 4);
    }
    u.ctx.restore();
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
    const [, w, mn, mx, line, lo, hi, ...phases] = data.map(column => column[i]), out = [];
    if (w != null) out.push([line != null && range === "drawn" ? `${texts.came}: ${words(w)}` : words(w)]);
    if (w != null && mx - mn > 0.5 && range !== "3m") out.push([`${signed(mn)} … ${signed(mx)}`, "muted"]);
    const shown = phases.map((p, n) => p == null ? "" : `L${n + 1} ${signed(p)}`).filter(Boolean);
    if (shown.length) out.push([shown.join(" · "), "muted"]);
    if (line != null && (w == null || range === "drawn")) {
      out.push([`${texts.forecast}: ${words(line)}`]);
      if (lo != null && hi != null) out.push([texts.between.replace("{lo}", signed(lo)).replace("{hi}", signed(hi)), "muted"]);
    }
    return out;
  };
  // Above zero as import, below it as export.
  const byFlow = alpha => u => {
    const { top, height } = u.bbox, place = (u.valToPos(0, "y", true) - top) / height, up = css("--import") + alpha, down = css("--export") + alpha;
    if (!Number.isFinite(place)) return up;
    const paint = u.ctx.createLinearGradient(0, top, 0, top + height), at = Math.min(1, Math.max(0, place));
    for (const [stop, colour] of [[0, up], [at, up], [at, down], [1, down]]) paint.addColorStop(stop, colour);
    return paint;
  };
  const power = phases => {
    const red = css("--forecast"), none = { stroke: "transparent", points: { show: false } };
    const phase = (name, n) => ({ label: name, show: phases.has(n), stroke: css(`--${name}`), width: 1.5, points: { show: false } });
    return {
      series: [{}, { label: texts.power, stroke: byFlow(""), fill: byFlow("33"), fillTo: 0, width: 2, spanGaps: false, points: { show: false } }, none, none,
        { label: texts.forecast, stroke: red, width: 2, dash: [6, 5], points: { show: false } }, none, none, ...["l1", "l2", "l3"].map(phase)],
      bands: [{ series: [3, 2], fill: byFlow("2e") }, { series: [6, 5], fill: red + "2e" }],
    };
  };
  const share = () => ({ series: [{}, { stroke: css("--accent"), width: 2, points: { show: true, size: 5 } }] });
  const plots = [];
  const plotOf = (box, hover, { lines = power, tell = measured, ticks = watts, least = 5, tall = () => 200, zoom, phases = new Set() }) => {
    const help = hover.innerHTML;
    let plot, data, range, pressed = false, told = [], gaps = [], now;
    const span = () => data[0][data[0].length - 1] - data[0][0];
    // What batteries were told is in sight, too.
    const toldNow = () => told.filter(([at]) => at >= data[0][0] && at <= data[0][data[0].length - 1]).map(([, w]) => w);
    const size = () => ({ width: box.clientWidth, height: tall() });
    const say = () => {
      const i = plot.cursor.idx, left = plot.cursor.left;
      if (i == null || left < 0) { hover.innerHTML = help; return; }
      const at = plot.posToVal(left, "x"), missing = gaps.find(g => at > g[0] && at < g[1]), parts = missing ? [[missing[2]]] : tell(data, i, range);
      if (!parts.length) { hover.innerHTML = help; return; }
      hover.replaceChildren(make("span", stamp(missing ? at : data[0][i]), "muted"), ...parts.flatMap(([text, name]) => [" ", make(name ? "span" : "strong", text, name)]));
    };
    const draw = () => {
      const grid = { stroke: css("--line"), width: 1 }, axis = { stroke: css("--muted"), grid, ticks: grid, font: "12px system-ui, sans-serif" };
      const mark = (u, i) => i === 1 ? css(data[1][u.cursor.idx] < 0 ? "--export" : "--import") : u.series[i].stroke(u, i);
      plot?.destroy();
      plot = new window.uPlot({
        ...size(), padding: [8, 40, 0, 0], legend: { show: false }, ...lines(phases),
        tzDate: ts => zone ? window.uPlot.tzDate(new Date(ts * 1000), zone) : new Date(ts * 1000),
        cursor: { bind: { mouseleave: (u, target, leave) => e => { if (!touched) leave(e); } }, drag: { x: true, y: false, setScale: !zoom }, points: { size: 7, stroke: mark, fill: mark } },
        scales: { y: { range: (u, low, high) => { const a = Math.min(low ?? 0, 0, ...toldNow()), b = Math.max(high ?? 0, 0, ...toldNow()), pad = Math.max((b - a) * 0.08, least); return [a < 0 ? a - pad : -pad * 0.4, b > 0 ? b + pad : pad]; } } },
        axes: [{ ...axis, values: (u, places) => dated(places, span()), space: () => (span() > 600 ? 70 : 100), incrs: () => spans.filter(s => s >= 86400 || span() <= 345600), size: 48 }, { ...axis, size: wide, values: (u, places) => ticks(places) }],
        hooks: {
          // Over the grid's lines, which would strike the reasons out.
          drawAxes: [u => shade(u, gaps), zero],
          draw: [u => { dots(u, told); nowLine(u, now); }],
          setCursor: [say],
          setSelect: zoom ? [u => {
            const { left, width } = u.select;
            if (width < 6) return;
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            zoom(u.posToVal(left, "x"), u.posToVal(left + width, "x"));
          }] : [],
        },
      }, data, box);
    };
    const zoomed = () => { const { min, max } = plot.scales.x; return min != null && (Math.abs(min - data[0][0]) > 1 || Math.abs(max - data[0][data[0].length - 1]) > 1); };
    // After a tap a browser tells of a mouse that comes and goes: what was read stays.
    let touched = false;
    for (const event of ["pointerdown", "pointermove"]) box.addEventListener(event, e => { touched = e.pointerType === "touch"; });
    box.addEventListener("mousedown", () => { pressed = true; });
    addEventListener("mouseup", () => { pressed = false; });
    const drawn = {
      // In place; somebody who drags, or has zoomed into a small one, keeps what is looked at.
      set(next, name, more = {}) {
        box.hidden = !next[0].length;
        if (box.hidden || (plot && name === range && (pressed || zoomed()))) return;
        ({ told = [], gaps = [], now } = more);
        const same = plot && name === range;
        data = next; range = name;
        if (next.slice(1).some(column => column.some(v => v != null))) delete box.dataset.nothing; else box.dataset.nothing = texts.nothing;
        if (same) plot.setData(data); else draw();
      },
      redraw: () => plot && draw(),
      fit: () => plot && plot.setSize(size()),
      // Where a time lies, px from the box's left edge.
      place: ts => plot.bbox.left / devicePixelRatio + plot.valToPos(ts, "x"),
      time: x => plot.posToVal(x - plot.bbox.left / devicePixelRatio, "x"),
      // The cursor on the point that is so many with a value further; or at a place.
      step(n) {
        const known = data[0].map((_, i) => i).filter(i => data[1][i] != null || data[4]?.[i] != null);
        if (!known.length) return;
        const here = plot.cursor.left < 0 || plot.cursor.idx == null ? known.length - 1 - n : known.findIndex(i => i >= plot.cursor.idx);
        const i = known[Math.min(known.length - 1, Math.max(0, (here < 0 ? known.length - 1 : here) + n))];
        plot.setCursor({ left: plot.valToPos(data[0][i], "x"), top: plot.valToPos(data[1][i] ?? data[4][i], "y") });
      },
      // What is seen of the data, the place of it in the box, px, and another part of it for as long as fingers lie on it.
      span: () => [plot.scales.x.min, plot.scales.x.max],
      area: () => [plot.bbox.left / devicePixelRatio, plot.bbox.width / devicePixelRatio],
      show: (min, max) => plot.setScale("x", { min, max }),
      unzoom: () => plot.setScale("x", { min: data[0][0], max: data[0][data[0].length - 1] }),
      point: x => plot.setCursor({ left: x - plot.bbox.left / devicePixelRatio, top: 10 }),
      leave: () => plot?.setCursor({ left: -10, top: -10 }),
      cursor: () => plot.cursor.left >= 0 ? plot.posToVal(plot.cursor.left, "x") : undefined,
    };
    plots.push(drawn);
    return drawn;
  };
  addEventListener("resize", () => plots.forEach(p => p.fit()));
  // What was folded had no width.
  for (const fold of all("details.tables")) fold.addEventListener("toggle", () => plots.forEach(p => p.fit()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(p => p.redraw()));

  // the chart of Now: a range up to now, a day, or what was zoomed into
  const box = $("#chart");
  if (box && window.uPlot) {
    const hover = $("#hover"), whole = $("#whole"), bands = $("#bands"), day = $("#day"), earlier = $("#day-before"), later = $("#day-after");
    const store = { get: key => { try { return localStorage.getItem(`virtual-shelly-${key}`); } catch { return null; } }, set: (key, value) => { try { localStorage.setItem(`virtual-shelly-${key}`, value); } catch { /* it is asked again */ } } };
    const ranges = all("button[data-range]"), toggles = all("[data-phase]");
    const phases = new Set(toggles.map(b => Number(b.dataset.phase)).filter(n => store.get("phases")?.includes(n)));
    const dateAt = ts => new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(new Date(ts * 1000));
    const today = () => dateAt(Date.now() / 1000);
    // The day that is looked at: of what was zoomed into, that of its beginning.
    const dayOf = view => view.day ?? (view.from ? dateAt(view.from) : today());
    const shifted = (date, days) => new Date(Date.parse(`${date}T12:00Z`) + days * 86400000).toISOString().slice(0, 10);
    const isDay = text => /^\d{4}-\d\d-\d\d$/.test(text ?? "") && Date.parse(text) > 0 && shifted(text, 0) === text && text <= today();
    let plot, chart, span, wanted, back, reach;
    // What is looked at: {range}, {day} or {from, to}.
    const nameOf = view => view.range ?? view.day ?? `${view.from}-${view.to}`;
    const mark = view => {
      for (const b of ranges) b.setAttribute("aria-pressed", String(b.dataset.range === view.range));
      day.setAttribute("aria-pressed", String(Boolean(view.day)));
      const of = dayOf(view);
      day.textContent = of === today() ? texts.today : new Date(`${of}T12:00Z`).toLocaleDateString(region, { timeZone: "UTC", weekday: "short", day: "numeric", month: "short" });
      later.disabled = of >= today();
      whole.hidden = !view.from;
    };
    const drawBands = () => {
      const edge = Math.min(chart.to, chart.now), right = box.clientWidth;
      bands.hidden = !chart.faults.length;
      bands.replaceChildren(...chart.faults.filter(f => f[1] > chart.from && f[0] < chart.to).map(([from, to, text]) => {
        const item = make("li"), left = plot.place(Math.max(from, chart.from)), end = Math.min(plot.place(Math.min(to, edge)), right);
        item.style.left = `${left}px`;
        item.style.width = `${Math.max(4, end - left)}px`;
        item.title = `${stamp(from)} – ${stamp(to)}: ${text}`;
        item.append(make("span", item.title, "hidden"));
        return item;
      }));
    };
    const put = name => {
      plot.set(ahead(chart), name, { told: chart.told, gaps: gapsOf(chart), now: chart.now });
      drawBands();
    };
    const load = async view => {
      wanted = view;
      mark(view);
      try {
        const answer = await fetch(url("chart.json", { ...view, ...(phases.size ? { phases: 1 } : {}) }));
        if (!answer.ok) throw new Error(String(answer.status));
        const fresh = await answer.json();
        if (wanted !== view) return;
        // The line that grew by itself stays as it is; only what is ahead of it is new.
        const grown = chart && chart.view === view && view.range === "3m" && !phases.size && chart.ts[chart.ts.length - 1] > fresh.to - 10;
        chart = grown ? { ...chart, now: fresh.now, faults: fresh.faults, forecast: fresh.forecast, told: fresh.told } : { ...fresh, view };
        span = fresh.to - fresh.from - 1;
        put(nameOf(view));
        box.dataset.range = nameOf(view);
        box.dataset.step = chart.step;
        box.dataset.told = chart.told.length;
        $("#told").hidden = !chart.told.length;
        box.dataset.forecast = chart.forecast.length;
      } catch { if (!chart) hover.textContent = texts.failed; }
    };
    const open = view => { if (view.range) store.set("range", view.range); back = reach = undefined; return load(view); };
    // Closer into it, with points as fine as they are kept; no closer than ten seconds.
    const zoom = (from, to) => {
      [from, to] = [Math.floor(from), Math.ceil(to)];
      if (to - from < 10) return;
      if (!wanted.from) { back = wanted; reach = chart.to - chart.from; }
      load({ from, to });
    };
    const reset = () => { if (back) open(back); };
    plot = plotOf(box, hover, { tall: () => box.clientWidth < 500 ? 220 : 280, zoom, phases });
    for (const button of ranges) button.addEventListener("click", () => open({ range: button.dataset.range }));
    day.addEventListener("click", () => open({ day: today() }));
    const turn = days => { const of = shifted(dayOf(wanted), days); if (of <= today()) open({ day: of }); };
    earlier.addEventListener("click", () => turn(-1));
    later.addEventListener("click", () => turn(1));
    whole.addEventListener("click", () => { reset(); box.focus({ preventScroll: true }); });
    box.addEventListener("dblclick", reset);
    for (const toggle of toggles) {
      const n = Number(toggle.dataset.phase);
      toggle.setAttribute("aria-pressed", String(phases.has(n)));
      toggle.addEventListener("click", async () => {
        if (!phases.delete(n)) phases.add(n);
        toggle.setAttribute("aria-pressed", String(phases.has(n)));
        store.set("phases", [...phases].join());
        await load({ ...wanted });
        plot.redraw();
      });
    }
    const around = factor => {
      const middle = plot.cursor() ?? (chart.from + chart.to) / 2, [from, to] = [chart.from, Math.max(chart.to, chart.forecast.at(-1)?.[0] ?? 0)];
      if (factor > 1 && !wanted.from) return;
      const wide = (to - from) * factor, left = middle - (middle - from) / (to - from) * wide;
      if (factor > 1 && back && chart.view.from && wide > 31 * 86400) reset(); else zoom(left, left + wide);
    };
    const keys = { ArrowLeft: e => plot.step(e.shiftKey ? -10 : -1), ArrowRight: e => plot.step(e.shiftKey ? 10 : 1), Home: () => plot.step(-1e6), End: () => plot.step(1e6),
      PageUp: () => turn(-1), PageDown: () => turn(1), "+": () => around(0.5), "-": () => around(2), Escape: reset };
    box.addEventListener("keydown", e => {
      if (!keys[e.key] || e.ctrlKey || e.altKey || e.metaKey || !chart) return;
      e.preventDefault();
      hover.setAttribute("aria-live", "polite");
      keys[e.key](e);
    });
    box.addEventListener("blur", () => { hover.removeAttribute("aria-live"); plot.leave(); });
    // One finger moves along the line, and along time where it was zoomed into; two zoom. The page goes on scrolling up and down.
    const fingers = new Map(), x = e => e.clientX - box.getBoundingClientRect().left, last = () => Math.max(chart.now, chart.forecast.at(-1)?.[0] ?? 0);
    let held, seen, moved;
    const under = () => {
      const [left, width] = plot.area(), [a, b] = [...fingers.values()].sort((p, q) => p - q), [s, t] = held;
      const per = b === undefined ? (seen[1] - seen[0]) / width : (t - s) / Math.max(20, b - a);
      const wide = b === undefined ? chart.to - chart.from : width * per, from = Math.min(s - (a - left) * per, Math.max(last() - wide, seen[0]));
      return [from, from + wide];
    };
    const letGo = () => { if (held && moved) plot.unzoom(); held = undefined; };
    box.addEventListener("pointerdown", e => {
      if (e.pointerType !== "touch" || !chart) return;
      if (!fingers.size) moved = false;
      fingers.set(e.pointerId, x(e));
      if (fingers.size > 2) return letGo();
      if (fingers.size === 2 || wanted.from) { held = [...fingers.values()].sort((a, b) => a - b).map(plot.time); seen = plot.span(); }
    });
    box.addEventListener("pointermove", e => {
      if (!fingers.has(e.pointerId)) return;
      moved ||= Math.abs(x(e) - fingers.get(e.pointerId)) > 3;
      if (!moved) return;
      fingers.set(e.pointerId, x(e));
      if (held) { plot.leave(); plot.show(...under()); } else if (fingers.size === 1) plot.point(x(e));
    });
    for (const event of ["pointerup", "pointercancel"]) addEventListener(event, e => {
      if (!fingers.has(e.pointerId)) return;
      if (held && moved && event === "pointerup") {
        const [from, to] = under();
        held = undefined;
        if (to - from < (reach ?? seen[1] - seen[0])) zoom(from, to); else if (back) reset(); else plot.unzoom();
      } else if (held) letGo();
      fingers.delete(e.pointerId);
      if (event === "pointerup" && !moved) plot.point(x(e));
    });
    listeners.push(update => {
      if (!chart || chart.view.range !== "3m" || update.w == null) return;
      const ts = Math.round(update.ts);
      if (ts <= chart.ts[chart.ts.length - 1]) return;
      chart.ts.push(ts);
      for (const column of [chart.w, chart.mn, chart.mx]) column.push(update.w);
      chart.phases?.forEach((column, n) => column.push(update.p?.[n] ?? null));
      chart.now = ts;
      chart.to = ts + 1;
      chart.from = ts - span;
      while (chart.ts[0] < chart.from) for (const column of [chart.ts, chart.w, chart.mn, chart.mx, ...(chart.phases ?? [])]) column.shift();
      put("3m");
    });
    let tick = 0;
    // What is over does not change.
    const grows = () => wanted.range || wanted.day === today() || wanted.to > Date.now() / 1000;
    setInterval(() => { tick += 1; if (!document.hidden && grows() && (wanted.range === "3m" || tick % 12 === 0)) load(wanted); }, 5000);
    document.addEventListener("visibilitychange", () => { if (!document.hidden && grows()) { chart = undefined; load(wanted); } });
    addEventListener("resize", () => chart && drawBands());
    const asked = () => new URLSearchParams(location.hash.slice(1)).get("day");
    const kept = store.get("range");
    const first = () => isDay(asked()) ? { day: asked() } : { range: ranges.some(b => b.dataset.range === kept) ? kept : "3m" };
    addEventListener("hashchange", () => { if (isDay(asked())) load({ day: asked() }); });
    load(first());
    if (isDay(asked())) $("#chart-card").scrollIntoView({ block: "nearest" });
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
    // Every value of a line as text, where somebody unfolds it.
    const list = (card, points, step) => {
      const fold = $(".every", card);
      if (!fold?.open) return;
      const time = ts => (date(ts) === date(Date.now() / 1000) ? "" : new Date(ts * 1000).toLocaleDateString(region, { timeZone: zone, day: "numeric", month: "short" }) + ", ") + clock(ts, step < 60 ? 60 : 3600);
      $("ul", fold).replaceChildren(...points.map(([ts, w, lo, hi]) => {
        const row = make("li");
        row.append(make("span", time(ts)), make("span", words(w)), make("span", lo == null || hi == null ? "" : `${signed(lo)} … ${signed(hi)}`));
        return row;
      }));
    };
    const folds = all("details.tables, details.every", outlook);
    for (const fold of folds) fold.addEventListener("toggle", () => fold.open && lines());
    const lines = async () => {
      try {
        const fresh = await ask(folds.some(f => f.open) ? { skills: 1 } : {}), cards = all("[data-horizon]", outlook);
        if (!cards.length && fresh.horizons.length) { location.reload(); return; }
        if (button) button.textContent = fresh.button;
        follow(fresh.training);
        if (window.uPlot) fresh.horizons.forEach((horizon, i) => {
          const card = cards.find(c => c.dataset.horizon === horizon.id);
          if (!card) return;
          const { ts, forecast } = horizon.chart, next = whens(forecast.map(f => f[0]));
          const chart = { ...horizon.chart, ts: whens(ts), forecast: forecast.map((f, n) => [next[n], ...f.slice(1)]) };
          drawing(card, "ahead").set(ahead(chart), "ahead");
          drawing(card, "drawn").set(beside({ ...horizon.drawn, ts: whens(horizon.drawn.ts) }), "drawn");
          list(card, chart.forecast, horizon.step);
          // A history begins with its second point.
          if (fresh.skills?.filter(p => p[1][i] != null).length > 1) drawing(card, "skill").set(skills(fresh.skills, i), "skill");
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

  Object.assign(dashboard, { css, signed, turned, plots, plotOf });
})();
