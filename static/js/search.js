// The search field of the top bar: results while one types, by keys or mouse. Without this script it is a plain form.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const box = () => $("searchbox"), field = () => $("search-q"), found = () => $("search-found");
  const links = () => [...found().querySelectorAll("a")];

  function close() { found().hidden = true; }
  function open() { found().hidden = !$("suggestions")?.childElementCount; }

  function say() {
    const said = $("suggestions")?.dataset.said || "";
    if ($("search-said").textContent !== said) $("search-said").textContent = said;
  }

  // Arrow keys go through the results and back to the field; Enter is the link's or the form's own.
  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const all = links(), at = all.indexOf(document.activeElement);
    if (event.key === "Escape") { event.preventDefault(); leave(); return; }
    if (found().hidden || !all.length) {
      if (event.key === "ArrowDown" && field().value.trim()) { event.preventDefault(); window.htmx.trigger(field(), "suggest"); }
      return;
    }
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: at < 0 ? -2 : 0, End: at < 0 ? -2 : all.length - 1 }[event.key];
    if (to === undefined || to === -2) return;
    event.preventDefault();
    (to < 0 ? field() : all[Math.min(to, all.length - 1)]).focus();
  }

  // The first Escape closes the results, the next one leaves the field.
  function leave() {
    if (found().hidden) { field().blur(); return; }
    field().focus(); // which opens them
    close();
  }

  function typing(target) { return target.closest("input, textarea, select, [contenteditable], dialog[open], .dropdown-menu"); }

  document.addEventListener("DOMContentLoaded", () => {
    if (!box()) return;
    box().addEventListener("keydown", key);
    field().addEventListener("focus", open);
    box().querySelector("form").addEventListener("submit", close);
    box().addEventListener("focusout", ({ relatedTarget }) => { if (relatedTarget && !box().contains(relatedTarget)) close(); });
    found().addEventListener("click", ({ target }) => { if (target.closest("a")) close(); });
    found().addEventListener("htmx:afterSwap", () => {
      window.htmx.process(found());
      if (box().contains(document.activeElement)) open();
      say();
    });
    document.addEventListener("click", ({ target }) => { if (!box().contains(target)) close(); });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
      event.preventDefault();
      field().focus();
      field().select();
    });
  });
  document.addEventListener("guesthouse:moved", () => { if (box()) close(); });
})();
