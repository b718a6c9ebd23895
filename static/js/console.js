// The frame: theme, panels, keys, rows, ages, and what happens when an answer is not a page.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const remember = (key, value) => { try { localStorage.setItem(`guesthouse.${key}`, value); } catch { /* storage may be off */ } };
  const recall = (key) => { try { return localStorage.getItem(`guesthouse.${key}`); } catch { return null; } };

  function toast(text) {
    const box = $("toasts");
    if (!box) return;
    const note = document.createElement("div");
    note.className = "notice notice-error";
    note.textContent = text;
    box.replaceChildren(note);
    setTimeout(() => note.remove(), 8000);
  }

  // Theme
  function setUpTheme() {
    $("theme-toggle")?.addEventListener("click", (event) => {
      const theme = document.documentElement.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
      remember("theme", theme);
      document.documentElement.setAttribute("data-bs-theme", theme);
      const said = $("toasts");
      if (said) said.setAttribute("aria-label", event.currentTarget.dataset[theme === "dark" ? "textDark" : "textLight"]);
    });
  }

  // Recent tasks
  function setUpTasks() {
    const panel = $("tasks"), button = $("tasks-toggle");
    if (!panel) return;
    const show = (open) => {
      panel.classList.toggle("closed", !open);
      button.setAttribute("aria-expanded", String(open));
    };
    show(recall("tasks") ? recall("tasks") === "open" : innerWidth > 640);
    button.addEventListener("click", () => {
      const open = panel.classList.contains("closed");
      show(open);
      remember("tasks", open ? "open" : "closed");
    });
  }

  // Width of the trees
  function setUpSplitter() {
    const bar = $("splitter"), trees = $("trees");
    if (!bar) return;
    const set = (width) => {
      const px = Math.round(Math.min(560, Math.max(160, width)));
      document.documentElement.style.setProperty("--tree-width", `${px}px`);
      bar.setAttribute("aria-valuenow", String(px));
      remember("tree.width", String(px));
    };
    bar.setAttribute("aria-valuenow", String(Math.round(trees.getBoundingClientRect().width) || 248));
    bar.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      bar.setPointerCapture(event.pointerId);
      const move = (moved) => set(moved.clientX);
      bar.addEventListener("pointermove", move);
      bar.addEventListener("pointerup", () => bar.removeEventListener("pointermove", move), { once: true });
    });
    bar.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -16, ArrowRight: 16 }[event.key];
      if (!step) return;
      event.preventDefault();
      set(trees.getBoundingClientRect().width + step);
    });
    bar.addEventListener("dblclick", () => set(248));
  }

  // Trees on a narrow screen
  function setUpDrawer() {
    const button = $("trees-toggle"), trees = $("trees");
    if (!button) return;
    const show = (open) => {
      trees.classList.toggle("open", open);
      button.setAttribute("aria-expanded", String(open));
    };
    button.addEventListener("click", () => show(!trees.classList.contains("open")));
    document.addEventListener("keydown", (event) => { if (event.key === "Escape") show(false); });
    document.body.addEventListener("htmx:beforeRequest", () => show(false));
  }

  // Help
  function setUpHelp() {
    const help = $("help");
    if (!help) return;
    $("help-open").addEventListener("click", () => help.showModal());
    $("help-close").addEventListener("click", () => help.close());
    help.addEventListener("click", (event) => { if (event.target === help) help.close(); });
  }

  // Rows: one is current; j and k move, Enter opens, a click on a free spot opens.
  let currentRow = "";
  const rows = () => [...document.querySelectorAll("#main .grid tbody tr[data-href]")];
  function mark(row) {
    document.querySelectorAll("tr.is-current").forEach((one) => one.classList.remove("is-current"));
    if (!row) return;
    currentRow = row.id;
    row.classList.add("is-current");
    row.scrollIntoView({ block: "nearest" });
    row.querySelector("a.name")?.focus({ preventScroll: true });
  }
  function step(by) {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((row) => row.id === currentRow);
    mark(all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + by))]);
  }
  document.addEventListener("guesthouse:refreshed", () => { const row = currentRow && $(currentRow); if (row) row.classList.add("is-current"); });
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.target.closest("a, button, input, select, label, summary")) return;
    const row = event.target.closest("tr[data-href]");
    if (!row || String(getSelection())) return;
    row.querySelector("a.name")?.click();
  });

  // Keys
  const GO = { h: "hosts", g: "guests", s: "datastores", n: "switches" };
  let waiting = 0;
  function typing(target) {
    return target.closest("input, textarea, select, [contenteditable], dialog[open], .dropdown-menu");
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (waiting && Date.now() - waiting < 1500 && GO[event.key]) {
      waiting = 0;
      event.preventDefault();
      document.querySelector(`.sections [data-section="${GO[event.key]}"]`)?.click();
      return;
    }
    waiting = 0;
    if (event.key === "g") waiting = Date.now();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "f") { const field = $("list-q"); if (field) { event.preventDefault(); field.focus(); field.select(); } }
    else if (event.key === "?") $("help")?.showModal();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.id === "list-q") event.target.blur();
  });

  // Ages count on by themselves; absolute times are shown in the browser's time zone.
  const absolute = new Intl.DateTimeFormat(document.documentElement.lang || "en", { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "short" });
  function ageText(then) {
    const seconds = Math.max(0, Math.round((Date.now() - then) / 1000));
    const [unit, size] = seconds < 60 ? ["seconds", 1] : seconds < 3600 ? ["minutes", 60] : seconds < 172800 ? ["hours", 3600] : ["days", 86400];
    const words = document.body.dataset;
    return words.ago ? words.ago.replace("{span}", words[unit].replace("{n}", String(Math.floor(seconds / size)))) : "";
  }
  function drawTimes() {
    document.querySelectorAll("time[data-age]").forEach((node) => {
      const then = Date.parse(node.dateTime), text = ageText(then);
      if (node.textContent !== text) node.textContent = text;
      const full = absolute.format(then);
      if (node.title !== full) node.title = full;
    });
    document.querySelectorAll("time[data-moment]").forEach((node) => {
      const text = absolute.format(Date.parse(node.dateTime));
      if (node.textContent !== text) node.textContent = text;
    });
  }

  // Sections follow the address after a move within the frame.
  function markSection() {
    document.querySelectorAll(".sections a").forEach((link) => {
      const path = new URL(link.href).pathname;
      const holds = [path, ...(link.dataset.holds || "").split(" ").filter(Boolean)];
      const here = path === "/" ? location.pathname === "/" : holds.some((one) => location.pathname.startsWith(one));
      if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    });
  }

  // An act that failed says so where it was asked; what was typed stays.
  function sayFailure(asked, sentences) {
    $("failure")?.remove();
    const box = Object.assign(document.createElement("div"), { id: "failure", className: "notices" });
    const note = Object.assign(document.createElement("div"), { className: "notice notice-error" });
    note.setAttribute("role", "alert");
    note.append(...sentences.map((text, at) => Object.assign(document.createElement(at || sentences.length === 1 ? "div" : "strong"), { textContent: text })));
    box.append(note);
    (asked.closest("dialog")?.querySelector(".act-body") || $("main")).prepend(box);
    box.scrollIntoView({ block: "nearest" });
  }

  // What our own pages of errors say; the words of a proxy's page are nobody's here, its number is.
  function sentencesOf(xhr) {
    const page = new DOMParser().parseFromString(xhr.responseText, "text/html");
    const said = [...page.querySelectorAll("#bare-main > h1, #bare-main > p:not(:has(.btn))")].map((node) => node.textContent);
    return said.length ? said : [document.body.dataset.textFailed.replace("{status}", String(xhr.status))];
  }

  // The address an act was sent to cannot be opened as a page; one it led on to can, such as the sign-in page.
  const isAct = ({ verb }) => verb !== "get";
  const ledOn = (xhr, { path }) => Boolean(xhr.responseURL) && new URL(xhr.responseURL).pathname !== new URL(path, location.href).pathname;

  function setUpMoves() {
    document.body.addEventListener("htmx:beforeSwap", (event) => {
      const { target, xhr, requestConfig } = event.detail;
      if (target?.id !== "main") return;
      currentRow = "";
      if (/<main id="main"/.test(xhr.responseText)) return;
      event.detail.shouldSwap = false; // no page of ours inside the frame: the sign-in page, an error of ours or a proxy's
      if (isAct(requestConfig) && !ledOn(xhr, requestConfig)) sayFailure(requestConfig.elt, sentencesOf(xhr));
      else location.assign(xhr.responseURL || location.href);
    });
    document.body.addEventListener("htmx:sendError", (event) => {
      const { requestConfig } = event.detail, text = document.body.dataset.textOffline;
      if (isAct(requestConfig)) sayFailure(requestConfig.elt, [text]); else toast(text);
    });
    document.body.addEventListener("htmx:afterSettle", (event) => {
      if (event.detail.target?.id !== "main" && event.detail.elt?.id !== "main") return;
      markSection();
      drawTimes();
      document.dispatchEvent(new CustomEvent("guesthouse:moved"));
    });
    document.body.addEventListener("htmx:afterSwap", (event) => {
      if (event.detail.boosted || event.detail.requestConfig?.boosted) $("main")?.focus({ preventScroll: true });
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    setUpTheme(); setUpTasks(); setUpSplitter(); setUpDrawer(); setUpHelp(); setUpMoves();
    drawTimes();
    setInterval(drawTimes, 1000);
    markSection();
  });
  document.addEventListener("guesthouse:refreshed", drawTimes);
  window.guesthouse = { toast, remember, recall };
})();
