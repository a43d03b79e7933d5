// Looks again while a server is on its way, unless somebody is typing or the page is not seen.
"use strict";
(() => {
  if (!document.querySelector("[data-moving]")) return;
  setInterval(() => {
    const busy = document.activeElement && document.activeElement.matches("input, select, textarea");
    if (!busy && !document.hidden) location.reload();
  }, 3000);
})();
