// Buttons that copy text: a new token or link, which is shown this one time, or the element with the id in data-copy.
"use strict";
(() => {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const id = button.dataset.copy;
      const source = id ? document.getElementById(id) : document.querySelector("[data-secret]");
      await navigator.clipboard.writeText(source.textContent.trim());
      button.textContent = "Copied";
    });
  }
})();
