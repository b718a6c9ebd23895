// Load over time: draws the Monitor tab's charts, says the figures under the pointer or the arrow keys, and keeps up
// with what is measured.
"use strict";
(() => {
  const HEIGHT = 176;
  const KEEP_UP_MS = 25000; // a new figure comes every 30 s
  const AGAIN_MS = 5000; // after a question nobody answered
  const KIB = 1024;
  const BYTES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

  let library = null, shown = null; // shown: { box, plots, answer, due, last, timer, gone }

  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const language = () => document.documentElement.lang || undefined;

  function loadLibrary(address) {
    if (window.uPlot) return Promise.resolve();
    library ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = address;
      script.onload = resolve;
      script.onerror = () => { library = null; reject(new Error("no chart library")); };
      document.head.append(script);
    });
    return library;
  }

  // -- figures as people read them

  function figure(value) {
    const digits = value >= 100 || value === Math.round(value) ? 0 : value >= 10 ? 1 : 2;
    return new Intl.NumberFormat(language(), { maximumFractionDigits: digits }).format(value);
  }

  function bytes(value, tail) {
    let unit = 0;
    while (Math.abs(value) >= KIB && unit < BYTES.length - 1) { value /= KIB; unit += 1; }
    return `${figure(value)} ${BYTES[unit]}${tail}`;
  }

  const UNITS = {
    percent: (value) => (value > 0 && value < 0.1 ? "< 0.1 %" : `${figure(Math.round(value * 10) / 10)} %`),
    bytes: (value) => bytes(value, ""),
    bytes_per_second: (value) => bytes(value, "/s"),
    operations_per_second: (value) => `${figure(value)}/s`,
  };
  const known = (value) => value !== null && value !== undefined;
  const say = (unit, value, none) => (known(value) ? UNITS[unit](value) : none);

  // Where an axis may be marked: round numbers, of bytes by powers of two.
  function marks(unit) {
    const steps = unit.startsWith("bytes") ? [1, 2, 4, 8, 16, 32, 64, 128, 256, 512] : [1, 2, 5];
    const factor = unit.startsWith("bytes") ? KIB : 10;
    const found = [];
    for (let power = unit.startsWith("bytes") ? 0 : -2; power < 12; power += 1) steps.forEach((step) => found.push(step * factor ** power));
    return found;
  }

  // What stands below a mark of the time axis: between days also the hour.
  function clock(span) {
    const day = 86400, format = (parts) => new Intl.DateTimeFormat(language(), { ...parts, hourCycle: "h23" });
    const hour = format({ hour: "2-digit", minute: "2-digit" }), date = format({ day: "numeric", month: "short" }), month = format({ month: "short", year: "2-digit" });
    return (second) => {
      const time = new Date(second * 1000), atMidnight = !time.getHours() && !time.getMinutes();
      if (span > 40 * day) return month.format(time);
      return span <= day / 4 || !atMidnight ? hour.format(time) : date.format(time);
    };
  }

  function moment(second, span) {
    const far = span > 86400 ? { day: "numeric", month: "short", year: span > 40 * 86400 ? "numeric" : undefined } : {};
    const near = { hour: "2-digit", minute: "2-digit", second: span <= 3600 ? "2-digit" : undefined };
    return new Intl.DateTimeFormat(language(), { ...far, ...near, hourCycle: "h23" }).format(new Date(second * 1000));
  }

  // -- columns: where nothing is known for longer than a measurement takes, an empty point breaks the lines

  function columns(answer, names) {
    const rows = names.flatMap((name) => {
      const one = answer.series[name];
      return [one.average, one.low || one.average, one.high || one.average];
    });
    const times = [], kept = rows.map(() => []);
    answer.times.forEach((time, at) => {
      const before = answer.times[at - 1];
      if (at && time - before > answer.gap) { times.push(before + 1); kept.forEach((column) => column.push(null)); }
      times.push(time);
      kept.forEach((column, row) => column.push(rows[row][at]));
    });
    return [times, ...kept];
  }

  function options(panel, answer, names, tell) {
    const unit = answer.series[names[0]].unit, span = answer.end - answer.start, format = clock(span);
    const text = token("--gh-muted"), line = token("--gh-line-soft");
    const axis = (more) => ({ stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 }, font: "11px system-ui", gap: 4, ...more });
    const ceiling = unit === "percent" ? 5 : 1;
    return {
      width: Math.max(240, panel.clientWidth - 16), height: HEIGHT, padding: [8, 20, 0, 0], legend: { show: false },
      cursor: { sync: { key: "load" }, points: { size: 6 }, drag: { x: false, y: false } },
      hooks: { setCursor: [tell] },
      scales: {
        x: { time: true, range: () => [shown.answer.start, shown.answer.end] },
        y: { range: (_plot, _low, high) => [0, unit === "percent" ? Math.min(100, Math.max(ceiling, (high ?? 0) * 1.15)) : Math.max(ceiling, (high ?? 0) * 1.1)] },
      },
      axes: [
        axis({ size: 26, space: 60, values: (_plot, ticks) => ticks.map(format) }),
        axis({ size: 76, incrs: marks(unit), values: (_plot, ticks) => ticks.map((tick) => say(unit, tick, "")) }),
      ],
      bands: names.map((_name, at) => ({ series: [at * 3 + 3, at * 3 + 2], fill: token(`--gh-load-${at + 1}-soft`) })),
      series: [{}, ...names.flatMap((_name, at) => {
        const edge = { stroke: null, width: 0, points: { show: false }, spanGaps: false };
        const drawn = { stroke: token(`--gh-load-${at + 1}`), width: 1.5, dash: [[], [6, 3], [2, 3]][at], spanGaps: false, points: { show: (plot, series, from, to) => lonely(plot, series, from, to), size: 4 } };
        return [drawn, edge, edge];
      })],
    };
  }

  // A figure between two gaps would not be seen as a line: it gets a dot.
  function lonely(plot, series, from, to) {
    const values = plot.data[series];
    for (let at = from; at <= to; at += 1) if (known(values[at]) && !known(values[at - 1]) && !known(values[at + 1])) return true;
    return false;
  }

  // -- telling what is under the pointer, else the latest

  function position(plot) {
    if (known(plot.cursor.idx) && plot.cursor.left >= 0) return plot.cursor.idx;
    for (let at = plot.data[0].length - 1; at >= 0; at -= 1) if (plot.data.slice(1).some((column) => known(column[at]))) return at;
    return -1;
  }

  function tell(one) {
    const { plot, panel, names } = one, words = shown.box.dataset, at = position(plot);
    const chosen = known(plot.cursor.idx) && plot.cursor.left >= 0;
    const time = at < 0 ? "" : moment(plot.data[0][at], shown.answer.end - shown.answer.start);
    panel.querySelector(".load-when").textContent = at < 0 ? "" : (chosen ? words.textAt : words.textLatest).replace("{time}", time);
    const said = names.map((name, number) => {
      const unit = shown.answer.series[name].unit, [average, low, high] = [1, 2, 3].map((part) => (at < 0 ? null : plot.data[number * 3 + part][at]));
      const key = panel.querySelector(`[data-series="${name}"]`), spread = known(average) && high - low > high * 0.005;
      const value = say(unit, average, words.textNone);
      const between = spread ? words.textBetween.replace("{low}", say(unit, low, "")).replace("{high}", say(unit, high, "")) : "";
      key.querySelector(".load-value").textContent = value;
      key.querySelector(".load-spread").textContent = between;
      return `${key.querySelector("dt").textContent} ${value}${between ? `, ${between}` : ""}`;
    });
    return `${time}: ${said.join("; ")}`;
  }

  function move(one, event) {
    const { plot } = one, last = plot.data[0].length - 1;
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") { plot.setCursor({ left: -10, top: -10 }); return; }
    if (!(event.key in steps) || last < 0) return;
    event.preventDefault();
    const way = Math.sign(steps[event.key]);
    let at = Math.min(last, Math.max(0, position(plot) + steps[event.key]));
    while (!known(plot.data[1][at]) && at + way >= 0 && at + way <= last) at += way; // over gaps
    while (!known(plot.data[1][at]) && at - way >= 0 && at - way <= last) at -= way; // nothing further that way
    plot.setCursor({ left: plot.valToPos(plot.data[0][at], "x"), top: HEIGHT / 3 });
    document.getElementById("load-said").textContent = tell(one);
  }

  // -- drawing

  function note(panel, text) {
    const node = document.createElement("p");
    node.className = "load-note";
    node.textContent = text;
    panel.replaceChildren(node);
  }

  function drop() {
    if (!shown) return;
    clearTimeout(shown.timer);
    shown.plots.forEach((one) => one.plot.destroy());
    shown = null;
  }

  function draw() {
    shown.box.classList.remove("is-empty"); // what is not shown has no width
    shown.plots.forEach((one) => one.plot.destroy());
    shown.plots = [...shown.box.querySelectorAll(".load-chart")].flatMap((panel) => {
      const place = panel.querySelector(".load-plot"), names = [...panel.querySelectorAll("[data-series]")].map((key) => key.dataset.series);
      const data = columns(shown.answer, names);
      if (!data.slice(1).some((column) => column.some(known))) { note(place, shown.box.dataset.textNothing); return []; }
      place.replaceChildren();
      const one = { panel, names, place };
      one.plot = new window.uPlot(options(place, shown.answer, names, () => one.plot && tell(one)), data, place);
      place.onkeydown = (event) => move(one, event);
      tell(one);
      return [one];
    });
    shown.box.classList.toggle("is-empty", !shown.plots.length);
    shown.box.dataset.drawn = String(shown.plots.length);
  }

  function refresh() {
    const wanted = shown.box.querySelectorAll(".load-chart").length;
    if (shown.plots.length !== wanted) { draw(); return; }
    shown.plots.forEach((one) => { one.plot.setData(columns(shown.answer, one.names)); tell(one); });
  }

  async function read(mine) {
    mine.due = Infinity;
    mine.last = Date.now();
    try {
      const answer = await fetch(mine.box.dataset.url, { credentials: "same-origin", headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      const found = await answer.json();
      await loadLibrary(mine.box.dataset.uplot);
      if (mine !== shown || !mine.box.isConnected) return;
      const first = !mine.answer;
      mine.answer = found;
      if (first) draw(); else refresh();
    } catch {
      if (mine !== shown) return;
      if (!mine.answer) mine.box.querySelectorAll(".load-plot").forEach((place) => note(place, mine.box.dataset.textFailed));
      plan(mine, AGAIN_MS);
    }
  }

  function plan(mine, delay) {
    const due = Math.max(Date.now() + delay, mine.last + delay);
    if (due >= mine.due) return;
    clearTimeout(mine.timer);
    mine.due = due;
    mine.timer = setTimeout(() => { if (mine === shown && !document.hidden) read(mine); else mine.due = Infinity; }, due - Date.now());
  }

  function look() {
    const box = document.getElementById("load-charts");
    if (shown && (shown.box !== box || shown.url !== box?.dataset.url)) drop();
    if (!box || shown) return;
    shown = { box, url: box.dataset.url, plots: [], answer: null, due: Infinity, last: 0, timer: 0 };
    read(shown);
  }

  function changed(event) {
    if (!shown) return;
    const words = shown.box.dataset.liveOn.split(/\s+/);
    if (event.detail.some(([kind, id]) => kind === "*" || words.includes(`${kind}:${id}`) || (id === "*" && words.some((word) => word.startsWith(`${kind}:`))))) plan(shown, KEEP_UP_MS);
  }

  document.addEventListener("guesthouse:changes", changed);
  document.addEventListener("guesthouse:refreshed", look);
  document.addEventListener("guesthouse:moved", look);
  document.addEventListener("visibilitychange", () => { if (shown && !document.hidden && Date.now() - shown.last > KEEP_UP_MS) read(shown); });
  document.addEventListener("DOMContentLoaded", () => {
    look();
    new MutationObserver(() => { if (shown?.answer) draw(); }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
    addEventListener("resize", () => shown?.plots.forEach(({ plot, place }) => plot.setSize({ width: Math.max(240, place.clientWidth - 16), height: HEIGHT })));
  });
})();
