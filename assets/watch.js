"use strict";
// A reader's name and its mark "must read": kept at once, said in place.
(() => {
  const root = document.documentElement;
  const send = async (form, body) => {
    const to = new URL(root.dataset.rel + "reader", location.href), answer = form.querySelector(".answer");
    if (root.dataset.m !== "0") to.search = new URLSearchParams({ m: root.dataset.m });
    let said = {}, ok = false;
    try {
      const response = await fetch(to, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ip: form.dataset.ip, channel: form.dataset.channel, ...body }) });
      ok = response.ok;
      said = await response.json();
    } catch { /* nobody there, or without words */ }
    answer.textContent = said.text || said.error || document.getElementById("texts").dataset.failed;
    answer.dataset.state = ok ? "live" : "absent";
    return ok;
  };
  document.addEventListener("submit", event => {
    const form = event.target.closest("form[data-mark]");
    if (!form) return;
    event.preventDefault();
    send(form, { name: form.elements.name.value, must_read: form.elements.must_read.checked });
  });
  document.addEventListener("click", async event => {
    const form = event.target.closest("[data-forget]")?.closest("form[data-mark]");
    if (form && await send(form, { forget: true })) form.closest("details").hidden = true;
  });
})();
