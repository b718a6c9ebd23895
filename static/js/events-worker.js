// One stream of changes for all of a browser's pages. Runs as a SharedWorker, or inside the page where there is none.
"use strict";
(() => {
  const SILENCE_MS = 40000; // the server says something at least every 10 s
  const KEEP = 300; // batches, for pages that were made shortly before they joined

  class EventHub {
    constructor(url) {
      this.url = url;
      this.listeners = new Set();
      this.recent = [];
      this.position = "";
      this.state = "connecting";
      this.failures = 0;
      this.source = null;
    }

    join(listener, rendered) {
      this.listeners.add(listener);
      if (!this.source) { this.connect(rendered); return; }
      listener({ type: "state", state: this.state });
      for (const batch of this.recent) if (batch.at >= rendered - 5000) listener(batch);
    }

    leave(listener) { this.listeners.delete(listener); }

    tell(message) { for (const listener of this.listeners) listener(message); }

    setState(state) {
      if (state === this.state) return;
      this.state = state;
      this.tell({ type: "state", state });
    }

    connect(rendered) {
      const query = this.position ? `position=${encodeURIComponent(this.position)}` : `since=${Math.max(0, Math.floor(rendered) - 5000)}`;
      const source = new EventSource(`${this.url}?${query}`);
      this.source = source;
      this.heard();
      source.addEventListener("hello", (event) => { this.heard(event); this.failures = 0; this.setState("live"); });
      source.addEventListener("beat", (event) => this.heard(event));
      source.addEventListener("changes", (event) => { this.heard(event); this.give(event); });
      source.addEventListener("resync", (event) => { this.heard(event); this.tell({ type: "resync" }); });
      source.addEventListener("broker-lost", (event) => { this.heard(event); this.setState("lost"); });
      source.addEventListener("end", () => { this.setState("lost"); this.again(2000); this.tell({ type: "end" }); });
      source.onerror = () => {
        this.setState("lost");
        this.again(Math.min(30000, 1000 * 2 ** Math.min(this.failures++, 5)));
      };
    }

    give(event) {
      const batch = { type: "changes", at: Number(event.lastEventId.split("-")[0]), changes: JSON.parse(event.data) };
      this.recent.push(batch);
      if (this.recent.length > KEEP) this.recent.shift();
      this.tell(batch);
    }

    heard(event) {
      if (event?.lastEventId) this.position = event.lastEventId;
      clearTimeout(this.watchdog);
      this.watchdog = setTimeout(() => { this.setState("lost"); this.again(0); }, SILENCE_MS);
    }

    again(delay) {
      clearTimeout(this.watchdog);
      clearTimeout(this.retry);
      this.source?.close();
      this.retry = setTimeout(() => this.connect(Date.now()), delay);
    }
  }

  const url = new URL(self.document ? document.body.dataset.events : "/events/", self.location.href).href;
  if (!self.document) {
    const hub = new EventHub(url);
    self.onconnect = (event) => {
      const port = event.ports[0];
      const listener = (message) => port.postMessage(message);
      port.onmessage = ({ data }) => {
        if (data.type === "hello") hub.join(listener, data.rendered);
        if (data.type === "bye") hub.leave(listener);
      };
    };
  } else {
    self.GuesthouseEventHub = EventHub;
    self.dispatchEvent(new Event("guesthouse:hub"));
  }
})();
