// A second click would replace the page that shows the new secret. (The server issues one key a form in any case.)
"use strict";

document.addEventListener("submit", (event) => {
  if (event.target.method !== "post" || event.target.id === "changelist-form") return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});

addEventListener("pagehide", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent; // "back" may send again
});
