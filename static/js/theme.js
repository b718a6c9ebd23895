// Runs before anything is drawn, so that the page never flashes in the other theme.
"use strict";
(() => {
  const stored = () => { try { return localStorage.getItem("guesthouse.theme"); } catch { return null; } };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const theme = stored() || (system.matches ? "dark" : "light");
    document.documentElement.setAttribute("data-bs-theme", theme);
    const width = (() => { try { return Number(localStorage.getItem("guesthouse.tree.width")); } catch { return 0; } })();
    if (width >= 160 && width <= 560) document.documentElement.style.setProperty("--tree-width", `${width}px`);
  };
  apply();
  system.addEventListener("change", apply);
  window.addEventListener("storage", apply);
})();
