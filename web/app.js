"use strict";
/* The page: shows the history and the snapshots that the link brings. Everything that is shown is set as text, never as markup. */
const el = (id) => document.getElementById(id);
const state = { paused: false, span: "seconds", last: null, levels: noLevels(), latencies: [], charts: null };

function text(id, value) { const node = el(id); if (node.textContent !== value) node.textContent = value; }

const tones = { healthy: "good", normal: "good", up: "good", connected: "good", info: "fair", degraded: "fair", warning: "fair", medium: "fair", high: "bad", critical: "bad", unhealthy: "bad", down: "bad" };
function pill(node, word, tone = tones[word] || "") {
  if (node.textContent !== word) node.textContent = word; /* what is announced is announced once */
  node.className = `pill ${tone}`;
  return node;
}

/* ------------------------------------------------------------------------------------------------------- tables */

function cell(value, kind) {
  const td = document.createElement("td");
  if (kind.endsWith("pill")) td.append(pill(document.createElement("span"), value));
  else td.textContent = value;
  td.className = kind.replace(/ ?pill/, "");
  return td;
}

/* rows: arrays of [value, kind]. */
function fill(id, rows, nothing) {
  const written = JSON.stringify(rows);
  if (el(id).dataset.written === written && el(id).tBodies[0].rows.length) return; /* what stands there stays, for readers and selections */
  el(id).dataset.written = written;
  const body = el(id).tBodies[0];
  body.replaceChildren(...rows.map((row) => {
    const tr = document.createElement("tr");
    tr.append(...row.map(([value, kind]) => cell(value, kind)));
    return tr;
  }));
  if (rows.length === 0) {
    const td = cell(nothing, "");
    td.colSpan = el(id).tHead.rows[0].cells.length;
    td.className = "quiet";
    body.append(document.createElement("tr"));
    body.rows[0].append(td);
  }
}

function item(parts) {
  const li = document.createElement("li");
  for (const [value, kind] of parts) {
    const node = document.createElement(kind === "code" ? "code" : kind === "advice" ? "div" : "span");
    if (kind === "pill") pill(node, value);
    else node.textContent = value;
    if (kind === "advice") node.className = "quiet";
    li.append(node, " ");
  }
  return li;
}

/* -------------------------------------------------------------------------------------------------------- panels */

/* A key without the admin flag is shown its own namespace, and no card that is of the whole. */
function isOwn(s) { return s.namespace !== undefined; }

/* "since the start", or since when the figures were reset. */
function sinceWords(s) {
  const since = Date.parse(s.traffic.since), started = s.time_ms - s.uptime_seconds * 1000;
  return since - started < 2000 ? "since the start" : `since ${format.day(since)}, ${format.clock(since)}`;
}

/* The big figures are of the last minute, those since the start or the last reset stand beside them. */
function showTraffic(s) {
  const t = s.traffic || { hits: 0, misses: 0, recent: {} };
  for (const node of document.querySelectorAll(".since")) node.textContent = s.traffic ? sinceWords(s) : "none yet, or counted with other idle namespaces:";
  const minute = lastMinute(state.levels.seconds), latency = lastMinuteLatency(state.latencies, s.time_ms);
  text("hit-now", minute.lookups ? format.percent(minute.hits / minute.lookups * 100) : "–");
  text("minute-lookups", minute.lookups ? `of ${format.count(minute.lookups)} in the last minute` : "no lookups in the last minute");
  text("hit-rate", t.hits + t.misses ? format.percent(t.hit_rate) : "–");
  text("hits", format.count(t.hits));
  text("misses", format.count(t.misses));
  text("per-second", format.count(minute.seconds ? minute.lookups / minute.seconds : NaN));
  text("second", format.count(t.recent.lookups_per_second));
  if (isOwn(s)) return;
  text("puts", format.count(t.puts));
  text("saved-tokens", format.count(t.saved.tokens));
  text("saved-cost", `${format.dollars(t.saved.cost_usd)} saved`);
  text("p50-now", format.seconds(latency.p50));
  text("p99-now", format.seconds(latency.p99));
  for (const p of ["p50", "p90", "p99", "p999"]) text(p, format.seconds(s.latency ? s.latency[p] : NaN));
}

