// The progress page: listens to the server's events and goes on when it is ready. The page works without this.
"use strict";
(() => {
  const root = document.querySelector("[data-progress-url]");
  if (!root || !window.EventSource) return;
  const bar = root.querySelector("progress");
  const now = root.querySelector("[data-now]");
  const steps = root.querySelector("[data-steps]");
  const line = document.querySelector("[data-connection]");
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
    waited.textContent = `Asked for ${span(seconds)} ago.`;
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
    if (event.message === last) return;
    last = event.message;
    now.textContent = event.message;
    const item = document.createElement("li");
    const time = document.createElement("time");
    const at = event.time ? new Date(event.time * 1000) : new Date();
    time.dateTime = at.toISOString();
    time.textContent = at.toLocaleTimeString();
    item.append(time, event.message);
    steps.append(item);
  };
  addEventListener("pagehide", () => source.close());
})();
