// Refreshes while a server is starting or stopping, except while the user types or the page is hidden; counts down to time limits.
"use strict";
(() => {
  const moving = [...document.querySelectorAll("[data-moving]")];
  const quick = moving.some((card) => card.dataset.moving !== "queued");
  if (moving.length) {
    setInterval(() => {
      const busy = document.activeElement && document.activeElement.matches("input, select, textarea");
      if (!busy && !document.hidden) location.reload();
    }, quick ? 3000 : 15000);
  }
  const ends = [...document.querySelectorAll("[data-until]")];
  if (ends.length) {
    setInterval(() => {
      for (const time of ends) {
        const minutes = Math.floor((new Date(time.dateTime) - Date.now()) / 60000);
        const [days, hours] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24];
        time.textContent = minutes < 1 ? "ends in less than a minute"
          : days ? `ends in ${days} day${days > 1 ? "s" : ""}${hours ? ` ${hours} h` : ""}`
            : `ends in ${hours ? `${hours} h ` : ""}${minutes % 60 ? `${minutes % 60} min` : ""}`.trim();
      }
    }, 20000);
  }
})();
