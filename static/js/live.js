// Pages say what they show (data-live="guest:<id> hosts"); when such a thing changes, those parts are fetched again and
// merged in place, so that scroll, focus and selection stay.
"use strict";
(() => {
  const SOON_MS = 250; // changes that come together are fetched together
  const GAP_MS = 1000; // between two fetches of one address, unless a part says data-live-gap
  const AGAIN_MS = 3000; // after a question nobody answered
  const NEW_SESSION_MS = 2000; // a changed password ends the old session before its answer brings the new one
  const LOAD_GAP_MS = 10000; // load figures move all the time; nobody reads them faster

  const OPEN_MENU = ".dropdown-menu.show, [data-bs-toggle=dropdown].show, details[open]"; // stays open, and says what is true now

  const parts = () => [...document.querySelectorAll("[data-live]")];
  const addressOf = (part) => part.dataset.liveUrl || location.pathname + location.search;
  const jobs = new Map(); // address → { ids, due, timer, last }

  function wants(part, kind, id) {
    return part.dataset.live.split(/\s+/).some((word) => {
      const [name, which] = word.split(":");
      if (which === undefined) return name === `${kind}s` || name === `${kind}es`;
      return name === kind && (which === id || id === "*");
    });
  }

  function plan(part, delay) {
    const address = addressOf(part);
    const job = jobs.get(address) || { ids: new Set(), timer: 0, due: Infinity, last: 0 };
    jobs.set(address, job);
    job.ids.add(part.id);
    const due = Math.max(Date.now() + delay, job.last + (Number(part.dataset.liveGap) || GAP_MS));
    if (due >= job.due) return;
    clearTimeout(job.timer);
    job.due = due;
    job.timer = setTimeout(() => run(address, job), due - Date.now());
  }

  async function run(address, job) {
    if (document.hidden) { job.due = Infinity; return; } // done when the page is looked at again
    job.due = Infinity;
    job.last = Date.now();
    const ids = [...job.ids];
    job.ids.clear();
    try {
      const answer = await fetch(address, { headers: { "HX-Request": "true", "X-Live": "true" }, credentials: "same-origin" });
      if (answer.redirected) { stayOrLeave(); return; }
      if (answer.status === 401 || answer.status === 403 || answer.status === 404) { location.reload(); return; }
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      ids.forEach((id) => put(document.getElementById(id), fresh.getElementById(id), address));
      document.dispatchEvent(new CustomEvent("guesthouse:refreshed"));
    } catch { ids.forEach((id) => job.ids.add(id)); } // the server does not answer; the indicator says so
  }

  function put(part, fresh, address) {
    if (!part || !fresh || addressOf(part) !== address) return; // the user has moved on
    morph(part, fresh);
    window.htmx?.process(part);
  }

  // Merge `to` into `from`: nodes that are alike stay, with their focus and scroll.
  function morph(from, to) {
    if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || changedLink(from, to)) { from.replaceWith(document.importNode(to, true)); return; }
    if (from.nodeType !== Node.ELEMENT_NODE) { if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue; return; }
    if (from.isEqualNode(to) || from.hasAttribute("data-live-keep")) return;
    if (from === document.activeElement && from.matches("input, select, textarea")) return;
    if (!from.matches(OPEN_MENU)) copyAttributes(from, to);
    morphChildren(from, to);
  }

  const changedLink = (from, to) => from.nodeName === "A" && from.getAttribute("href") !== to.getAttribute("href");

  function copyAttributes(from, to) {
    for (const { name, value } of [...to.attributes]) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    for (const { name } of [...from.attributes]) if (!to.hasAttribute(name) && name !== "tabindex") from.removeAttribute(name);
  }

  function morphChildren(from, to) {
    const byId = new Map([...from.children].filter((node) => node.id).map((node) => [node.id, node]));
    let at = from.firstChild;
    for (const wanted of [...to.childNodes]) {
      let match = wanted.id ? byId.get(wanted.id) : at && !at.id ? at : null;
      if (!match) { from.insertBefore(document.importNode(wanted, true), at); continue; }
      if (match !== at) from.insertBefore(match, at); else at = at.nextSibling;
      if (match.nodeName === "TR" && !match.isEqualNode(wanted) && match.textContent !== wanted.textContent) flash(match);
      morph(match, wanted);
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
  }

  function flash(row) {
    row.classList.remove("is-fresh");
    requestAnimationFrame(() => row.classList.add("is-fresh"));
  }

  // What the stream says
  function receive(message) {
    if (message.type === "state") showState(message.state);
    else if (message.type === "resync") readAnew();
    else if (message.type === "end") stayOrLeave();
    else if (message.type === "changes") {
      const all = parts();
      for (const [kind, id] of message.changes) {
        all.filter((part) => wants(part, kind, id)).forEach((part) => plan(part, kind === "load" ? LOAD_GAP_MS : SOON_MS));
      }
      document.dispatchEvent(new CustomEvent("guesthouse:changes", { detail: message.changes }));
    }
  }

  function readAnew() {
    parts().forEach((part) => plan(part, SOON_MS));
    document.dispatchEvent(new CustomEvent("guesthouse:changes", { detail: [["*", "*", "changed"]] }));
  }

  // The session this page was made in ended. Where the same user has a new one, as after a changed password, the forms
  // get its token, what was typed stays, and what was asked for in between is asked for again; for anybody else the page
  // is not.
  let asking = false;
  async function stayOrLeave() {
    if (asking) return;
    asking = true;
    const fresh = await pageOfSameUser() || await after(NEW_SESSION_MS).then(pageOfSameUser);
    asking = false;
    if (!fresh) { location.reload(); return; }
    const tokens = (page) => [...page.getElementsByName("csrfmiddlewaretoken")], [{ value }] = tokens(fresh);
    tokens(document).forEach((field) => { field.value = value; });
    readAnew();
  }

  const after = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

  // This address as the server gives it now; null when that is not for the user this page was made for.
  async function pageOfSameUser() {
    const who = (page) => page.getElementById("me")?.textContent;
    try {
      const answer = await fetch(location.href, { headers: { "X-Live": "true" }, credentials: "same-origin" });
      if (answer.status >= 500) throw new Error(answer.status);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      return answer.redirected || who(fresh) !== who(document) ? null : fresh;
    } catch { return after(AGAIN_MS).then(pageOfSameUser); } // the server does not answer; the indicator says so
  }

  function showState(state) {
    const node = document.getElementById("live");
    const name = state[0].toUpperCase() + state.slice(1);
    node.dataset.state = state;
    node.title = node.dataset[`hint${name}`];
    node.querySelector(".live-text").textContent = node.dataset[`text${name}`];
  }

  function listen() {
    const rendered = Number(document.getElementById("main")?.dataset.rendered) || Date.now();
    const script = document.body.dataset.worker;
    if (window.SharedWorker) {
      const { port } = new SharedWorker(script, { name: "guesthouse-events" });
      port.onmessage = ({ data }) => receive(data);
      port.postMessage({ type: "hello", rendered });
      addEventListener("pagehide", () => port.postMessage({ type: "bye" }));
      addEventListener("pageshow", (event) => { if (event.persisted) port.postMessage({ type: "hello", rendered: Date.now() }); });
      return;
    }
    addEventListener("guesthouse:hub", () => new window.GuesthouseEventHub(new URL(document.body.dataset.events, location.href).href).join(receive, rendered), { once: true });
    document.head.append(Object.assign(document.createElement("script"), { src: script }));
  }

  const loadNow = () => document.querySelectorAll("[data-live-now]").forEach((part) => { part.removeAttribute("data-live-now"); plan(part, 0); });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) jobs.forEach((job, address) => { if (job.ids.size) { job.due = Date.now(); job.timer = setTimeout(() => run(address, job), 0); } });
  });
  document.addEventListener("guesthouse:moved", loadNow);
  document.addEventListener("DOMContentLoaded", () => { loadNow(); listen(); });
  window.guesthouseLive = { morph, stayOrLeave };
})();
