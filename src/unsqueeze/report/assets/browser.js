/* The browser of rollouts: a list of groups, and the group that is open, all its rollouts side by side. */
import { report } from "./data.js";
import { find, groups, inside, named, permalink, tokensOf } from "./rollouts.js";
import { element, mathParts, visible } from "./text.js";

const LIST_AT_ONCE = 200;
const CARDS_AT_ONCE = 24;
const CHARACTERS_AT_ONCE = 3000;
const BADGES = /** @type {Record<string, string>} */ ({ c: "✓ correct", w: "✗ wrong", u: "? unparsable", t: "⧖ timed out", l: "⧖ too large", x: "! crashed", g: "! unreadable gold" });

/** @param {string} id */
const byId = (id) => /** @type {any} */ (document.getElementById(id));

/** What is listed, in order. @type {{group: number, places: number[]}[]} */
let listed = [];
/** The place in the list of the group that is open; −1: it is not in the list. */
let open = -1;
let opened = -1;
let beside = -1;
let search = 0;

/** @returns {import("./rollouts.js").Wanted} */
function wanted() {
  return {
    run: byId("f-run").value, kind: byId("f-kind").value, step: byId("f-step").value, phase: byId("f-phase").value,
    problem: byId("f-problem").value, verdict: byId("f-verdict").value, text: byId("f-text").value,
    truncated: byId("f-truncated").checked, chosen: byId("f-chosen").checked, bin: byId("f-bin").value,
  };
}

/** @param {Partial<import("./rollouts.js").Wanted>} values */
function want(values) {
  const whole = /** @type {any} */ ({ run: "", kind: "", step: "", phase: "", problem: "", verdict: "", text: "", truncated: false, chosen: false, bin: "", ...values });
  for (const [name, value] of Object.entries(whole)) {
    const field = byId(`f-${name}`);
    if (typeof value === "boolean") field.checked = value;
    else field.value = value;
  }
}

async function list() {
  search += 1;
  const mine = search;
  const status = byId("rollout-status");
  const found = await find(wanted(), (share) => {
    status.textContent = `Reading texts: ${Math.round(100 * share)} %`;
    return mine === search;
  });
  if (mine !== search) return;
  listed = found;
  const count = found.reduce((sum, each) => sum + each.places.length, 0);
  status.textContent = `${found.length.toLocaleString("en")} groups, ${count.toLocaleString("en")} rollouts`;
  byId("group-list").replaceChildren();
  more();
}

function more() {
  const box = byId("group-list");
  box.querySelector(".more")?.remove();
  const start = box.children.length;
  const rows = listed.slice(start, start + LIST_AT_ONCE).map(({ group: number, places }, offset) => {
    const group = groups[number];
    const problem = report.rollouts.problems[group.problem];
    const button = element("button", { type: "button", className: "group", onclick: () => openGroup(number, start + offset) },
      element("span", { className: "share", title: `${group.right} of ${group.size} right` }, element("i", { style: `width:${(100 * group.right) / Math.max(1, group.size)}%` })),
      element("span", { className: "counts" }, `${group.right}/${group.size}${places.length < group.size ? ` · ${places.length} match` : ""}`),
      element("bdi", {}, visible(problem.id)),
      element("small", {}, visible(describe(number))));
    button.dataset.group = String(number);
    return element("li", {}, button);
  });
  box.append(...rows);
  if (start + rows.length < listed.length) {
    box.append(element("li", { className: "more" }, element("button", { type: "button", onclick: more }, `${(listed.length - start - rows.length).toLocaleString("en")} more groups`)));
  }
  mark();
}

/** @param {number} number */
function describe(number) {
  const { run, kind, step, phase } = groups[number];
  if (kind === "evaluation") return step === null ? run : `${run}, evaluation after step ${step}`;
  return `${run}, rollouts of step ${step}, phase ${phase}`;
}

function mark() {
  for (const button of document.querySelectorAll("#group-list button.group")) {
    const isOpen = /** @type {HTMLElement} */ (button).dataset.group === String(opened);
    button.setAttribute("aria-current", isOpen ? "true" : "false");
  }
}

/**
 * Opens a group.
 * @param {number} number @param {number} place in the list @param {{index?: number|null, beside?: number, scroll?: boolean}} [how]
 */
