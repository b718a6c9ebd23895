// Questions before an act: a page that asks one is shown in a dialog over the page it was asked from.
"use strict";
(() => {
  let opener = null; // gets the focus back

  function dialog() {
    let box = document.getElementById("dialog");
    if (box) return box;
    box = document.createElement("dialog");
    box.id = "dialog";
    box.className = "dialog";
    box.setAttribute("aria-labelledby", "act-title");
    document.body.append(box);
    box.addEventListener("close", () => { box.replaceChildren(); if (opener?.isConnected) opener.focus(); });
    box.addEventListener("mousedown", (event) => { if (event.target === box) box.close(); });
    box.addEventListener("click", (event) => {
      if (!event.target.closest("[data-dismiss]")) return;
      event.preventDefault();
      event.stopPropagation();
      box.close();
    }, true);
    return box;
  }

  function show(box) {
    if (!box.querySelector("#act")) return;
    if (!box.open) box.showModal();
    (box.querySelector("[role=alert] a, [data-first-focus]") || box.querySelector("[data-dismiss]"))?.focus();
  }

  // A button that ticks every box of a part of the page, or none.
  document.addEventListener("click", (event) => {
    const part = event.target.closest("[data-tick]")?.dataset.tick;
    if (!part) return;
    const boxes = [...document.getElementById(part).querySelectorAll("input[type=checkbox]")];
    const on = boxes.some((box) => !box.checked);
    boxes.forEach((box) => { box.checked = on; });
  });

  document.addEventListener("DOMContentLoaded", () => {
    const box = dialog();
    document.body.addEventListener("htmx:beforeRequest", (event) => {
      if (event.detail.target === box && !box.open) opener = event.detail.elt.closest(".dropdown")?.querySelector("[data-bs-toggle]") || event.detail.elt;
    });
    document.body.addEventListener("htmx:beforeSwap", (event) => {
      if (event.detail.target === box && !/id="act"/.test(event.detail.xhr.responseText)) {
        event.detail.shouldSwap = false; // an error page or the sign-in page: show it whole
        location.assign(event.detail.xhr.responseURL);
      }
    });
    document.body.addEventListener("htmx:afterSwap", (event) => {
      if (event.detail.target?.id === "main" && box.open) box.close();
      if (event.detail.target === box) show(box);
    });
  });
})();
