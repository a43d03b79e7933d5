// On every page: times in the reader's own time zone, warnings before a server's time limit.
// Without this script times are in UTC and say so, and the warnings appear when a page is loaded.
"use strict";
(() => {
  const day = { day: "numeric", month: "long", year: "numeric" };
  const minute = { hour: "2-digit", minute: "2-digit" };
  const formats = {
    exact: { ...day, ...minute, timeZoneName: "short" },
    day,
    clock: { ...minute, second: "2-digit" },
  };
  const near = (moment) => moment.toDateString() === new Date().toDateString()
    ? moment.toLocaleTimeString([], minute)
    : moment.toLocaleString([], { day: "numeric", month: "long", ...minute });
  for (const time of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    if (time.title) time.title = moment.toLocaleString([], formats.exact);
    const format = time.dataset.format;
    if (format === "near") time.textContent = near(moment);
    else if (formats[format]) time.textContent = moment.toLocaleString([], formats[format]);
  }

  const warnings = [...document.querySelectorAll("[data-ends]")];
  const warn = () => {
    for (const warning of warnings) {
      const seconds = (new Date(warning.dataset.ends) - Date.now()) / 1000;
      warning.hidden = seconds <= 0 || seconds > Number(warning.dataset.warnSeconds);
      const minutes = Math.floor(seconds / 60);
      warning.querySelector("[data-left]").textContent = minutes < 1 ? "less than a minute" : `${minutes} min`;
    }
  };
  if (warnings.length) {
    warn();
    setInterval(warn, 10000);
  }
})();
