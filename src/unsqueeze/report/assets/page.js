/* Starts the page: figures, the slider, what is saved, the theme. */
import { follow, startBrowser } from "./browser.js";
import { report } from "./data.js";
import { draw, numbersOf, svgOf, theme } from "./figures.js";
import { element } from "./text.js";

/** The figure that stands in each place now, by its element. @type {Map<HTMLElement, any>} */
const standing = new Map();

/** @param {string} name @param {string} content @param {string} type */
function save(name, content, type) {
  const link = /** @type {HTMLAnchorElement} */ (element("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** @param {HTMLElement} box the figure element @param {any} figure */
function show(box, figure) {
  standing.set(box, figure);
  const plot = /** @type {HTMLElement} */ (box.querySelector(".plot"));
  return draw(plot, figure, (key) => void follow(key));
}

/** @param {HTMLElement} box */
function addTools(box) {
  const caption = /** @type {HTMLElement} */ (box.querySelector("figcaption"));
  const readout = /** @type {HTMLDetailsElement} */ (element("details", { className: "readout-box" }, element("summary", {}, "The numbers as text")));
  readout.addEventListener("toggle", () => {
    readout.querySelector("ul")?.remove();
    if (readout.open) readout.append(numbersOf(standing.get(box)));
  });
  caption.after(
    element("p", { className: "saves" },
      element("button", { type: "button", onclick: () => svgOf(standing.get(box), 800, 520).then((svg) => save(`${standing.get(box).name}.svg`, svg, "image/svg+xml")) }, "SVG"), " ",
      element("button", { type: "button", onclick: () => printOne(box) }, "PDF")),
    readout);
}

/** Prints one figure, which any browser saves as PDF. @param {HTMLElement} box */
async function printOne(box) {
  const before = theme();
  await setTheme("light");
  document.body.classList.add("one-figure");
  box.classList.add("printed");
  box.closest("section")?.classList.add("printed");
  window.addEventListener("afterprint", () => {
    document.body.classList.remove("one-figure");
    document.querySelectorAll(".printed").forEach((each) => each.classList.remove("printed"));
    void setTheme(before);
  }, { once: true });
  window.print();
}

/** @param {"dark"|"light"} wanted */
function setTheme(wanted) {
  document.documentElement.dataset.theme = wanted;
  document.getElementById("theme")?.setAttribute("aria-pressed", String(wanted === "dark"));
  return Promise.all([...standing].map(([box, figure]) => show(box, figure)));
}

function startTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  document.documentElement.dataset.theme = system.matches ? "dark" : "light";
  system.addEventListener("change", () => setTheme(system.matches ? "dark" : "light"));
  document.getElementById("theme")?.addEventListener("click", () => setTheme(theme() === "dark" ? "light" : "dark"));
  document.getElementById("print")?.addEventListener("click", () => window.print());
}

function startPlane() {
  const box = document.getElementById("figure-plane");
  const choice = report.plane;
  if (!box || !choice) return;
  const slider = /** @type {HTMLInputElement} */ (document.getElementById("k"));
  const shown = /** @type {HTMLElement} */ (document.getElementById("k-value"));
  slider.max = String(choice.figures.length - 1);
  slider.value = String(choice.shown);
  const update = () => {
    const place = Number(slider.value);
    shown.textContent = choice.values[place];
    slider.setAttribute("aria-valuetext", `k = ${choice.values[place]}`);
    /** @type {HTMLElement} */ (box.querySelector("figcaption")).textContent = choice.figures[place].says;
    void show(box, choice.figures[place]);
  };
  slider.addEventListener("input", update);
  update();
  addTools(box);
}

/** Figures are drawn when they come near the window: the first screen does not wait for the others. */
function startFigures() {
  /** @type {Map<Element, any>} */
  const waiting = new Map();
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const figure = waiting.get(entry.target);
      if (entry.isIntersecting && figure) {
        waiting.delete(entry.target);
        watch.unobserve(entry.target);
        void show(/** @type {HTMLElement} */ (entry.target), figure);
      }
    }
  }, { rootMargin: "400px" });
  for (const figure of report.figures) {
    const box = document.getElementById(`figure-${figure.name}`);
    if (!box) continue;
    waiting.set(box, figure);
    standing.set(box, figure);
    addTools(box);
    watch.observe(box);
  }
}

function startTables() {
  const ends = /** @type {Record<string, [string, string]>} */ ({ csv: [".csv", "text/csv"], markdown: [".md", "text/markdown"], latex: [".tex", "text/x-tex"] });
  for (const button of document.querySelectorAll("button[data-table]")) {
    const { table, form } = /** @type {HTMLElement} */ (button).dataset;
    button.addEventListener("click", () => {
      const [end, type] = ends[String(form)];
      save(`${table}${end}`, report.tables[String(table)][String(form)], type);
    });
  }
}

/** Loads the page again while training goes on, where nobody is reading rollouts. */
function startReloading() {
  if (!report.reload_s) return;
  setTimeout(() => {
    if (document.querySelector("#group-view .card")) startReloading();
    else location.reload();
  }, 1000 * report.reload_s);
}

startTheme();
startPlane();
startFigures();
startTables();
startBrowser();
startReloading();
