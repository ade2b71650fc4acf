"use strict";
// Recordings: start, stop, delete; and one compared with other options.
(() => {
  const { $, all, post, make, refresh, renewed, css, signed, turned, plots, plotOf } = dashboard;
  const replay = $("#replay");
  if (replay) {
    const files = $("#rep-file"), sets = $("#rep-sets"), out = $("#rep-out"), said = $("#rec-said");
    document.addEventListener("click", async event => {
      const button = event.target.closest("[data-rec]");
      if (!button) return;
      button.blur(); button.disabled = true;
      const answer = await post("recording", { do: button.dataset.rec, name: button.dataset.name });
      said.textContent = answer.text; said.dataset.state = answer.ok ? "live" : "absent";
      await refresh(); button.disabled = false;
    });
    const list = () => {
      const rows = all("[data-name]", $("#rec-kept")).filter(row => row.tagName === "LI"), was = files.value;
      files.replaceChildren(...rows.map(row => { const option = make("option", row.dataset.when); option.value = row.dataset.name; return option; }));
      if (rows.some(row => row.dataset.name === was)) files.value = was;
    };
    renewed.push(list);
    $("#rep-add").addEventListener("click", () => {
      const row = sets.lastElementChild.cloneNode(true);
      for (const input of all("input", row)) input.value = "";
      sets.append(row);
      $("input", row).focus();
    });
    const pair = () => ({ series: [{}, ...["--import", "--export"].map(name => ({ stroke: css(name), width: 2, spanGaps: true, points: { size: 5 } }))] }); // a battery is answered now and then
    const both = (data, i) => [[data[1][i], replay.dataset.was], [data[2][i], replay.dataset.would]].filter(([w]) => w != null).map(([w, name]) => [`${name}: ${signed(w)}`]);
    replay.addEventListener("submit", async event => {
      event.preventDefault();
      const button = $("button:not([type])", replay), answer = $(".answer", replay), set = {};
      for (const row of sets.children) { const [key, value] = all("input", row).map(input => input.value.trim()); if (key) set[key] = value; }
      button.disabled = true; answer.textContent = replay.dataset.runs;
      delete answer.dataset.state;
      const came = await post("replay", { name: files.value, set });
      button.disabled = false; answer.textContent = came.text;
      answer.dataset.state = came.ok ? "live" : "absent";
      if ((out.hidden = !came.ok || !came.rows.length)) return;
      $("tbody", out).replaceChildren(...came.rows.map(cells => { const row = make("tr"); row.append(...cells.map((text, i) => make(i ? "td" : "th", text, i ? "num" : ""))); return row; }));
      plots.length = 0; $("#rep-charts").replaceChildren();
      for (const chart of came.charts) {
        const place = make("div", undefined, "plot"), hover = make("p", "", "hover");
        $("#rep-charts").append(make("h3", chart.name), hover, place);
        plotOf(place, hover, { lines: pair, tell: both }).set(turned(chart.points.map(p => [came.start + p.t, p.recorded, p.replayed]), 3), "replay");
      }
    });
  }
})();
