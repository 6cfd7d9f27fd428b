"use strict";
const clocks = {
  second: new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" }),
  minute: new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }),
  day: new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" }),
};

/* Numbers as people read them. Pure functions; everything that is shown goes through one of them. */
const format = {
  bytes(value) {
    if (!Number.isFinite(value)) return "–";
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    while (Math.abs(value) >= 1024 && unit < units.length - 1) { value /= 1024; unit++; }
    return `${value.toFixed(unit === 0 || Math.abs(value) >= 100 ? 0 : 1)} ${units[unit]}`;
  },
  count(value) {
    if (!Number.isFinite(value)) return "–";
    if (Math.abs(value) < 100000) return value.toLocaleString("en-US", { maximumFractionDigits: value < 10 && value % 1 ? 1 : 0 });
    return Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 }).format(value);
  },
  percent(value) { return Number.isFinite(value) ? `${value.toFixed(1)}%` : "–"; },
  seconds(value) {
    if (!Number.isFinite(value)) return "–";
    if (value === 0) return "0 s";
    if (value < 1e-3) return `${(value * 1e6).toFixed(value < 1e-5 ? 1 : 0)} µs`;
    if (value < 1) return `${(value * 1e3).toFixed(value < 1e-2 ? 1 : 0)} ms`;
    return `${value.toFixed(1)} s`;
  },
  span(value) {
    if (!Number.isFinite(value)) return "–";
    const units = [[86400, "d"], [3600, "h"], [60, "min"]];
    for (const [size, name] of units) if (value >= size) return `${(value / size).toFixed(value >= 10 * size ? 0 : 1)} ${name}`;
    return `${Math.round(value)} s`;
  },
  dollars(value) { return Number.isFinite(value) ? `$${value.toFixed(value < 10 ? 3 : 2)}` : "–"; },
  clock: (ms) => clocks.second.format(ms),
  minute: (ms) => clocks.minute.format(ms),
  day: (ms) => clocks.day.format(ms),
};
