"use strict";
// A reader's name and its mark "must read": kept at once, said in place.
(() => {
  const { $, all, post, refresh, renewed } = dashboard;
  // What was answered, by reader: it stays for a while, though the row is made anew.
  const answers = new Map(), reader = form => `${form.dataset.ip} ${form.dataset.channel}`;
  const tell = () => {
    for (const form of all("form[data-mark]")) {
      const said = answers.get(reader(form)), place = $(".answer", form);
      if (!said || !place || place.textContent === said.text) continue;
      place.textContent = said.text;
      place.dataset.state = said.ok ? "live" : "absent";
    }
  };
  renewed.push(tell);
  const send = async (form, body) => {
    const of = reader(form), said = await post("reader", { ip: form.dataset.ip, channel: form.dataset.channel, ...body });
    answers.set(of, said);
    setTimeout(() => { if (answers.get(of) === said) answers.delete(of); }, 15000);
    tell();
    // What has the focus is left as it is: the row is to say its new name.
    if (said.ok) { document.activeElement?.blur(); await refresh(); }
    return said.ok;
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
