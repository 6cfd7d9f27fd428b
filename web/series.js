"use strict";
/*
 * The series of the charts: the three levels of the history as the daemon gave them, carried on from the stream. A snapshot enters a level when the level's
 * period has passed since its last sample, which is the daemon's own rule, so nothing is asked for again while the page is open.
 */
const LEVELS = { seconds: { period: 1000, kept: 600 }, minutes: { period: 60000, kept: 1440 }, hours: { period: 3600000, kept: 720 } };
const GAP = 3;        /* so many periods between two samples, and nobody was measuring: a restart, or a page that slept */
const GAP_MS = 5000;  /* at least */
const IDLE = 12;      /* so many gaps without a lookup, and a line about lookups is interrupted */
const TOO_SOON = 0.5; /* of a period: the same moment, told by the history and by the stream */

function gapOf(span) { return Math.max(GAP_MS, GAP * LEVELS[span].period); }

function noLevels() { return { seconds: [], minutes: [], hours: [] }; }

/* The rows of a level of the history as objects. */
function samplesOf(level) {
  return level.samples.map((row) => Object.fromEntries(level.figures.map((name, i) => [name, row[i]])));
}

function levelsOf(history) {
  return Object.fromEntries(Object.keys(LEVELS).map((name) => [name, samplesOf(history[name])]));
}

function sampleOf(s) {
  if (s.namespace !== undefined) return { time_ms: s.time_ms, hits: s.traffic ? s.traffic.hits : 0, misses: s.traffic ? s.traffic.misses : 0 };
  return { ...s.memory, time_ms: s.time_ms, memory_bytes: s.memory.bytes, hits: s.traffic.hits, misses: s.traffic.misses };
}

/* Carries the levels on with a new sample. Samples later than it are of a clock that was put back, and go. */
function carryOn(levels, sample) {
  for (const [name, { period, kept }] of Object.entries(LEVELS)) {
    const samples = levels[name];
    while (samples.length && samples[samples.length - 1].time_ms > sample.time_ms) samples.pop();
    const wait = name === "seconds" ? period * TOO_SOON : period;
    if (samples.length && sample.time_ms - samples[samples.length - 1].time_ms < wait) continue;
    samples.push(sample);
    if (samples.length > kept) samples.shift();
  }
}

/* What a span shows: its level and, behind it, this moment. A level that has not begun shows nothing. */
function shown(levels, span, now) {
  const samples = levels[span];
  if (samples.length < 2) return [];
  return now && now.time_ms > samples[samples.length - 1].time_ms ? [...samples, now] : samples;
}

/* Interrupts a line where two points are more than `ms` apart. */
function interrupt(points, ms) {
  return points.flatMap((point, i) => i > 0 && point.x - points[i - 1].x > ms ? [{ x: point.x - 1, y: NaN }, point] : [point]);
}

/* One point for each pair of neighbours that were measured one after the other by one process; null from fn leaves one out. */
function between(samples, gap, fn) {
  const out = [];
  for (let i = 1; i < samples.length; i++) {
    const a = samples[i - 1], b = samples[i], ms = b.time_ms - a.time_ms;
    const y = ms > 0 && ms <= gap && b.hits >= a.hits && b.misses >= a.misses ? fn(b.hits - a.hits, b.misses - a.misses, ms / 1000) : null;
    if (y !== null) out.push({ x: b.time_ms, y });
  }
  return out;
}

const MINUTE_MS = 60000;

/* Hits and lookups of the last minute, and the seconds that were counted. */
function lastMinute(samples) {
  const sum = { hits: 0, lookups: 0, seconds: 0 };
  if (samples.length === 0) return sum;
  const from = samples[samples.length - 1].time_ms - MINUTE_MS;
  between(samples.filter((s) => s.time_ms >= from), GAP_MS, (hits, misses, seconds) => {
    sum.hits += hits;
    sum.lookups += hits + misses;
    sum.seconds += seconds;
    return null;
  });
  return sum;
}

/* The latency of the last minute from its seconds: the median of their medians, each as often as it had lookups, and the worst 99th percentile of a second. */
function lastMinuteLatency(latencies, now) {
  const recent = latencies.filter((l) => l.time_ms >= now - MINUTE_MS).sort((a, b) => a.p50 - b.p50);
  let half = recent.reduce((sum, l) => sum + l.weight, 0) / 2;
  const middle = recent.find((l) => (half -= l.weight) <= 0);
  return { p50: middle ? middle.p50 : NaN, p99: Math.max(...recent.map((l) => l.p99)) };
}

const RESIDENT = ["tier", "storage", "heap", "program"];

/* The rows of each chart from the samples of a span; every chart is named, so that one without samples is cleared. */
function rowsOf(samples, span, memory) {
  const gap = gapOf(span);
  const range = samples.length ? [samples[0].time_ms, samples[samples.length - 1].time_ms] : null;
  const level = (value) => range ? range.map((x) => ({ x, y: value })) : [];
  const measured = (fn) => interrupt(samples.map((s) => ({ x: s.time_ms, y: fn(s) })), gap);
  const rates = between(samples, gap, (hits, misses) => hits + misses > 0 ? Math.round(hits / (hits + misses) * 1000) / 10 : null);
  return {
    range,
    memory: memory ? [measured((s) => s.memory_bytes), ...["warning_bytes", "critical_bytes"].map((name) => memory[name] <= memory.max_bytes ? level(memory[name]) : [])] : [], /* those that somebody set */
    resident: RESIDENT.map((part) => measured((s) => s[`resident_${part}_bytes`] || 0)),
    hit: [interrupt(rates, IDLE * gap)],
    rate: [interrupt(between(samples, gap, (hits, misses, s) => (hits + misses) / s), gap)],
  };
}
