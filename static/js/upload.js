// Sends a file in pieces as soon as it is chosen, takes up again what was begun, and fills the form's hidden field when
// all of it is there.
"use strict";
(() => {
  const RETRY_MS = 2000, TRIES = 30;
  const running = new WeakMap(); // box -> {stop}

  const token = (box) => box.closest("form").querySelector("[name=csrfmiddlewaretoken]").value;
  const words = (text, values) => Object.entries(values).reduce((all, [name, value]) => all.replace(`{${name}}`, value), text);
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

  function size(bytes) {
    let unit = 0;
    while (bytes >= 1024 && unit < 4) { bytes /= 1024; unit += 1; }
    return `${bytes >= 100 || unit === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${["B", "KiB", "MiB", "GiB", "TiB"][unit]}`;
  }

  class Refusal extends Error {
    constructor(status, error) { super(error?.message || `${status}`); this.status = status; this.error = error || {}; }
  }

  async function ask(box, address, options = {}) {
    const answer = await fetch(address, { credentials: "same-origin", ...options, headers: { "X-CSRFToken": token(box), ...options.headers } });
    if (answer.status === 204) return null;
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Refusal(answer.status, body.error);
    return body;
  }

  // What was begun with this file before, or a new upload.
  async function begin(box, file, signal) {
    const known = (await ask(box, box.dataset.upload, { signal })).results;
    const same = known.find((one) => one.name === file.name && one.size_bytes === file.size && one.offset > 0);
    if (same) return same;
    const body = JSON.stringify({ name: file.name, size_bytes: file.size });
    return ask(box, box.dataset.upload, { method: "POST", body, signal, headers: { "Content-Type": "application/json" } });
  }

  function show(box, text, percent) {
    const bar = box.querySelector("progress"), said = box.querySelector("[data-upload-words]");
    bar.hidden = percent === null;
    if (percent !== null) bar.value = percent;
    said.textContent = text;
  }

  async function send(box, file, state) {
    const upload = await begin(box, file, state.signal);
    state.id = upload.id;
    let offset = upload.offset, tries = 0;
    while (offset < file.size) {
      if (!box.isConnected) { state.controller.abort(); return; }
      const piece = file.slice(offset, offset + upload.largest_piece_bytes);
      try {
        const address = `${box.dataset.upload}${upload.id}/pieces/?offset=${offset}`;
        const told = await ask(box, address, { method: "POST", body: piece, signal: state.signal, headers: { "Content-Type": "application/octet-stream" } });
        offset = told.offset;
        tries = 0;
      } catch (error) {
        if (error.name === "AbortError") throw error;
        if (error instanceof Refusal && error.error.code === "wrong_offset") { offset = error.error.offset; continue; }
        if (error instanceof Refusal && error.status < 500) throw error;
        if (error instanceof Refusal && error.error.code === "no_room") throw error;
        if ((tries += 1) > TRIES) throw error;
        show(box, box.dataset.textWaiting, (100 * offset) / file.size);
        await sleep(RETRY_MS);
        offset = (await ask(box, `${box.dataset.upload}${upload.id}/`, { signal: state.signal }).catch(() => ({ offset }))).offset;
        continue;
      }
      show(box, words(box.dataset.textSending, { done: size(offset), all: size(file.size) }), (100 * offset) / file.size);
    }
    box.querySelector("[name=upload]").value = upload.id;
    show(box, words(box.dataset.textDone, { name: file.name, all: size(file.size) }), 100);
  }

  async function start(box, file) {
    stop(box);
    box.querySelector("[name=upload]").value = "";
    const controller = new AbortController();
    const state = { controller, signal: controller.signal, id: "" };
    running.set(box, state);
    box.classList.remove("upload-failed");
    box.querySelector("[data-upload-cancel]").hidden = false;
    show(box, words(box.dataset.textSending, { done: "0 B", all: size(file.size) }), 0);
    try {
      await send(box, file, state);
    } catch (error) {
      if (error.name !== "AbortError") {
        box.classList.add("upload-failed");
        show(box, error instanceof Refusal ? error.message : box.dataset.textFailed, null);
      }
    } finally {
      if (running.get(box) === state) {
        running.delete(box);
        box.querySelector("[data-upload-cancel]").hidden = true;
      }
    }
  }

  function stop(box) {
    running.get(box)?.controller.abort();
    running.delete(box);
  }

  async function cancel(box) {
    const id = running.get(box)?.id;
    stop(box);
    box.querySelector("input[type=file]").value = "";
    box.querySelector("input[type=file]").focus();
    box.querySelector("[data-upload-cancel]").hidden = true;
    show(box, box.dataset.textCancelled, null);
    if (id) await ask(box, `${box.dataset.upload}${id}/discard/`, { method: "POST", body: "{}", headers: { "Content-Type": "application/json" } }).catch(() => {});
  }

  document.addEventListener("change", (event) => {
    const box = event.target.closest?.("[data-upload]");
    if (box && event.target.type === "file" && event.target.files[0]) start(box, event.target.files[0]);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-upload-cancel]");
    if (button) cancel(button.closest("[data-upload]"));
  });
  // A form is not sent while its file still is.
  document.addEventListener("submit", (event) => {
    const box = [...event.target.querySelectorAll("[data-upload]")].find((one) => running.has(one));
    if (!box) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const said = box.querySelector("[data-upload-words]");
    said.textContent = `${box.dataset.textWait} ${said.textContent}`;
    box.querySelector("[data-upload-cancel]").focus();
  }, true);
  window.addEventListener("beforeunload", (event) => {
    if ([...document.querySelectorAll("[data-upload]")].some((box) => running.has(box))) event.preventDefault();
  });
})();