export async function openGroup(number, place, how = {}) {
  opened = number;
  open = place;
  beside = how.beside ?? -1;
  mark();
  const index = how.index ?? null;
  history.replaceState(null, "", permalink(number, index ?? undefined));
  const columns = [await column(number, index)];
  if (beside >= 0) columns.push(await column(beside, null));
  if (opened !== number) return;
  const box = byId("group-view");
  box.replaceChildren(bar(number), element("div", { className: beside >= 0 ? "columns two" : "columns" }, ...columns));
  const target = index === null ? null : box.querySelector(`[data-index="${index}"]`);
  if (target) target.scrollIntoView({ block: "center" });
  else if (how.scroll) byId("rollouts").scrollIntoView();
}

/** @param {number} number */
function bar(number) {
  const problem = report.rollouts.problems[groups[number].problem];
  const others = groups.flatMap((each, place) => (each.problem === groups[number].problem && place !== number ? [place] : []));
  const select = element("select", { onchange: (/** @type {Event} */ event) => openGroup(number, open, { beside: Number(/** @type {HTMLSelectElement} */ (event.target).value) }) },
    element("option", { value: "-1" }, others.length > 0 ? "nothing" : "nothing else of this problem"),
    ...others.slice(0, 500).map((place) => element("option", { value: String(place), selected: place === beside }, `${visible(describe(place))}: ${groups[place].right}/${groups[place].size}`)));
  return element("div", { className: "bar" },
    element("h3", {}, element("bdi", {}, visible(problem.id)), problem.benchmark ? ` · ${visible(problem.benchmark)}` : ""),
    problem.prompt === null ? "" : element("p", { className: "prompt" }, ...worded(problem.prompt)),
    problem.gold === null ? "" : element("p", { className: "gold" }, "gold answer: ", element("bdi", {}, ...worded(problem.gold, true))),
    element("p", { className: "moves" },
      element("button", { type: "button", onclick: () => move(-1), title: "key: ←" }, "← previous"), " ",
      element("button", { type: "button", onclick: () => move(1), title: "key: →" }, "next →"), " ",
      element("label", {}, "beside it ", select)));
}

/**
 * @param {number} number @param {number|null} index
 */
async function column(number, index) {
  const group = groups[number];
  const content = await inside(group);
  const match = listed.find((each) => each.group === number);
  const places = new Set(match ? match.places : Array.from({ length: group.size }, (_, place) => place));
  const order = sorted(content, group.size);
  if (index !== null) order.sort((a, b) => Number(content.index[b] === index) - Number(content.index[a] === index));
  order.sort((a, b) => Number(places.has(b)) - Number(places.has(a)));
  const cards = element("div", { className: "cards" });
  const fill = () => {
    cards.querySelector(":scope > .more")?.remove();
    const start = cards.children.length;
    cards.append(...order.slice(start, start + CARDS_AT_ONCE).map((place) => card(number, content, place, places.has(place))));
    if (start + CARDS_AT_ONCE < order.length) cards.append(element("p", { className: "more" }, element("button", { type: "button", onclick: fill }, `${order.length - start - CARDS_AT_ONCE} more`)));
  };
  fill();
  return element("div", { className: "column" }, element("h4", {}, visible(describe(number)), `: ${group.right} of ${group.size} right`), cards);
}

/** @param {any} content @param {number} size */
function sorted(content, size) {
  const by = byId("f-sort").value;
  const order = Array.from({ length: size }, (_, place) => place);
  const values = by === "likely" || by === "unlikely" ? content.mean_logp : by === "long" || by === "short" ? content.tokens : null;
  if (!values) return order;
  const sign = by === "likely" || by === "long" ? -1 : 1;
  return order.toSorted((a, b) => sign * ((values[a] ?? Number.POSITIVE_INFINITY) - (values[b] ?? Number.POSITIVE_INFINITY)));
}