function showPressure(p) {
  text("pressure", format.percent(p.current_pressure));
  pill(el("pressure-state"), p.current_state);
  text("pressure-detail", `peak ${format.percent(p.peak_pressure_30m)} in 30 min, ${p.pressure_trends.replace("_", " ")}` +
    (p.psi.available ? `, stalls ${format.percent(p.psi.some_avg10)}` : ""));
  const meter = el("pressure-meter");
  meter.value = p.current_pressure;
  meter.low = p.warning_percent;
  meter.high = p.critical_percent;
  el("pressure-actions").replaceChildren(...p.actions.slice(-3).map((a) => item([[format.clock(Date.parse(a.timestamp)), ""], [a.action, ""]])));
}

/* A projection that is null is one that is not known, which is no promise. */
function growthWords(m) {
  const evicts = m.evictions_per_minute > 0 ? ` · evicts ${format.count(m.evictions_per_minute)} a minute` : "";
  if (m.at_limit) return `full: the least useful leaves${evicts}`;
  const rate = m.growth_bytes_per_hour, over = `over the last ${format.span(m.growth_span_seconds)}`;
  if (rate === null) return `growth not known yet${evicts}`;
  if (rate === 0) return `steady ${over}${evicts}`;
  if (rate < 0) return `shrinking by ${format.bytes(-rate)}/h ${over}${evicts}`;
  const ahead = m.projected_seconds_to_limit;
  return `grows ${format.bytes(rate)}/h ${over} · ${ahead === null ? "when it is full is not known yet" : `full in ${format.span(ahead)}`}${evicts}`;
}

function showMemory(s) {
  const m = s.memory;
  const off = m.max_bytes === 0;
  text("memory-used", off ? "The memory tier is off (memory.max_bytes 0)" : `${format.bytes(m.bytes)} of ${format.bytes(m.max_bytes)}`);
  text("process", format.bytes(m.process_bytes));
  text("growth", off ? "" : `· ${growthWords(m)}`);
  const all = s.breakdown.reduce((sum, part) => sum + part.bytes, 0);
  fill("breakdown", s.breakdown.filter((part) => part.bytes > 0).sort((a, b) => b.bytes - a.bytes).map((part) => [[part.owner.replaceAll("_", " "), ""], [format.bytes(part.bytes), "number"], [format.percent(part.bytes / all * 100), "number"]]), "not measured yet");
}

function showCurve(s) {
  const c = s.curve;
  if (!c || !c.known) { text("curve-note", s.memory.max_bytes === 0 ? "The memory tier is off." : "Not enough lookups yet to draw the curve."); state.charts.curve.set([[], []]); return; }
  const at = (factor) => c.points.find((p) => p.factor === factor).hit_rate;
  text("curve-note", `answered from memory with half ${format.percent(at(0.5))} · now ${format.percent(at(1))} · double ${format.percent(at(2))} · four times ${format.percent(at(4))}`);
  const points = c.points.map((p) => ({ x: Math.log2(p.factor), y: p.hit_rate }));
  const now = c.points.find((p) => p.factor === 1);
  state.charts.curve.set([points, [{ x: 0, y: 0 }, { x: 0, y: 100 }]], null, now.bytes);
}

/* Every alert that is open is a warning. */
function showWarnings(s) {
  const list = s.warnings.map((w) => item([[w.severity, "pill"], [w.message, ""],
    ...w.recommendations.map((r) => [`${r.setting}: ${r.setting.endsWith("bytes") ? format.bytes(r.value) : r.value}. ${r.reason}`, "advice"])]));
  el("warnings").replaceChildren(...(list.length ? list : [item([["Nothing to report.", ""]])]));
}

function showTables(s) {
  fill("top", s.top.map((r) => [[r.namespace, "words"], [r.operation, "words"], [format.count(r.lookups), "number"], [format.percent(r.hit_rate), "number"]]), "no lookups yet");
  if (isOwn(s)) return;
  const t = s.tiers;
  fill("tiers", [
    [["memory", ""], [format.count(t.memory.entries), "number"], [format.bytes(t.memory.bytes), "number"], [format.count(t.memory.hits), "number"], [format.count(t.memory.evicted), "number"], [t.memory.max_bytes > 0 ? "up" : "off", "number pill"]],
    [[`storage (${t.storage.kind})`, ""], [format.count(t.storage.entries), "number"], [format.bytes(t.storage.bytes), "number"], [format.count(t.storage.hits), "number"], [format.count(t.storage.evicted), "number"], [t.storage.status, "number pill"]],
  ]);
  fill("health", s.health.parts.map((p) => [[p.name, ""], [p.status, "pill"], [p.details, "words"]]));
  fill("slow", s.slow.map((r) => [[format.clock(Date.parse(r.timestamp)), ""], [r.what, "words"], [format.seconds(r.duration), "number"], [`${r.times_slower.toFixed(1)}×`, "number"]]), "none");
}

