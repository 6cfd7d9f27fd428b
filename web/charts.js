"use strict";
/* The charts of the page: each is made once and then only fed. Colours come from the style sheet, so that both schemes work. */
function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

function lonely(points, i) {
  const none = (point) => !point || !Number.isFinite(point.y);
  return !none(points[i]) && none(points[i - 1]) && none(points[i + 1]);
}

/* A line needs two points: one that stands alone is a dot. */
const dotsForLonely = {
  id: "dotsForLonely",
  afterDatasetsDraw(chart) {
    const { ctx, scales } = chart;
    ctx.save();
    for (const series of chart.data.datasets) {
      ctx.fillStyle = series.borderColor;
      series.data.forEach((point, i) => {
        if (!lonely(series.data, i)) return;
        ctx.beginPath();
        ctx.arc(scales.x.getPixelForValue(point.x), scales.y.getPixelForValue(point.y), 3, 0, 2 * Math.PI);
        ctx.fill();
      });
    }
    ctx.restore();
  },
};

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

/* Round times, as many as there is room for. */
const timeAxis = {
  pixels: 76,
  ticks(scale, dated) {
    const ticks = timeTicks(scale.min, scale.max, Math.max(2, Math.floor(scale.width / timeAxis.pixels)));
    const words = timeWords(ticks, dated);
    return ticks.times.map((value, i) => ({ value, label: words[i] }));
  },
  title: (x, dated) => dated ? `${format.day(x)}, ${format.minute(x)}` : format.clock(x),
};

/* Sizes as multiples of the present one, equally far apart: x is the binary logarithm of the factor. */
const sizeAxis = {
  pixels: 68,
  ticks(scale, now) {
    const all = scale.width >= 7 * sizeAxis.pixels ? [-3, -2, -1, 0, 1, 2, 3] : [-1, 0, 1, 2];
    return all.map((value) => ({ value, label: [sizeAxis.factor(value), format.bytes(now * 2 ** value)] }));
  },
  factor: (x) => ({ "-3": "⅛×", "-2": "¼×", "-1": "½×" })[x] || `${Math.round(2 ** x * 100) / 100}×`,
  title: (x, now) => `${sizeAxis.factor(x)} ${format.bytes(now * 2 ** x)}`,
};

function lineChart(id, series, { yFormat, max, stacked = false, legend = false, axis = timeAxis }) {
  let about = null; /* what the axis needs to know besides its range */
  const chart = new Chart(document.getElementById(id), {
    type: "line",
    plugins: [dotsForLonely, sayNothingYet],
    data: { datasets: series.map((one) => ({
      label: one.label, data: [], fill: one.fill || false, borderWidth: one.dash ? 1.5 : 2, borderDash: one.dash || [], pointRadius: 0, pointHitRadius: 8,
      tension: one.dash ? 0 : 0.25, cubicInterpolationMode: "monotone", stack: one.dash ? one.label : "all",
    })) },
    options: {
      animation: false, maintainAspectRatio: false, parsing: false, normalized: true,
      interaction: { mode: "index", intersect: false, axis: "x" },
      scales: {
        x: { type: "linear", grid: { display: false }, afterBuildTicks: (scale) => { scale.ticks = axis.ticks(scale, about); },
          ticks: { maxRotation: 0, autoSkip: false, callback: (_, i, ticks) => ticks[i].label } },
        y: { min: 0, max, stacked, grid: { display: false }, ticks: { maxTicksLimit: 5, callback: yFormat } },
      },
      plugins: {
        legend: { display: legend, position: "bottom", labels: { boxWidth: 14, boxHeight: 2, padding: 8 } },
        tooltip: { callbacks: {
          title: (items) => items.length ? axis.title(items[0].parsed.x, about) : "",
          label: (item) => `${item.dataset.label}: ${yFormat(item.parsed.y)}`,
        } },
      },
    },
  });
  const label = chart.canvas.getAttribute("aria-label");
  const made = {
    chart,
    /* The colours of the scheme in force. */
    paint() {
      series.forEach((one, i) => Object.assign(chart.data.datasets[i], { borderColor: colour(one.colour), backgroundColor: colour(one.colour) + (one.fill ? "55" : "00") }));
      const { scales, plugins } = chart.options;
      scales.x.ticks.color = scales.y.ticks.color = colour("--quiet");
      scales.y.grid.color = colour("--line");
      plugins.legend.labels.color = colour("--ink");
      chart.update("none");
    },
    /* rows: one array of {x, y} per series; a y of NaN interrupts the line. range: [from, until] of x, by default the points'. */
    set(rows, range, more = null) {
      chart.data.datasets.forEach((one, i) => { one.data = rows[i] || []; });
      const all = rows[0] || [], some = all.some((point) => Number.isFinite(point.y));
      about = more;
      chart.options.scales.x.ticks.display = chart.options.scales.y.ticks.display = chart.options.scales.y.grid.display = some;
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
  made.paint();
  return made;
}

function makeCharts() {
  Chart.defaults.font.size = Math.round(parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.77);
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
      { label: "memory tier", colour: "--series-1", fill: "origin" },
      { label: "storage map", colour: "--series-2", fill: "-1" },
      { label: "heap", colour: "--series-3", fill: "-1" },
      { label: "program", colour: "--series-6", fill: "-1" },
    ], { yFormat: format.bytes, legend: true, stacked: true }),
    curve: lineChart("chart-curve", [
      { label: "expected hit rate", colour: "--series-4", fill: true },
      { label: "now", colour: "--series-2", dash: [3, 3] },
    ], { yFormat: (y) => `${Math.round(y)}%`, max: 100, axis: sizeAxis }),
  };
}
