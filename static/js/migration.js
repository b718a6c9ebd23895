// A running move: the chart of what was sent against how fast the guest writes, and a clock that counts on.
"use strict";
(() => {
  const MIB = 1048576;
  const LOST_MS = 3000; // between two looks while the stream of changes is lost
  let plot = null, drawn = "", library = null;

  const box = () => document.getElementById("migration-chart");
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function loadLibrary(address) {
    library ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = address;
      script.onload = resolve;
      script.onerror = reject;
      document.head.append(script);
    });
    return library;
  }

  // Columns for the chart, in MiB: seconds, sent, rate, dirty rate. Readings that say nothing stay gaps: how fast the
  // guest writes is first measured at the end of the first pass; until then it reads as zero.
  function columns(samples) {
    const scale = (value) => (value === null || value === undefined ? null : value / MIB);
    const measured = samples.findIndex((point) => point[3]);
    return [
      samples.map((point) => point[0]),
      ...[1, 2].map((at) => samples.map((point) => scale(point[at]))),
      samples.map((point, at) => (measured < 0 || at < measured ? null : scale(point[3]))),
    ];
  }

  const figure = (value, unit) => (value === null || value === undefined ? "–" : `${value.toFixed(value >= 100 ? 0 : 1)} ${unit}`);

  function clock(seconds) {
    if (seconds < 60) return `${seconds.toFixed(1)} s`;
    const minutes = Math.floor(seconds / 60), rest = Math.floor(seconds % 60);
    if (minutes < 60) return `${minutes} min ${String(rest).padStart(2, "0")} s`;
    return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  }

  function options(node) {
    const text = token("--gh-muted"), line = token("--gh-line-soft"), words = node.dataset;
    const axis = (more) => ({ stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 }, font: "11px system-ui", size: 56, gap: 4, ...more });
    const series = (label, stroke, more) => ({ label, stroke, width: 1.75, spanGaps: true, points: { show: false }, ...more });
    return {
      width: Math.max(280, node.clientWidth), height: 220, padding: [10, 4, 0, 0],
      hooks: { draw: [(chart) => requestAnimationFrame(() => showLast(chart === plot ? chart : null))] },
      cursor: { points: { size: 6 }, drag: { x: false, y: false } },
      scales: {
        x: { time: false, range: (_plot, low, high) => [Math.min(0, low ?? 0), Math.max(high ?? 1, 1)] },
        bytes: { range: (_plot, _low, high) => [0, Math.max(high ?? 1, 1) * 1.05] },
        rate: { range: (_plot, _low, high) => [0, Math.max(high ?? 1, 1) * 1.1] },
      },
      axes: [
        axis({ size: 30, values: (_plot, marks) => marks.map((mark) => `${mark} s`) }),
        axis({ scale: "bytes", stroke: token("--gh-chart-sent"), values: (_plot, marks) => marks.map((mark) => `${mark} MiB`), size: 72 }),
        axis({ scale: "rate", stroke: token("--gh-chart-rate"), side: 1, grid: { show: false }, values: (_plot, marks) => marks.map((mark) => `${mark} MiB/s`), size: 82 }),
      ],
      series: [
        { label: words.textTime, value: (_plot, value) => (value === null ? "–" : clock(value)) },
        series(words.textSent, token("--gh-chart-sent"), { scale: "bytes", fill: token("--gh-chart-fill"), value: (_plot, value) => figure(value, "MiB") }),
        series(words.textRate, token("--gh-chart-rate"), { scale: "rate", value: (_plot, value) => figure(value, "MiB/s") }),
        series(words.textDirty, token("--gh-chart-dirty"), { scale: "rate", dash: [5, 3], value: (_plot, value) => figure(value, "MiB/s") }),
      ],
    };
  }

  function say(node, text) {
    plot?.destroy();
    plot = null;
    const note = document.createElement("p");
    note.className = "chart-note";
    note.textContent = text;
    node.replaceChildren(note);
  }

  async function draw() {
    const node = box(), source = document.getElementById("migration-samples");
    if (!node || !source) { plot?.destroy(); plot = null; drawn = ""; return; }
    if (plot && !node.contains(plot.root)) { plot.destroy(); plot = null; drawn = ""; } // another migration's page
    const open = document.getElementById("migration-body").hasAttribute("data-open");
    const text = source.dataset.samples + open;
    if (text === drawn) return;
    drawn = text;
    const samples = JSON.parse(source.dataset.samples);
    if (samples.length < 2) { say(node, open ? node.dataset.textSoon : node.dataset.textNone); return; }
    await loadLibrary(node.dataset.uplot);
    if (!node.isConnected || text !== drawn) return;
    const data = columns(samples);
    if (plot) { plot.setData(data); return; }
    node.replaceChildren();
    plot = new window.uPlot(options(node), data, node);
    plot.over.addEventListener("mouseleave", () => requestAnimationFrame(() => showLast(plot)));
  }

  // The legend tells of the moment under the pointer, else of the last reading.
  function showLast(chart) {
    if (chart && !(chart.cursor.left >= 0)) chart.setLegend({ idx: chart.data[0].length - 1 }, false);
  }

  function redraw() { drawn = ""; plot?.destroy(); plot = null; draw(); }

  // Time passes between two readings, too; measured from when the page was made, so that no clock is compared.
  const bases = new WeakMap();
  function tick() {
    document.querySelectorAll("[data-elapsed]").forEach((node) => {
      const known = bases.get(node);
      if (!known || known.value !== node.dataset.elapsed) {
        const since = performance.now() - Number(node.dataset.elapsed);
        bases.set(node, { value: node.dataset.elapsed, since: known ? Math.min(known.since, since) : since });
      }
      const seconds = (performance.now() - bases.get(node).since) / 1000;
      const text = seconds < 60 ? `${Math.floor(seconds)} s` : clock(seconds);
      if (node.textContent !== text) node.textContent = text;
    });
  }

  // While nobody tells us of changes, we ask.
  async function lookWhenLost() {
    const body = document.getElementById("migration-body");
    if (!body?.hasAttribute("data-open") || document.hidden || document.getElementById("live")?.dataset.state !== "lost") return;
    try {
      const answer = await fetch(body.dataset.liveUrl, { headers: { "HX-Request": "true", "X-Live": "true" }, credentials: "same-origin" });
      if (!answer.ok || answer.redirected) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const id of ["migration-state", "migration-actions", "migration-body"]) {
        const part = document.getElementById(id);
        if (part && fresh.getElementById(id)) { window.guesthouseLive.morph(part, fresh.getElementById(id)); window.htmx.process(part); }
      }
      document.dispatchEvent(new CustomEvent("guesthouse:refreshed"));
    } catch { /* the server does not answer; the indicator says so */ }
  }

  document.addEventListener("guesthouse:refreshed", () => { tick(); draw(); });
  document.addEventListener("guesthouse:moved", () => { tick(); draw(); });
  document.addEventListener("DOMContentLoaded", () => {
    draw();
    tick();
    setInterval(tick, 250);
    setInterval(lookWhenLost, LOST_MS);
    new MutationObserver(redraw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
    let width = 0;
    new ResizeObserver(() => {
      const node = box();
      if (!plot || !node || node.clientWidth === width) return;
      width = node.clientWidth;
      plot.setSize({ width: Math.max(280, width), height: 220 });
    }).observe(document.body);
    addEventListener("resize", () => { const node = box(); if (plot && node) plot.setSize({ width: Math.max(280, node.clientWidth), height: 220 }); });
  });
})();
