// A button that copies what is shown this one time: a new token, a new link.
"use strict";
(() => {
  const button = document.querySelector("[data-copy]");
  if (!button || !navigator.clipboard) return;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.querySelector("[data-secret]").textContent.trim());
    button.textContent = "Copied";
  });
})();
