// The start form: what is picked narrows what goes with it. The server decides what that is; the form works without this.
"use strict";
(() => {
  const form = document.querySelector("form[data-offer-url]");
  if (!form) return;
  let asking = null;
  // input that the user has typed is never changed
  const touched = new WeakSet([...form.querySelectorAll(".wrong input")]);

  const control = (field) => field.matches("input[type=hidden]") ? field : field.querySelector("select, input:not([type=hidden])");

  // Puts what is offered into a field; whether its value had to change for it.
  const show = (field, offered, error, keep) => {
    const input = control(field);
    const before = input.value;
    const says = field.querySelector("[data-says]");
    if (says) {
      says.textContent = offered.says;
      says.hidden = !offered.says || offered.says === error;
    }
    if (input.tagName === "SELECT" && offered.entries) {
      input.replaceChildren(...offered.entries.map((entry) => new Option(entry.label, entry.value)));
      const kept = offered.entries.some((entry) => entry.value === before);
      input.value = kept ? before : String(offered.value);
      if (!kept) error = "";
    } else if (input.type === "hidden") {
      input.value = offered.value;
    } else if (input.type === "number") {
      for (const [name, limit] of [["min", offered.minimum], ["max", offered.maximum]]) {
        if (limit === null) input.removeAttribute(name); else input.setAttribute(name, limit);
      }
    }
    if (error && !keep && input.tagName === "INPUT" && !touched.has(input) && document.activeElement !== input) {
      input.value = String(offered.usual);
      error = "";
    }
    const list = field.querySelector("datalist");
    if (list) list.replaceChildren(...offered.suggestions.map((value) => new Option("", value)));
    if (field === input) return before !== input.value;
    let line = field.querySelector(".error");
    field.classList.toggle("wrong", Boolean(error));
    if (error) input.setAttribute("aria-invalid", "true"); else input.removeAttribute("aria-invalid");
    if (error && !line) {
      line = document.createElement("p");
      line.className = "error";
      line.id = `${input.id}.error`;
      input.setAttribute("aria-describedby", `${line.id} ${input.getAttribute("aria-describedby") || ""}`);
      field.querySelector(".help").before(line);
    }
    if (line) {
      line.textContent = error || "";
      line.hidden = !error;
    }
    return before !== input.value;
  };

  // `keep`: the current values and the server's errors stay until the user changes something.
  const ask = async (block, keep, again = true) => {
    const profile = block.dataset.profile;
    const query = new URLSearchParams({ profile });
    for (const [name, value] of new FormData(form)) {
      if (name.startsWith(`opt.${profile}.`)) query.set(name, value);
    }
    const url = new URL(form.dataset.offerUrl, location.href);
    query.forEach((value, name) => url.searchParams.set(name, value));
    if (asking) asking.abort();
    const mine = asking = new AbortController();
    try {
      const answer = await fetch(url, { signal: mine.signal, headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const offer = await answer.json();
      let changed = false;
      for (const field of block.querySelectorAll("[data-field]")) {
        const offered = offer.fields[field.dataset.field];
        if (!offered) continue;
        const line = field.querySelector(".error");
        const error = keep && line ? line.textContent : offer.wrong[field.dataset.field];
        changed = show(field, offered, error, keep) || changed;
      }
      if (changed && again) await ask(block, keep, false);
    } catch (error) {
      if (error.name !== "AbortError" && !(error instanceof TypeError)) throw error;
    } finally {
      if (asking === mine) asking = null;
    }
  };

  // Another cluster has other fields: the server shows the form again.
  const look = () => {
    const button = document.createElement("input");
    button.type = "hidden";
    button.name = "look";
    button.value = "1";
    form.append(button);
    form.submit();
  };

  form.addEventListener("input", (event) => touched.add(event.target));
  form.addEventListener("change", (event) => {
    const block = event.target.closest("[data-profile]");
    if (!block || !event.target.closest("[data-field]")) return;
    if (event.target.closest("[data-reload]")) look();
    else ask(block, false);
  });
  for (const block of form.querySelectorAll("[data-profile]")) {
    const radio = block.querySelector("input[type=radio]");
    if (radio) radio.addEventListener("change", () => { if (block.querySelector("[data-field]")) ask(block, true); });
  }
  const first = form.querySelector("[data-profile]:has(input[type=radio]:checked)") || form.querySelector("[data-profile]");
  if (first && first.querySelector("[data-field]")) ask(first, true);
})();
