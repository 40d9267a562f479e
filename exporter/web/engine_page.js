// Keeps the engine's figures, charts and tables up to date. Every text comes from /engine.json; charts are drawn here.
"use strict";
(() => {
  const PERIOD = 2000; // milliseconds between two refreshes
  const EXPORTER_PERIOD = 10000;
  const PATIENCE = 8000;
  const SPAN = 1800; // seconds that the charts go back
  const SHORTEST_SPAN = 120;
  const GAP = 95; // seconds without a read, beyond which a line is broken
  const TROUBLE = ["down", "saturated", "queueing", "lagging", "unknown", "serving", "idle"];

  const main = document.querySelector("main");
  const single = main.dataset.live === "worker";
  const chosen = new URLSearchParams(location.search).get("worker");
  const updated = document.getElementById("updated");
  const notice = document.getElementById("notice");
  const histories = new Map();
  let newest = 0; // the time of the newest read that we have
  let cursor = null; // the time that the charts point at
  let answered = Date.now();

  // --- Values as text: as web/engine_page.py has them ---

  const digits = (value, places) =>
    value.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places });
  const FORMATS = {
    text: (value) => value,
    count: (value) => digits(value, Number.isInteger(value) ? 0 : 1),
    rate: (value) =>
      value >= 10000
        ? `${digits(value / 1000, 1)}k`
        : digits(value, value <= 0 || value >= 10 ? 0 : value < 1 ? 2 : 1),
    ratio: (value) => `${digits(100 * value, value > 0 && value < 0.1 ? 1 : 0)} %`,
    seconds: (value) =>
      value >= 1
        ? `${digits(value, value < 10 ? 2 : value < 100 ? 1 : 0)} s`
        : `${digits(1000 * value, value < 0.01 ? 1 : 0)} ms`,
  };
  const show = (value, format) => (value === null || value === undefined ? "–" : FORMATS[format](value));
  const brief = (value, format) => show(value, format).replace(/\.0+(?!\d)/, ""); // for scales
  const look = (view, path) => path.split(".").reduce((at, name) => (at ?? {})[name], view) ?? null;
  const clock = (seconds) => new Date(1000 * seconds).toLocaleTimeString("en-GB");
  const name = (view) => view.name;

  function fill(root, view) {
    for (const element of root.querySelectorAll("[data-path]")) {
      const text = show(look(view, element.dataset.path), element.dataset.format ?? "text");
      if (element.textContent !== text) element.textContent = text;
    }
    for (const element of root.querySelectorAll("[data-if]")) element.hidden = !look(view, element.dataset.if);
    for (const rect of root.querySelectorAll("[data-bar]")) {
      const ratio = look(view, rect.dataset.bar);
      rect.parentElement.toggleAttribute("hidden", ratio === null);
      rect.setAttribute("width", `${Math.min(100, Math.max(0, 100 * (ratio ?? 0)))}%`);
    }
    for (const element of root.querySelectorAll("[data-state]")) element.dataset.state = view.condition.state;
  }

  // --- History ---

  function remember(view) {
    const known = histories.get(name(view)) ?? { times: [] };
    const { times, ...columns } = view.history;
    const from = times.findIndex((time) => time > (known.times.at(-1) ?? 0));
    if (from >= 0) {
      known.times.push(...times.slice(from));
      for (const [figure, values] of Object.entries(columns)) {
        (known[figure] ??= []).push(...values.slice(from));
      }
    }
    const old = known.times.findIndex((time) => time >= known.times.at(-1) - SPAN);
    if (old > 0) for (const values of Object.values(known)) values.splice(0, old);
    histories.set(name(view), known);
    return known;
  }

  // --- Charts ---

  function niceCeiling(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return power * [1, 2, 4, 6, 8, 10].find((step) => step * power >= value * 0.999);
  }

  function path(times, values, x, y) {
    let line = "";
    let last = null;
    values.forEach((value, at) => {
      if (value === null) {
        last = null;
        return;
      }
      const connected = last !== null && times[at] - last < GAP;
      line += `${connected ? "L" : "M"}${x(times[at]).toFixed(1)} ${y(value).toFixed(1)}`;
      if (!connected) line += "h.01"; // so that a lone point is seen
      last = times[at];
    });
    return line;
  }

  function draw(figure, history) {
    const svg = figure.querySelector("svg");
    const { width, height } = svg.getBoundingClientRect();
    const { format } = figure.dataset;
    const names = figure.dataset.series.split(" ");
    const { times } = history;
    if (!width || !times.length) return;
    const end = times.at(-1);
    const begin = Math.min(times[0], end - SHORTEST_SPAN);
    const columns = names.map((figureName) => history[figureName] ?? []);
    const highest = Math.max(0, ...columns.flat().filter((value) => value !== null));
    const top = figure.dataset.most ? Number(figure.dataset.most) : niceCeiling(Math.max(highest, format === "count" ? 2 : 0) || 1);
    const x = (time) => 1 + ((time - begin) / (end - begin)) * (width - 3);
    const y = (value) => 6 + (1 - Math.min(value, top) / top) * (height - 24);
    const ticks = [0, top / 2, top];
    const grid = ticks.map((value) => `<path class="grid" d="M0 ${y(value).toFixed(1)}H${width}"/>`);
    const scale = ticks
      .slice(1)
      .map((value) => `<text x="0" y="${(y(value) + 11).toFixed(1)}">${brief(value, format)}</text>`);
    const lines = columns.map(
      (values, at) => `<path class="line s${at}" d="${path(times, values, x, y)}"/>`,
    );
    const minutes = Math.round((end - begin) / 60);
    const labels =
      `<text x="0" y="${height - 3}">${minutes} min ago</text>` +
      `<text x="${width}" y="${height - 3}" text-anchor="end">now</text>`;
    const at = cursor === null ? times.length - 1 : nearest(times, cursor);
    const pointer =
      cursor === null ? "" : `<path class="pointer" d="M${x(times[at]).toFixed(1)} 0V${height - 16}"/>`;
    svg.innerHTML = [...grid, ...lines, ...scale, pointer, labels].join("");
    figure.querySelectorAll("[data-now]").forEach((element, number) => {
      element.textContent = show(columns[number]?.[at] ?? null, format);
    });
    figure.querySelector("time").textContent = cursor === null ? "" : clock(times[at]);
  }

  function nearest(times, time) {
    let best = 0;
    times.forEach((each, at) => {
      if (Math.abs(each - time) < Math.abs(times[best] - time)) best = at;
    });
    return best;
  }

  const charts = [...document.querySelectorAll(".chart")];
  const drawCharts = () => {
    const [history] = histories.values();
    if (history) charts.forEach((figure) => draw(figure, history));
  };

  function point(time) {
    cursor = time;
    drawCharts();
  }

  for (const figure of charts) {
    const svg = figure.querySelector("svg");
    svg.addEventListener("pointermove", (event) => {
      const [history] = histories.values();
      if (!history?.times.length) return;
      const box = svg.getBoundingClientRect();
      const end = history.times.at(-1);
      const begin = Math.min(history.times[0], end - SHORTEST_SPAN);
      point(begin + ((event.clientX - box.left) / box.width) * (end - begin));
    });
    svg.addEventListener("pointerleave", () => point(null));
    svg.addEventListener("blur", () => point(null));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const [history] = histories.values();
      if (!step || !history?.times.length) return;
      event.preventDefault();
      const { times } = history;
      const at = cursor === null ? times.length - 1 : nearest(times, cursor);
      point(times[Math.min(times.length - 1, Math.max(0, at + step))]);
    });
  }

  // --- Tables ---

  function rowsOf(body, views, key) {
    const template = body.parentElement.querySelector("template").content.firstElementChild;
    const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
    for (const view of views) {
      let row = known.get(key(view));
      if (!row) {
        row = body.appendChild(template.cloneNode(true));
        row.dataset.key = key(view);
        const link = row.querySelector("a[data-path]");
        if (link) link.href = `./?worker=${encodeURIComponent(key(view))}`;
      }
      if (!row.view && row.querySelector(".spark")) watcher.observe(row);
      known.delete(key(view));
      row.view = view;
      fill(row, view);
    }
    known.forEach((row) => row.remove());
  }

  function drawRanks(view) {
    const section = document.getElementById("ranks");
    section.hidden = view.ranks.length < 2;
    const most = Math.max(...view.ranks.map((rank) => rank.running ?? 0)) || 1;
    const ranks = view.ranks.map((rank) => ({ ...rank, share: (rank.running ?? 0) / most }));
    rowsOf(section.querySelector("tbody"), ranks, (rank) => rank.rank);
  }

  const table = document.getElementById("workers");
  const sorting = { path: null, descending: false };

  function compare(one, other) {
    const trouble = (view) => TROUBLE.indexOf(view.condition.state);
    if (sorting.path) {
      const [a, b] = [look(one, sorting.path), look(other, sorting.path)];
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === "string" ? a.localeCompare(b) : a - b;
      if (order) return sorting.descending ? -order : order;
    }
    return trouble(one) - trouble(other) || name(one).localeCompare(name(other));
  }

  const SPARK = { width: 144, height: 28 };
  const seen = new Set(); // rows on the screen: only their charts are drawn
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      seen[isIntersecting ? "add" : "delete"](target);
      if (isIntersecting) drawSpark(target);
    }
  });

  function drawSpark(row) {
    const history = histories.get(row.dataset.key);
    if (!history?.times.length) return;
    const { times, generated_per_second: values } = history;
    const end = times.at(-1);
    const begin = Math.min(times[0], end - SHORTEST_SPAN);
    const highest = Math.max(...values, 1e-9);
    const x = (time) => 1 + ((time - begin) / (end - begin)) * (SPARK.width - 2);
    const y = (value) => SPARK.height - 2 - (value / highest) * (SPARK.height - 4);
    row.querySelector(".spark").innerHTML = `<path class="line s0" d="${path(times, values, x, y)}"/>`;
  }

  function arrange() {
    const body = table.tBodies[0];
    const wanted = document.getElementById("filter").value.toLowerCase();
    const rows = [...body.rows].filter((row) => row.view).sort((a, b) => compare(a.view, b.view));
    rows.forEach((row, at) => {
      if (body.rows[at] !== row) body.insertBefore(row, body.rows[at]);
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
    seen.forEach((row) => (row.isConnected ? drawSpark(row) : seen.delete(row)));
  }

  if (table) {
    for (const button of table.tHead.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        const { path: by } = button.dataset;
        sorting.descending = sorting.path === by ? !sorting.descending : button.dataset.first === "descending";
        sorting.path = by;
        for (const head of table.tHead.querySelectorAll("th")) head.removeAttribute("aria-sort");
        button.closest("th").setAttribute("aria-sort", sorting.descending ? "descending" : "ascending");
        arrange();
      });
    }
    document.getElementById("filter").addEventListener("input", arrange);
  }

  function summarize(views) {
    const count = (state) => views.filter((view) => view.condition.state === state).length;
    const parts = TROUBLE.filter(count).map((state) => {
      const part = document.createElement("b");
      part.dataset.state = state;
      part.textContent = `${count(state).toLocaleString("en-US")} ${state}`;
      return part;
    });
    document.getElementById("summary").replaceChildren(...parts.flatMap((part) => [part, " "]));
  }

  // --- Refreshing ---

  async function get(address) {
    const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(answer.status === 404 ? "this worker is gone" : `the answer is ${answer.status}`);
    return answer;
  }

  async function refresh() {
    const query = new URLSearchParams({ since: newest });
    if (chosen) query.set("worker", chosen);
    if (!single) query.set("brief", "");
    try {
      const answer = await get(`./engine.json?${query}`);
      const { workers } = await answer.json();
      for (const view of workers) {
        const { times } = remember(view);
        newest = Math.max(newest, times.at(-1) ?? 0);
      }
      if (single && workers.length) {
        fill(document.getElementById("engine"), workers[0]);
        drawRanks(workers[0]);
        drawCharts();
      } else if (table) {
        rowsOf(table.tBodies[0], workers, name);
        summarize(workers);
        arrange();
      }
      answered = Date.now();
      updated.textContent = `updated ${clock(answered / 1000)}`;
      notice.textContent = "";
      main.classList.remove("is-stale");
    } catch (error) {
      const why = error.message === "Failed to fetch" ? "no answer from the exporter" : error.message;
      notice.textContent = `Old figures: ${why} since ${clock(answered / 1000)}. Trying again.`;
      main.classList.add("is-stale");
    }
  }

  async function refreshExporter() {
    const part = document.getElementById("exporter");
    if (part.querySelector("details[open]") || part.contains(document.activeElement)) return;
    try {
      const text = await (await get(`./${location.search}`)).text();
      const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("exporter");
      if (fresh) part.replaceWith(fresh);
    } catch {
      // The notice of the figures says so.
    }
  }

  let timer = null;
  let exporterDue = Date.now() + EXPORTER_PERIOD;

  async function turn() {
    clearTimeout(timer);
    if (document.visibilityState !== "visible") return;
    await refresh();
    if (Date.now() >= exporterDue) {
      exporterDue = Date.now() + EXPORTER_PERIOD;
      await refreshExporter();
    }
    clearTimeout(timer);
    timer = setTimeout(turn, PERIOD);
  }

  main.classList.add("is-live");
  document.addEventListener("visibilitychange", turn);
  addEventListener("resize", drawCharts);
  turn();
})();
