"use strict";
(() => {
  const { $, all, url, post, make, miss, heard, root, search, finding, wrong } = dashboard;
  const setup = $("#setup");
  if (setup) {
    const look = $("#look"), error = $("#pv-error"), take = $("#take"), yes = $("#yes"), no = $("#no");
    const slots = all(".slot", setup), empty = $("strong", slots[0]).textContent, chosen = {};
    const turned = new Set(), told = $("#sign"), ask = $("#ask"), wait = $("#wait"), plain = take.textContent, outcome = $(".answer", look);
    let kind = "one", base = null, sign = null, answered = false, anyway = false, timer, active = slots[0], taken = false, asked = 0, watching;
    // The proof by a kettle: a step of 800 W or more, seen twice, up or down.
    const prove = $("#prove"), kettle = $("#kettle"), kettleSaid = $("#kettle-said"), plainKettle = kettle.textContent, STEP = 800;
    const written = w => `${Math.abs(Math.round(w)).toLocaleString(root.lang, { useGrouping: true })}\u202fW`;
    const endWatch = text => { watching = undefined; kettle.textContent = plainKettle; kettleSaid.textContent = text; };
    const watch = w => {
      if (!watching || w == null) return;
      watching.first ??= w;
      const step = w - watching.first;
      watching.seen = Math.abs(step) >= STEP ? watching.seen + 1 : 0;
      if (watching.seen >= 2) {
        const right = step > 0;
        endWatch((right ? prove.dataset.right : prove.dataset.wrong).replace("{power}", written(step)));
        kettleSaid.className = right ? "good" : "error";
        if (right) { answered = true; } else { answered = false; no.textContent = prove.dataset.turn; no.classList.add("right"); no.dataset.proven = "1"; }
      } else if (Date.now() - watching.since > 180000) endWatch(prove.dataset.none);
    };
    kettle.addEventListener("click", () => {
      if (watching) { endWatch(""); return; }
      watching = { since: Date.now(), seen: 0 };
      kettle.textContent = prove.dataset.stop;
      kettleSaid.className = "";
      kettleSaid.textContent = prove.dataset.wait;
      preview();
    });
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
      error.textContent = wrong(said);
      // The counters know: what they prove needs no answer, what they contradict is said before it is asked about.
      sign = said.sign;
      const proven = sign?.state === "proven";
      told.hidden = !sign; told.classList.toggle("notice", Boolean(sign));
      if (sign) { told.dataset.state = proven ? "good" : "warn"; $("span", told).textContent = sign.text; }
      watch(said.w);
      prove.hidden = !said.ok || proven;
      no.classList.toggle("right", sign?.state === "contradicted" || Boolean(no.dataset.proven));
      ask.hidden = !said.answers;
      wait.hidden = !said.ok || Boolean(said.answers) || proven || Boolean(watching);
      if (said.answers) [yes.textContent, no.textContent] = no.dataset.proven ? [said.answers[0], prove.dataset.turn] : said.answers;
      if (said.status === 200) {
        $("#pv-word").textContent = said.word; $("#pv-power").textContent = said.power; look.dataset.flow = said.flow;
        $("#pv-phases").replaceChildren(...said.phases.map(p => { const item = make("li"); item.dataset.flow = p.flow; item.append(make("strong", p.name), make("span", p.word), make("span", p.power, "num")); return item; }));
      }
      // Who takes it has said that the sign is right, or turned it.
      take.disabled = said.status !== 200 || !(answered || proven);
      timer = setTimeout(preview, watching ? 1000 : 2000);
    };
    const fresh = () => {
      answered = anyway = false; turned.clear(); endWatch(""); delete no.dataset.proven;
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
      return preview();
    };
    // What comes next is on the screen; to the keyboard it is where the focus is.
    const reveal = event => {
      if (look.hidden) return;
      look.scrollIntoView({ block: "nearest" });
      if (event.detail === 0) $("#h-look").focus({ preventScroll: true });
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
    const pickError = $("#pick-error");
    for (const sensor of all(".sensor", setup)) sensor.addEventListener("click", event => {
      const called = s => $(".what", s).firstChild.textContent, own = called(sensor);
      // Of several that are called the same, the id says which.
      const name = all(".sensor", setup).some(s => s !== sensor && called(s) === own) ? `${own} (${sensor.dataset.id})` : own;
      const twice = slots.some(s => s !== active && usable(s) && chosen[s.dataset.slot] === sensor.dataset.id);
      pickError.hidden = !twice;
      if (twice) { pickError.textContent = pickError.dataset.twice.replace("{name}", name); return; }
      chosen[active.dataset.slot] = sensor.dataset.id;
      $("strong", active).textContent = name;
      const next = slots.find(s => usable(s) && !chosen[s.dataset.slot]);
      if (next) activate(next);
      choose().then(() => { if (!next) reveal(event); });
    });
    $("#phase").addEventListener("change", choose);
    const found = all(".use-found", setup);
    const useFound = button => {
      base = JSON.parse(button.dataset.inputs);
      for (const other of found) other.hidden = other === button;
      fresh();
      return preview();
    };
    for (const button of found) button.addEventListener("click", event => useFound(button).then(() => reveal(event)));
    if (found.length && !$(".pick", setup).open) useFound(found[0]);
    // What is shown is right, or the other way round: then it is turned, and what is shown then was said to be right.
    const answer = right => {
      answered = true; anyway = false; take.textContent = plain; outcome.textContent = ""; endWatch(""); delete no.dataset.proven;
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
      outcome.textContent = wrong(said);
      anyway = Boolean(said.ask);
      take.textContent = anyway ? take.dataset.anyway : plain;
      if (!said.ok) { take.disabled = false; return; }
      clearTimeout(timer);
      taken = true;
      asked += 1;
      follow(said);
    });
    // What stands in the way of readers, and how old the chosen sensors' values are, in the doctor's words.
    const checks = $("#checks");
    const examine = async () => {
      const answer = await fetch(url("doctor.json", { setup: "1" })).catch(() => undefined);
      if (!answer?.ok) return;
      const { findings } = await answer.json();
      $("ol", checks).replaceChildren(...findings.map(finding));
      checks.hidden = !findings.length;
    };
    examine();
    // Done is only what is served: the meter is asked over its own port until it says a value.
    const served = $("#served"), said = $("[role=status]", $(".said", served)), dot = $(".dot", served);
    const follow = async ({ restart, text }) => {
      served.hidden = false;
      said.textContent = restart ? `${text} ${served.dataset.restart}` : served.dataset.ask;
      served.scrollIntoView({ block: "nearest" });
      const again = $("[data-post=restart]", served);
      if (again) again.hidden = !restart;
      if (restart) { dot.dataset.state = "held"; return; }
      const answer = await fetch(url("served.json")).then(a => a.json()).catch(() => undefined);
      if (answer) { said.textContent = answer.text; dot.dataset.state = answer.ok ? "live" : "held"; }
      if (!answer?.ok) { setTimeout(follow, 1000, {}); return; }
      $("a", served).hidden = true;
      $("#done").hidden = false;
      examine();
      $("#skip")?.remove();
      $("#done").scrollIntoView({ block: "nearest" });
    };
    search(all(".sensors li", setup).map(li => [li, li.textContent.toLowerCase()]));
    // Home Assistant's address and token: tried, then taken over while everything runs.
    const reach = $("#reach");
    if (reach) {
      const [at, token, place] = [$("#ha-url"), $("#ha-token"), $(".answer", reach)];
      const tell = (text, state) => { place.textContent = text; place.dataset.state = state; };
      const attempt = async () => {
        tell(place.dataset.trying, "");
        const answer = await post("reach", { url: at.value, token: token.value });
        if (answer.url) at.value = answer.url;
        tell(answer.text, answer.ok ? "live" : "absent");
        return answer.ok;
      };
      $("#ha-test").addEventListener("click", attempt);
      reach.addEventListener("submit", async event => {
        event.preventDefault();
        if (!await attempt()) return;
        const changes = { ha_base_url: at.value, ...(token.value.trim() ? { ha_token: token.value.trim() } : {}) };
        const answer = await post("settings", { changes });
        tell(wrong(answer), answer.ok ? "live" : "absent");
        if (answer.ok) setTimeout(() => location.reload(), 800);
      });
    }
    // The sensors' values stay fresh; a page that had none yet is made anew when there are some.
    setInterval(async () => {
      if (document.hidden || taken) return;
      const answer = await fetch(url("sensors.json")).catch(() => undefined);
      if (!answer) { miss(); return; }
      heard();
      const list = answer.ok ? await answer.json() : [];
      if (list.length && !$("#reach")?.contains(document.activeElement) && !$("[data-sensor]", setup)) { location.reload(); return; }
      const said = new Map(list.map(s => [s.id, s]));
      for (const row of all("[data-sensor]", setup)) {
        const now = said.get(row.dataset.sensor);
        if (!now) continue;
        for (const [part, text] of [[".is", now.value], [".changed", now.changed]]) { const old = $(part, row); if (old && old.textContent !== text) old.textContent = text; }
        $(".dot", row).dataset.state = now.good ? "live" : "absent";
      }
    }, 5000);
  }
})();