/** @param {any} content @param {string} name @param {number} place @param {number} digits */
function written(content, name, place, digits) {
  const value = content[name]?.[place];
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

/**
 * @param {number} group @param {any} content @param {number} place @param {boolean} matches
 */
function card(group, content, place, matches) {
  const verdict = content.verdict[place];
  const index = content.index[place];
  const chosen = content.chosen[String(place)];
  const facts = [
    ...(content.reward ? [`reward ${written(content, "reward", place, 0)}`, `advantage ${written(content, "advantage", place, 3)}`] : []),
    `mean log-prob ${written(content, "mean_logp", place, 3)}`, `${content.tokens[place] ?? "–"} tokens`,
    ...(content.stop[place] === "l" ? ["cut off"] : []),
  ];
  return element("article", { className: `card ${verdict === "c" ? "right" : verdict === "w" ? "wrong" : "other"}${matches ? "" : " faded"}`, "data-index": String(index) },
    element("header", {}, element("strong", { className: "verdict" }, BADGES[verdict]), " ",
      element("a", { href: permalink(group, index), title: "a link to this sample" }, `#${index}`), " ", facts.join(" · ")),
    chosen ? element("p", { className: "chosen" }, `L2TE chose it: ${visible(chosen)}`) : "",
    element("p", { className: "extracted" }, "answer: ", content.extracted[place] === null ? "none found" : element("bdi", {}, visible(content.extracted[place].slice(0, 400))),
      content.reason[place] ? ` – ${visible(content.reason[place].slice(0, 400))}` : ""),
    text(content, place, CHARACTERS_AT_ONCE));
}

/**
 * The text of a rollout, coloured by token or with its maths set.
 * @param {any} content @param {number} place @param {number} most
 * @returns {HTMLElement}
 */
function text(content, place, most) {
  const whole = content.text[place];
  const box = element("pre", { dir: "ltr", tabIndex: 0 });
  if (byId("f-math").checked) box.append(...worded(whole.slice(0, most)));
  else if (byId("f-color").checked && content.pieces?.[place]) {
    let left = most;
    for (const token of tokensOf(whole, content.pieces[place], content.logp[place])) {
      if (left <= 0) break;
      left -= token.text.length;
      box.append(token.logp === null ? visible(token.text) : element("span", { style: `--p:${(1 - Math.exp(token.logp)).toFixed(3)}`, title: `log-prob ${token.logp.toFixed(3)} nats` }, visible(token.text)));
    }
  } else box.append(visible(whole.slice(0, most)));
  if (whole.length > most) {
    const button = element("button", { type: "button", onclick: () => box.replaceWith(text(content, place, Number.POSITIVE_INFINITY)) }, `… show all ${whole.length.toLocaleString("en")} characters`);
    box.append(button);
  }
  if (content.characters[place] > Array.from(whole).length) box.append(element("em", {}, ` (${content.characters[place].toLocaleString("en")} characters; the rest is in the run directory)`));
  return box;
}

/**
 * Nodes of a text with its maths set, where it can be.
 * @param {string} words @param {boolean} [isMath] that all of it is
 * @returns {(Node|string)[]}
 */
function worded(words, isMath = false) {
  if (isMath && !/[\\^_{]/.test(words)) return [visible(words)];
  const parts = isMath ? [{ math: true, display: false, text: words }] : mathParts(words);
  return parts.map((part) => {
    if (!part.math) return visible(part.text);
    const box = element("span", { className: "math" });
    try {
      katex.render(part.text, box, { output: "mathml", displayMode: part.display, throwOnError: true, trust: false, strict: "ignore", maxExpand: 200, maxSize: 20 });
    } catch {
      box.textContent = visible(part.text);
    }
    return box;
  });
}

/** @param {number} by */
function move(by) {
  if (listed.length === 0) return;
  const place = Math.min(Math.max(open + by, 0), listed.length - 1);
  void openGroup(listed[place].group, place);
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, .plot") || opened < 0) return;
  if (event.key === "ArrowLeft" || event.key === "k") move(-1);
  else if (event.key === "ArrowRight" || event.key === "j") move(1);
  else return;
  event.preventDefault();
}

/** The step nearest to one that is wanted, of those whose groups are here. @param {string} run @param {string} kind @param {number} at */
function nearest(run, kind, at) {
  const steps = [...new Set(groups.filter((each) => each.run === run && each.kind === kind && each.step !== null).map((each) => Number(each.step)))];
  return steps.toSorted((a, b) => Math.abs(a - at) - Math.abs(b - at))[0];
}

/**
 * Goes where a click upon a figure leads: run@step to an evaluation, run#step to rollouts, bin:name:place to problems.
 * @param {string} key
 */
export async function follow(key) {
  const bin = /^bin:(.*):(\d+)$/s.exec(key);
  const point = /^(.*)([@#])(\d+)$/s.exec(key);
  if (bin) {
    const model = report.models.find((/** @type {any} */ each) => each.name === bin[1]);
    if (!model) return;
    want({ run: model.run, kind: "evaluation", step: String(model.step), bin: bin[2] });
  } else if (point) {
    const kind = point[2] === "@" ? "evaluation" : "rollouts";
    const at = nearest(point[1], kind, Number(point[3]));
    if (at === undefined) return;
    want({ run: point[1], kind, step: String(at) });
  } else return;
  await list();
  if (listed.length > 0) await openGroup(listed[0].group, 0, { scroll: true });
}

/**
 * Opens a problem before and after, side by side.
 * @param {any} moved
 */
async function showMoved(moved) {
  const of = groups.flatMap((each, place) => (each.kind === "evaluation" && report.rollouts.problems[each.problem].id === moved.problem && report.rollouts.problems[each.problem].benchmark === moved.benchmark ? [place] : []));
  const before = of.find((place) => groups[place].run === moved.before_run && groups[place].step === moved.before_step);
  const after = of.find((place) => groups[place].run === moved.run && groups[place].step === moved.after_step);
  if (after === undefined) return;
  want({ kind: "evaluation" });
  byId("f-problem").value = moved.problem;
  await list();
  await openGroup(before ?? after, -1, { beside: before === undefined ? -1 : after, scroll: true });
}

function startMoved() {
  const box = document.getElementById("moved");
  if (!box) return;
  let shown = 0;
  const add = () => {
    box.querySelector(".more")?.remove();
    const rows = report.moved.slice(shown, shown + 40).map((/** @type {any} */ each) => element("li", {},
      element("button", { type: "button", className: "problem", onclick: () => showMoved(each) },
        element("bdi", {}, visible(each.problem)), ` ${visible(each.run)}: `, element("b", {}, `${each.before[0]}/${each.before[1]} → ${each.after[0]}/${each.after[1]}`),
        each.after[0] === 0 && each.before[0] > 0 ? element("span", { className: "lost" }, " lost") : each.before[0] === 0 && each.after[0] > 0 ? element("span", { className: "gained" }, " gained") : "")));
    shown += rows.length;
    box.append(...rows);
    if (shown < report.moved.length) box.append(element("li", { className: "more" }, element("button", { type: "button", onclick: add }, `${report.moved.length - shown} more problems`)));
  };
  add();
}

/** @param {string} id @param {Iterable<string|number|null>} values @param {(value: any) => string} [worded_] */
function options(id, values, worded_ = String) {
  const distinct = [...new Set(values)].filter((value) => value !== null);
  byId(id).append(...distinct.map((value) => element("option", { value: String(value) }, visible(worded_(value)))));
}

/** Opens what the address names. */
async function arrive() {
  const target = named(location.hash);
  if (!target) return;
  if (target.group !== opened || target.index !== null) await openGroup(target.group, listed.findIndex((each) => each.group === target.group), { index: target.index, scroll: true });
}

export function startBrowser() {
  if (!document.getElementById("rollouts")) return;
  options("f-run", groups.map((each) => each.run));
  options("f-step", groups.map((each) => each.step).toSorted((a, b) => Number(a) - Number(b)));
  options("f-phase", groups.map((each) => each.phase).toSorted((a, b) => Number(a) - Number(b)));
  options("f-verdict", Object.keys(report.rollouts.verdicts), (code) => BADGES[code]);
  options("f-bin", report.bins.map((/** @type {string} */ _, /** @type {number} */ place) => place), (place) => report.bins[place]);
  let waiting = 0;
  for (const field of document.querySelectorAll("#filters input, #filters select")) {
    const isView = ["f-sort", "f-color", "f-math"].includes(field.id);
    field.addEventListener("input", () => {
      if (isView) {
        if (opened >= 0) void openGroup(opened, open, { beside });
        return;
      }
      clearTimeout(waiting);
      waiting = window.setTimeout(() => void list(), 150);
    });
  }
  byId("clear").addEventListener("click", () => { want({}); void list(); });
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", arrive);
  startMoved();
  void list().then(arrive);
}
