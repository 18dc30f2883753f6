// Copies what `data-copy` names, and forgets the secrets of a page when it is left: "back" must not show them again.
"use strict";

async function copy(text, source) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  getSelection().selectAllChildren(source); // plain http beyond this machine has no clipboard API
  document.execCommand("copy");
  getSelection().removeAllRanges();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  await copy(source.textContent, source);
  button.textContent = "Copied";
});

addEventListener("pagehide", () => {
  for (const secret of document.querySelectorAll("[data-secret]")) secret.textContent = "";
});
