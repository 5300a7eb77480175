/* Figures as values (unsqueeze/report/figures.py), drawn with Plotly. */
import { element, visible } from "./text.js";
import { report } from "./data.js";

const MARKERS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x"];

/**
 * Plotly reads texts as HTML of its own: nothing of ours may be any.
 * @param {string} text
 */
export function plain(text) {
  return visible(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** @param {string} name */
function themed(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** @returns {"dark"|"light"} */
export function theme() {
  return document.documentElement.dataset.theme === "dark" ? "dark" : "light";
}

/** @param {number} number @param {"dark"|"light"} [of] */
export function colorOf(number, of) {
  const colors = report.colors[of ?? theme()];
  return number < 0 ? colors[0] : colors[1 + (number % (colors.length - 1))];
}

/** @param {string} hex @param {number} alpha */
function faded(hex, alpha) {
  const [r, g, b] = [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
}

/**
 * @param {Array<number|null>} values @param {Array<number|null>} low @param {Array<number|null>} high
 */
function errorBars(values, low, high) {
  return {
    type: "data", symmetric: false, thickness: 1.2, width: 3,
    array: values.map((value, i) => (value === null || high[i] === null ? 0 : high[i] - value)),
    arrayminus: values.map((value, i) => (value === null || low[i] === null ? 0 : value - low[i])),
  };
}

/**
 * @param {any} series
 * @param {"dark"|"light"} [of]
 * @returns {any[]} traces of Plotly
 */
export function traces(series, of) {
  const color = colorOf(series.color, of);
  const common = {
    name: plain(series.name), legendgroup: series.name, showlegend: series.in_legend, customdata: series.keys,
    text: series.text.map(plain), hovertemplate: series.text.length ? "%{text}<extra></extra>" : undefined,
  };
  if (series.kind === "bars") {
    return [{ ...common, type: "bar", textposition: "none", x: series.x, y: series.y, marker: { color, pattern: { fillmode: "overlay", shape: ["", "/", "\\", "x", "-", "|", "+"][(series.color + 1) % 7], fgcolor: faded("#ffffff", 0.55), size: 6, solidity: 0.25 } } }];
  }
  if (series.kind === "band") {
    return [{
      ...common, type: "scatter", mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: faded(color, 0.16), hoverinfo: "skip",
      hovertemplate: undefined, x: [...series.x, ...series.x.toReversed()], y: [...series.high, ...series.low.toReversed()],
    }];
  }
  const last = series.x.length - 1;
  const trace = {
    ...common, type: "scatter", x: series.x, y: series.y,
    mode: series.kind === "line" ? "lines" : series.kind === "points" ? "markers" : "lines+markers",
    line: { color, width: 2.4, dash: series.dashed ? "dot" : "solid" },
    marker: {
      color, symbol: series.color < 0 ? "diamond" : MARKERS[series.color % MARKERS.length],
      size: series.x.map((_, i) => (i === last || series.kind === "points" ? 12 : 6)),
      line: { color: themed("--paper"), width: 1 },
    },
  };
  if (series.low.length) trace.error_y = { ...errorBars(series.y, series.low, series.high), color: faded(color, 0.65) };
  if (series.x_low.length) trace.error_x = { ...errorBars(series.x, series.x_low, series.x_high), color: faded(color, 0.65) };
  return [trace];
}

/**
 * @param {any} figure
 * @param {"dark"|"light"} [of]
 * @returns {any} layout of Plotly
 */
export function layout(figure, of) {
  const onPaper = of === "light" && theme() === "dark";
  const ink = onPaper ? "#16191d" : themed("--ink");
  const line = onPaper ? "#d8dce1" : themed("--line");
  const axis = (/** @type {any} */ each) => ({
    title: { text: plain(each.title), font: { size: 12 }, standoff: 8 }, gridcolor: line, zeroline: false, linecolor: line,
    automargin: true, ...(each.log2 ? { type: "log", tickvals: each.ticks, ticktext: each.ticks.map(String) } : {}),
  });
  const annotations = [];
  // The lower of two ends has its name below it, so that names of neighbours do not cover each other.
  const named = figure.series.filter((/** @type {any} */ each) => each.label && each.x.length > 0 && each.y.at(-1) !== null)
    .toSorted((/** @type {any} */ a, /** @type {any} */ b) => b.y.at(-1) - a.y.at(-1));
  for (const [place, series] of named.entries()) {
    const last = series.x.length - 1;
    annotations.push({
      x: figure.x.log2 ? Math.log10(series.x[last]) : series.x[last], y: series.y[last], text: `<b>${plain(series.label)}</b>`,
      showarrow: false, xanchor: "left", yanchor: place > 0 && place === named.length - 1 ? "top" : "bottom", xshift: 7, yshift: place > 0 && place === named.length - 1 ? -2 : 2, font: { color: colorOf(series.color, of), size: 13 },
    });
  }
  const shapes = figure.spans.map((/** @type {any} */ span) => {
    const [x0, x1] = figure.x.log2 ? [Math.log10(span.start), Math.log10(span.end)].map((each) => 10 ** each) : [span.start, span.end];
    return {
      type: x0 === x1 ? "line" : "rect", xref: "x", yref: "paper", x0, x1, y0: 0, y1: 1, layer: "below",
      line: x0 === x1 ? { color: ink, width: 1.2, dash: "dash" } : { width: 0 }, fillcolor: faded(colorOf(span.color, of), 0.25),
    };
  });
  const crossings = figure.spans.filter((/** @type {any} */ span) => span.start === span.end);
  for (const [place, span] of crossings.entries()) {
    annotations.push({ x: figure.x.log2 ? Math.log10(span.start) : span.start, y: 0.02 + 0.07 * place, yref: "paper", text: plain(span.label), showarrow: false, xanchor: "left", xshift: 4, font: { size: 11, color: ink } });
  }
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 12, family: "system-ui, sans-serif" },
    margin: { l: 8, r: 14, t: 8, b: 8 }, hovermode: "closest", dragmode: "zoom", barmode: "group", bargap: 0.2,
    xaxis: { ...axis(figure.x), ...(figure.series.some((/** @type {any} */ each) => each.kind === "bars") ? { type: "category" } : {}) }, yaxis: axis(figure.y), annotations, shapes,
    legend: { orientation: "h", y: -0.2, yanchor: "top", x: 0, font: { size: 12 } },
    showlegend: figure.series.filter((/** @type {any} */ each) => each.in_legend).length > 1,
  };
}

/**
 * Draws a figure into its place; a click upon a point is handed on.
 * @param {HTMLElement} place
 * @param {any} figure
 * @param {(key: string) => void} onKey
 */
export function draw(place, figure, onKey) {
  const data = figure.series.flatMap((/** @type {any} */ each) => traces(each));
  place.setAttribute("aria-label", figure.says);
  return Plotly.react(place, data, layout(figure), { displayModeBar: false, responsive: true }).then(() => {
    const plot = /** @type {any} */ (place);
    plot.removeAllListeners("plotly_click");
    plot.on("plotly_click", (/** @type {any} */ event) => {
      const key = event.points[0]?.customdata;
      if (typeof key === "string" && key) onKey(key);
    });
  });
}

/**
 * The numbers of a figure as a table of text.
 * @param {any} figure
 */
export function numbersOf(figure) {
  const rows = figure.series.flatMap((/** @type {any} */ series) =>
    series.text.length
      ? series.text.map((/** @type {string} */ text) => element("li", {}, visible(text)))
      : series.kind === "line" ? series.x.map((/** @type {any} */ x, /** @type {number} */ i) => element("li", {}, `${visible(series.name)}: ${x}, ${series.y[i]}`)) : []);
  return element("ul", { className: "readout" }, ...rows);
}

/**
 * A figure as SVG, in the colours of paper.
 * @param {any} figure
 * @param {number} width @param {number} height
 * @returns {Promise<string>}
 */
export async function svgOf(figure, width, height) {
  const whole = layout(figure, "light");
  const url = await Plotly.toImage(
    { data: figure.series.flatMap((/** @type {any} */ each) => traces(each, "light")), layout: { ...whole, width, height, paper_bgcolor: "#ffffff", margin: { l: 60, r: 20, t: 20, b: 60 } } },
    { format: "svg", width, height },
  );
  return decodeURIComponent(url.slice(url.indexOf(",") + 1));
}
