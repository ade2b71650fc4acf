"use strict";
(() => {
  const { $, all, url, post, make, refresh, search } = dashboard;
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
    // Back to what is saved by now: a browser's own reset goes back to what the page was loaded with.
    form.addEventListener("reset", event => {
      event.preventDefault();
      for (const f of fields) { f.input.value = initial.get(f.key); if (f.remove) f.remove.checked = false; }
      complain([]);
      answer.textContent = "";
      meant.hidden = true;
      look();
    });
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
        // What was taken back waits no longer.
        for (const f of fields) {
          $(".waits", f.place)?.remove();
          if (!said.waiting.includes(f.key)) continue;
          const note = make("span", " · ", "waits");
          note.append(make("strong", form.dataset.waits));
          $(".help .muted", f.place).append(note);
        }
        const restart = $("#restart");
        if (restart) restart.hidden = !said.waiting.length;
        refresh();
        look();
        return;
      }
      let first;
      for (const problem of said.problems || []) {
        const f = fields.find(x => x.key === problem.key) || fields.find(x => problem.key.startsWith(x.key + "["));
        if (!f) { answer.textContent += ` ${problem.key ? `${problem.key}: ` : ""}${problem.text}`; continue; }
        f.error.textContent = problem.text; f.error.hidden = false; f.input.setAttribute("aria-invalid", "true"); unfold(f.place);
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
    const unfold = place => { for (let fold = place.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true; };
    if (to) { unfold(to); to.scrollIntoView(); }
    // Found by what is read, and by the products that it is about.
    search(fields.map(f => [f.place, `${f.place.textContent} ${f.place.dataset.words ?? ""}`.toLowerCase()]), want => {
      for (const group of all("details", form)) {
        const hit = all(".field", group).some(f => !f.hidden);
        group.hidden = want !== "" && !hit;
        if (want) { group.dataset.was ??= group.open ? "open" : "shut"; group.open = hit; } else if (group.dataset.was) { group.open = group.dataset.was === "open"; delete group.dataset.was; }
      }
    });
    // What is wrong is said where it was typed, before anything is saved.
    const complain = problems => {
      for (const f of fields) { f.error.hidden = true; f.input.removeAttribute("aria-invalid"); }
      for (const problem of problems) {
        const f = fields.find(x => x.key === problem.key) || fields.find(x => problem.key.startsWith(x.key + "["));
        if (f) { f.error.textContent = problem.text; f.error.hidden = false; f.input.setAttribute("aria-invalid", "true"); }
      }
    };
    let checks = 0;
    form.addEventListener("change", async () => {
      const wanted = changes(), mine = ++checks;
      if (!Object.keys(wanted).length) { complain([]); return; }
      const said = await post("check", { changes: wanted });
      if (mine === checks && said.status === 200 && Object.keys(wanted).every(key => key in changes())) complain(said.problems ?? []);
    });
    // Entities complete from those that there are, and say what they are now.
    const named = fields.filter(f => f.input.dataset.entity), choices = $("#sensors");
    let sensors, asked = 0;
    const last = text => text.split(/[,\n]/).map(part => part.trim()).filter(Boolean);
    const sayNow = f => {
      const place = $(".now", f.place), ids = last(f.input.value);
      const text = id => { const s = sensors.get(id); return s ? `${s.name}: ${choices.dataset.now.replace("{value}", s.value)}` : choices.dataset.unknown; };
      place.hidden = !ids.length;
      place.textContent = ids.map(id => ids.length > 1 ? `${id} – ${text(id)}` : text(id)).join("; ");
    };
    const load = async () => {
      if (sensors && Date.now() - asked < 5000) return;
      const answer = await fetch(url("sensors.json")).catch(() => ({}));
      if (answer.ok) { sensors = new Map((await answer.json()).map(s => [s.id, s])); asked = Date.now(); }
    };
    for (const f of named) {
      f.input.setAttribute("list", "sensors");
      f.input.addEventListener("focus", async () => {
        await load();
        if (!sensors) return;
        choices.replaceChildren(...[...sensors.values()].filter(s => s.kind === f.input.dataset.entity).map(s => { const o = make("option"); o.value = s.id; o.label = `${s.name} · ${s.value}`; return o; }));
        sayNow(f);
      });
      f.input.addEventListener("input", () => { if (sensors) sayNow(f); });
    }
    setInterval(async () => {
      const f = named.find(x => x.input === document.activeElement);
      if (document.hidden || !f) return;
      await load();
      if (sensors) sayNow(f);
    }, 5000);
    addEventListener("beforeunload", event => { if (Object.keys(changes()).length) event.preventDefault(); });
  }
})();
