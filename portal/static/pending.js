// The progress page: reads the server's events and continues when it is ready. The page works without this.
"use strict";
(() => {
  const root = document.querySelector("[data-progress-url]");
  if (!root || !window.EventSource) return;
  const bar = root.querySelector("progress");
  const now = root.querySelector("[data-now]");
  const steps = root.querySelector("[data-steps]");
  const line = document.querySelector("[data-connection]");
  const title = document.querySelector("[data-title]");
  const stale = document.querySelector("[data-stale]");
  const editing = root.querySelector("[data-editing]");
  const startsWait = document.querySelector("[data-starts-wait]");
  const since = Number(root.dataset.since) * 1000;
  const waited = root.querySelector("[data-waited]");
  const skew = Date.now() - Number(root.dataset.clock) * 1000;
  const source = new EventSource(root.dataset.progressUrl);
  let started = false;
  let last = "";

  const span = (seconds) => {
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
    return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  };
  const tick = () => {
    const seconds = Math.max(0, Math.round((Date.now() - skew - since) / 1000));
    waited.textContent = seconds ? `${span(seconds)} ago` : "just now";
    soon("start");
    soon("deadline");
  };

  const put = (name, text) => {
    root.querySelector(`[data-row="${name}"]`).hidden = !text;
    root.querySelector(`[data-${name}]`).textContent = text || "";
  };
  const ordinal = (number) => {
    const teen = Math.floor(number / 10) % 10 === 1;
    return number + (teen ? "th" : ["th", "st", "nd", "rd"][number % 10] || "th");
  };
  const at = { start: null, deadline: null };
  const soon = (name) => {
    if (!at[name]) return;
    const moment = new Date(at[name]);
    const seconds = Math.round((moment - Date.now() + skew) / 1000);
    const today = moment.toDateString() === new Date().toDateString();
    const shown = today ? moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
      : moment.toLocaleString([], { day: "numeric", month: "long", hour: "2-digit", minute: "2-digit" });
    put(name, seconds > 0 ? `in ${seconds < 60 ? "less than a minute" : span(seconds - seconds % 60).replace(/ 0 s$/, "")}, at ${shown}` : "at any moment");
  };
  // why it waits, its place in the queue, where it runs, until when
  const facts = (event) => {
    if (!("waiting" in event)) return;
    const waiting = event.waiting;
    const hint = root.querySelector("[data-hint]");
    hint.hidden = !(waiting && waiting.hint);
    hint.textContent = waiting ? waiting.hint : "";
    // a cluster without a queue gives no reason for waiting
    const inQueue = event.status === "queued" && Boolean(waiting);
    if (title) title.textContent = inQueue ? title.dataset.waits : title.dataset.starts;
    document.querySelector("[data-queue]").hidden = !inQueue;
    put("place", waiting && waiting.position ? `${ordinal(waiting.position)}${waiting.of ? ` of ${waiting.of}` : ""} in the queue` : "");
    put("node", event.node);
    put("job", event.job_id);
    at.start = waiting && waiting.start;
    at.deadline = event.deadline;
    for (const name of ["start", "deadline"]) if (at[name]) soon(name); else put(name, "");
    const edit = document.querySelector("[data-edit]");
    if (edit) edit.hidden = !["requested", "queued"].includes(event.status);
    // the page shows the request, which has changed
    if (!editing.hidden && !event.editing) location.reload();
    editing.hidden = !event.editing;
    stale.hidden = !event.stale;
    startsWait.hidden = !event.starts_wait;
    if (event.stale && event.time) stale.querySelector("[data-stale-since]").textContent = new Date(event.time * 1000).toLocaleTimeString();
  };
  tick();
  setInterval(tick, 1000);

  source.onopen = () => { line.hidden = true; };
  source.onerror = () => {
    line.hidden = false;
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 3000);
  };
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    if (!started) { started = true; steps.replaceChildren(); }
    if (event.ready) {
      source.close();
      bar.value = 100;
      now.textContent = "Ready. Taking you there.";
      location.replace(root.dataset.readyUrl);
      return;
    }
    if (event.failed) {
      source.close();
      location.reload();
      return;
    }
    bar.value = event.progress;
    facts(event);
    const said = event.waiting ? event.waiting.message : event.message;
    if (said !== now.textContent) now.textContent = said;
    if (event.message === last) return;
    last = event.message;
    const item = document.createElement("li");
    const time = document.createElement("time");
    const at = event.time ? new Date(event.time * 1000) : new Date();
    time.dateTime = at.toISOString();
    time.textContent = at.toLocaleTimeString();
    item.append(time, event.message);
    steps.append(item);
  };
  // a reload for the event of the end would replace the form's own response
  document.addEventListener("submit", () => source.close());
  addEventListener("pagehide", () => source.close());
})();
