// The inventory trees: branches are loaded when they are opened; arrow keys move as the ARIA tree pattern says.
"use strict";
(() => {
  const REFRESH_MS = 2000;
  const box = () => document.getElementById("tree");
  const tabs = () => [...document.querySelectorAll("[data-tree]")];
  const items = () => [...box().querySelectorAll('[role="treeitem"]')].filter((item) => item.offsetParent);
  const branch = (item) => item.nextElementSibling; // the list of its children, if it was loaded
  const selectedTab = () => tabs().find((tab) => tab.getAttribute("aria-selected") === "true");
  let shown = "";

  const openKey = () => `tree.open.${selectedTab().dataset.tree}`;
  function openNodes() {
    const stored = window.guesthouse.recall(openKey());
    return stored === null ? null : stored.split(" ").filter(Boolean);
  }
  function rememberOpen() {
    const open = [...box().querySelectorAll('[aria-expanded="true"]')].map((item) => item.dataset.node);
    window.guesthouse.remember(openKey(), open.join(" "));
  }

  // `live`: the page asks by itself, which does not keep the session from ending.
  async function load({ live = false } = {}) {
    const tab = selectedTab(), query = new URLSearchParams(), headers = { "HX-Request": "true" };
    if (live) headers["X-Live"] = "true";
    (openNodes() || ["first"]).forEach((node) => query.append("open", node));
    try {
      const answer = await fetch(`${tab.dataset.url}?${query}`, { headers, credentials: "same-origin" });
      if (answer.redirected) { window.guesthouseLive.stayOrLeave(); return; }
      if (!answer.ok) throw new Error(answer.status);
      show(await answer.text(), tab.dataset.tree);
    } catch { failed(); }
  }

  function show(html, name) {
    const fresh = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
    const old = box().querySelector(".tree");
    if (old && shown === name) window.guesthouseLive.morph(old, fresh); else box().replaceChildren(document.importNode(fresh, true));
    shown = name;
    window.htmx?.process(box());
    mark();
  }

  function failed() {
    if (box().querySelector(".tree") && shown === selectedTab().dataset.tree) return; // the last known tree stays
    const note = Object.assign(document.createElement("p"), { className: "tree-note", textContent: `${box().dataset.textError} ` });
    const again = Object.assign(document.createElement("button"), { type: "button", className: "btn btn-sm", textContent: box().dataset.textRetry });
    again.addEventListener("click", () => load());
    note.append(again);
    box().replaceChildren(note);
  }

  // The item of the page shown is selected; one item can be reached by Tab.
  function mark() {
    let chosen = null;
    box().querySelectorAll('[role="treeitem"]').forEach((item) => {
      const here = item.dataset.href && location.pathname.startsWith(item.dataset.href);
      item.setAttribute("aria-selected", String(Boolean(here && !chosen)));
      if (here && !chosen) chosen = item;
    });
    const focused = document.activeElement?.closest?.('[role="treeitem"]');
    rove(focused || chosen || items()[0]);
  }
  function rove(item) {
    box().querySelectorAll('[role="treeitem"]').forEach((one) => { one.tabIndex = one === item ? 0 : -1; });
  }
  function focus(item) {
    if (!item) return;
    rove(item);
    item.focus();
    item.scrollIntoView({ block: "nearest" });
  }

  function setOpen(item, open) {
    item.setAttribute("aria-expanded", String(open));
    rememberOpen();
    if (open && !branch(item)) { item.setAttribute("aria-busy", "true"); load().finally(() => item.removeAttribute("aria-busy")); }
  }
  const toggle = (item) => setOpen(item, item.getAttribute("aria-expanded") !== "true");
  const parent = (item) => item.closest('[role="group"]')?.previousElementSibling;
  const openItem = (item) => item.querySelector("a")?.click();

  function key(event) {
    const item = event.target.closest('[role="treeitem"]');
    if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
    const all = items(), at = all.indexOf(item), expanded = item.getAttribute("aria-expanded");
    const acts = {
      ArrowDown: () => focus(all[at + 1]),
      ArrowUp: () => focus(all[at - 1]),
      Home: () => focus(all[0]),
      End: () => focus(all.at(-1)),
      ArrowRight: () => { if (expanded === "false") setOpen(item, true); else if (expanded === "true") focus(branch(item)?.querySelector('[role="treeitem"]')); },
      ArrowLeft: () => { if (expanded === "true") setOpen(item, false); else focus(parent(item)); },
      Enter: () => openItem(item),
      " ": () => (expanded === null ? openItem(item) : toggle(item)),
    };
    if (acts[event.key]) { event.preventDefault(); event.stopPropagation(); acts[event.key](); return; }
    if (event.key.length === 1 && /\S/.test(event.key) && event.key !== "?") typeAhead(event, all, at);
  }

  let typed = "", typedAt = 0;
  function typeAhead(event, all, at) {
    typed = Date.now() - typedAt < 700 ? typed + event.key.toLowerCase() : event.key.toLowerCase();
    typedAt = Date.now();
    const from = typed.length === 1 ? at + 1 : at;
    const found = [...all.slice(from), ...all.slice(0, from)].find((one) => one.querySelector("a, .node-name").textContent.trim().toLowerCase().startsWith(typed));
    if (!found) return;
    event.stopPropagation();
    focus(found);
  }

  function choose(tab, andFocus) {
    tabs().forEach((one) => { one.setAttribute("aria-selected", String(one === tab)); one.tabIndex = one === tab ? 0 : -1; });
    box().setAttribute("aria-labelledby", tab.id);
    window.guesthouse.remember("tree", tab.dataset.tree);
    if (andFocus) tab.focus();
    load();
  }

  let later = 0;
  function changed(event) {
    if (!event.detail.some(([kind]) => ["guest", "host", "cluster", "datacenter", "folder", "datastore", "switch", "source", "*"].includes(kind)) || later) return;
    later = setTimeout(() => { later = 0; if (!document.hidden) load({ live: true }); }, REFRESH_MS);
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (!box()) return;
    box().addEventListener("keydown", key);
    box().addEventListener("click", (event) => {
      const item = event.target.closest('[role="treeitem"]');
      if (!item) return;
      rove(item);
      if (event.target.closest(".twist")) { event.preventDefault(); toggle(item); }
    });
    tabs().forEach((tab, at, all) => {
      tab.addEventListener("click", () => choose(tab));
      tab.addEventListener("keydown", (event) => {
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (by) { event.preventDefault(); choose(all[(at + by + all.length) % all.length], true); }
      });
    });
    choose(tabs().find((tab) => tab.dataset.tree === window.guesthouse.recall("tree")) || tabs()[0]);
  });
  document.addEventListener("guesthouse:moved", () => { if (box()) mark(); });
  document.addEventListener("guesthouse:changes", changed);
})();
