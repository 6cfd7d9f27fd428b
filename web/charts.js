"use strict";
/* The charts of the page: each is made once and then only fed. Colours come from the style sheet, so that both schemes work. */
function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

/* A chart without points says so instead of numbering empty axes. */
const sayNothingYet = {
  id: "sayNothingYet",
  afterDraw(chart) {
    if (chart.data.datasets.some((series) => series.data.some((point) => Number.isFinite(point.y)))) return;
    const { ctx, chartArea: area } = chart;
    ctx.save();
    ctx.fillStyle = colour("--quiet");
    ctx.textAlign = "center";
    ctx.textBaseline = "middle";
    ctx.font = "13px system-ui, sans-serif";
    ctx.fillText("nothing yet", (area.left + area.right) / 2, (area.top + area.bottom) / 2);
    ctx.restore();
  },
};

function lineChart(id, series, { yFormat, min = 0, max, stacked = false, legend = false, xFormat }) {
  const grid = () => colour("--line");
  const chart = new Chart(document.getElementById(id), {
    type: "line",
    plugins: [sayNothingYet],
    data: { datasets: series.map((one) => ({
      label: one.label, data: [], borderColor: colour(one.colour), backgroundColor: colour(one.colour) + (one.fill ? "55" : "00"),
      fill: one.fill || false, borderWidth: one.dash ? 1.5 : 2, borderDash: one.dash || [], pointRadius: 0, pointHitRadius: 8,
      tension: one.dash ? 0 : 0.25, stack: one.dash ? one.label : "all",
    })) },
    options: {
      animation: false, maintainAspectRatio: false, parsing: false, normalized: true,
      interaction: { mode: "index", intersect: false, axis: "x" },
      scales: {
        x: { type: "linear", grid: { display: false }, ticks: { color: colour("--quiet"), maxTicksLimit: 5, maxRotation: 0, callback: (x) => (xFormat || format.clock)(x) } },
        y: { min, max, stacked, grid: { color: grid() }, ticks: { color: colour("--quiet"), maxTicksLimit: 5, callback: yFormat } },
      },
      plugins: {
        legend: { display: legend, position: "bottom", labels: { color: colour("--ink"), boxWidth: 14, boxHeight: 2 } },
        tooltip: { callbacks: {
          title: (items) => items.length ? (xFormat || format.clock)(items[0].parsed.x) : "",
          label: (item) => `${item.dataset.label}: ${yFormat(item.parsed.y)}`,
        } },
      },
    },
  });
  const label = chart.canvas.getAttribute("aria-label");
  return {
    chart,
    /* rows: one array of {x, y} per series; a y of NaN interrupts the line. range: [from, until] of x, by default the points'. */
    set(rows, range) {
      chart.data.datasets.forEach((series, i) => { series.data = rows[i] || []; });
      const all = rows[0] || [], some = all.some((point) => Number.isFinite(point.y));
      chart.options.scales.x.ticks.display = chart.options.scales.y.ticks.display = some;
      if (some) [chart.options.scales.x.min, chart.options.scales.x.max] = range || [all[0].x, all[all.length - 1].x];
      if (yFormat === format.bytes) {
        /* Whole binary steps, three to six of them. */
        const most = Math.max(1024, ...rows.flat().map((point) => point.y || 0));
        chart.options.scales.y.ticks.stepSize = 2 ** Math.floor(Math.log2(most / 3));
      }
      chart.canvas.setAttribute("aria-label", some ? label : `${label}: nothing yet`);
      chart.update("none");
    },
  };
}

function makeCharts() {
  return {
    hit: lineChart("chart-hit", [{ label: "hit rate", colour: "--series-2", fill: true }], { yFormat: (y) => `${y}%`, max: 100 }),
    rate: lineChart("chart-rate", [{ label: "lookups/s", colour: "--series-1", fill: true }], { yFormat: format.count }),
    latency: lineChart("chart-latency", [{ label: "p50", colour: "--series-1" }, { label: "p99", colour: "--series-3" }], { yFormat: format.seconds }),
    memory: lineChart("chart-memory", [
      { label: "memory tier", colour: "--series-1", fill: "origin" },
      { label: "warning", colour: "--series-3", dash: [5, 4] },
      { label: "critical", colour: "--series-5", dash: [5, 4] },
    ], { yFormat: format.bytes, legend: true }),
    resident: lineChart("chart-resident", [
      { label: "memory tier", colour: "--series-1", fill: true },
      { label: "storage map", colour: "--series-2", fill: true },
      { label: "heap", colour: "--series-3", fill: true },
      { label: "program", colour: "--series-6", fill: true },
    ], { yFormat: format.bytes, legend: true, stacked: true }),
    curve: lineChart("chart-curve", [
      { label: "expected hit rate", colour: "--series-4", fill: true },
      { label: "now", colour: "--series-2", dash: [3, 3] },
    ], { yFormat: (y) => `${Math.round(y)}%`, max: 100, xFormat: format.bytes }),
  };
}