/* -------------------------------------------------------------------------------------------------------- series */

function drawSeries() {
  if (!state.last) return;
  const { range, ...rows } = rowsOf(shown(state.levels, state.span, sampleOf(state.last)), state.span, state.last.memory);
  for (const [name, points] of Object.entries(rows)) state.charts[name].set(points, range, state.span !== "seconds");
  /* Latencies are not kept in the history: this chart shows the last ten minutes of this tab, whatever the span. */
  const latencies = state.latencies;
  const seconds = state.levels.seconds;
  const live = latencies.length ? [Math.min(seconds[0].time_ms, latencies[0].time_ms), state.last.time_ms] : null;
  state.charts.latency.set(["p50", "p99"].map((p) => interrupt(latencies.map((l) => ({ x: l.time_ms, y: l[p] })), IDLE * gapOf("seconds"))), live);
}

/* Latencies outlive a reload in the tab's own storage. */
const KEPT = "aicache-latencies";

function keepLatencies() { sessionStorage.setItem(KEPT, JSON.stringify(state.latencies)); }

function keptLatencies() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT)) || [];
  } catch {
    return [];
  }
}

function clearFigures() {
  sessionStorage.removeItem(KEPT);
  Object.assign(state, { last: null, levels: noLevels(), latencies: [] });
  for (const node of document.querySelectorAll("#main span[id]")) node.textContent = "–";
  el("pressure-state").className = "pill";
  for (const node of document.querySelectorAll("#main tbody, #main ul")) node.replaceChildren();
  el("pressure-meter").value = 0;
  for (const id of ["curve-note", "minute-lookups"]) text(id, "–");
  for (const chart of Object.values(state.charts)) chart.set([]);
}

function show(s) {
  state.last = s;
  carryOn(state.levels, sampleOf(s));
  if (s.latency_recent) state.latencies.push({ time_ms: s.time_ms, weight: s.traffic.recent.lookups_per_second || 1, ...s.latency_recent });
  /* Of the future are those from before a clock was put back. */
  while (state.latencies.length && state.latencies[state.latencies.length - 1].time_ms > s.time_ms) state.latencies.pop();
  while (state.latencies.length && state.latencies[0].time_ms < s.time_ms - LEVELS.seconds.kept * 1000) state.latencies.shift();
  pill(el("overall"), s.health.status);
  const minute = lastMinute(state.levels.seconds);
  document.title = `aicache – ${s.health.status}${minute.lookups ? `, ${format.percent(minute.hits / minute.lookups * 100)} hits` : ""}`;
  document.body.classList.toggle("own", isOwn(s));
  text("about", `${isOwn(s) ? `${s.namespace} · ` : ""}${s.version} · up ${format.span(s.uptime_seconds)}${state.paused ? ` · paused at ${format.clock(state.paused)}` : ""}`);
  if (!state.paused && !document.hidden) showFigures(s);
}

function showFigures(s) {
  showTraffic(s);
  showTables(s);
  if (!isOwn(s)) {
    showPressure(s.pressure);
    showMemory(s);
    showCurve(s);
    showWarnings(s);
  }
  drawSeries();
}

/* ------------------------------------------------------------------------------------------------------ controls */

function setSpan(span) {
  state.span = span;
  el("span").value = span;
  drawSeries();
}

/* Health and title go on while the figures stand still. */
function setPaused(paused) {
  state.paused = paused ? Date.now() : false;
  el("pause").setAttribute("aria-pressed", String(paused));
  text("pause", paused ? "Resume" : "Pause");
}

el("span").addEventListener("change", (event) => setSpan(event.target.value));
el("pause").addEventListener("click", () => setPaused(!state.paused));
el("login").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(el("key").value.trim());
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (event.key === "p") setPaused(!state.paused);
  const span = { 1: "seconds", 2: "minutes", 3: "hours" }[event.key];
  if (span) setSpan(span);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Object.values(state.charts).forEach((chart) => chart.paint()));

document.addEventListener("visibilitychange", () => {
  watch();
  if (!document.hidden && state.last && !state.paused) showFigures(state.last);
});

addEventListener("pagehide", keepLatencies);

state.charts = makeCharts();
const kept = keptLatencies();
clearFigures();
state.latencies = kept;
setInterval(watch, WATCH_MS);
follow();
