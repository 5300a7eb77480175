/* Groups of rollouts and of samples: found, filtered and unpacked (unsqueeze/report/rollouts.py, packing.py). */
import { report } from "./data.js";

/**
 * @typedef {{run: string, kind: string, step: number|null, phase: number|null, problem: number, right: number,
 *   bin?: number, block: string, place: number, size: number}} Group
 * @typedef {{run: string, kind: string, step: string, phase: string, problem: string, verdict: string, text: string,
 *   truncated: boolean, chosen: boolean, bin: string}} Wanted
 */

const FIRST_CODE = 35;
const LEVELS = 90;
const LEAST_LOGP = -16;

/** @type {Group[]} */
export const groups = report.rollouts?.groups ?? [];

/** @type {Map<string, Promise<any>>} */
const unpacked = new Map();
const KEPT_BLOCKS = 64;

/**
 * The value of a block; those used last are kept.
 * @param {string} name
 * @returns {Promise<any>}
 */
export function unpack(name) {
  const kept = unpacked.get(name);
  if (kept) {
    unpacked.delete(name);
    unpacked.set(name, kept);
    return kept;
  }
  const made = inflate(document.getElementById(name)?.textContent ?? "");
  unpacked.set(name, made);
  if (unpacked.size > KEPT_BLOCKS) unpacked.delete(/** @type {string} */ (unpacked.keys().next().value));
  return made;
}

/** @param {string} base64 */
async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64.trim()), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** @param {Group} group */
export async function inside(group) {
  return (await unpack(group.block)).groups[group.place];
}

/**
 * The log-prob that a character stands for, nats.
 * @param {string} codes @param {number} place
 */
export function logpAt(codes, place) {
  const share = (codes.charCodeAt(place) - FIRST_CODE) / LEVELS;
  return LEAST_LOGP * share * share;
}

/**
 * The pieces of a text that tokens stand for, each with its log-prob; what no token stands for comes last.
 * @param {string} text @param {string} pieces @param {string} logps
 * @returns {{text: string, logp: number|null}[]}
 */
export function tokensOf(text, pieces, logps) {
  if (!pieces) return [{ text, logp: null }];
  const characters = Array.from(text); // lengths are of characters, of which a few are two units of JavaScript
  const found = [];
  let start = 0;
  for (let place = 0; place < pieces.length; place += 1) {
    const length = pieces.charCodeAt(place) - FIRST_CODE;
    if (length > 0) {
      found.push({ text: characters.slice(start, start + length).join(""), logp: logpAt(logps, place) });
      start += length;
    }
  }
  if (start < characters.length) found.push({ text: characters.slice(start).join(""), logp: null });
  return found;
}

/** @param {Group} group @param {Wanted} wanted */
function isGroupWanted(group, wanted) {
  return (!wanted.run || group.run === wanted.run)
    && (!wanted.kind || group.kind === wanted.kind)
    && (wanted.step === "" || String(group.step) === wanted.step)
    && (wanted.phase === "" || String(group.phase) === wanted.phase)
    && (wanted.bin === "" || String(group.bin) === wanted.bin)
    && (!wanted.problem || isProblemWanted(report.rollouts.problems[group.problem], wanted.problem.toLowerCase()));
}

/** @param {any} problem @param {string} words */
function isProblemWanted(problem, words) {
  return problem.id.toLowerCase().includes(words) || (problem.prompt ?? "").toLowerCase().includes(words);
}

/**
 * The groups with a rollout that is wanted, and which rollouts of each are. Texts are read where one is asked for.
 * @param {Wanted} wanted
 * @param {(share: number) => boolean} onProgress is told how much is read; false ends the search
 * @returns {Promise<{group: number, places: number[]}[]>}
 */
export async function find(wanted, onProgress) {
  const candidates = groups.map((_, number) => number).filter((number) => isGroupWanted(groups[number], wanted));
  const byRollout = wanted.verdict || wanted.truncated || wanted.chosen || wanted.text;
  if (!byRollout) return candidates.map((group) => ({ group, places: all(groups[group].size) }));
  const index = await unpack("rollout-index");
  const text = wanted.text.toLowerCase();
  const found = [];
  for (const [done, group] of candidates.entries()) {
    let places = all(groups[group].size);
    if (wanted.verdict) places = places.filter((place) => index.verdict[group][place] === wanted.verdict);
    if (wanted.truncated) places = places.filter((place) => index.stop[group][place] === "l");
    if (wanted.chosen) places = places.filter((place) => index.chosen[group].includes(place));
    if (text && places.length > 0) {
      // eslint-disable-next-line no-await-in-loop
      const texts = (await inside(groups[group])).text;
      places = places.filter((place) => texts[place].toLowerCase().includes(text));
      if (done % 50 === 0 && !onProgress(done / candidates.length)) return found;
    }
    if (places.length > 0) found.push({ group, places });
  }
  return found;
}

/** @param {number} size */
function all(size) {
  return Array.from({ length: size }, (_, place) => place);
}

/**
 * A name of a sample that stays: run, kind, step, problem, which of several such groups, and place in it.
 * @param {number} number of the group @param {number} [index] of the sample
 */
export function permalink(number, index) {
  const group = groups[number];
  const problem = report.rollouts.problems[group.problem];
  const parts = { run: group.run, kind: group.kind, step: String(group.step), benchmark: problem.benchmark, problem: problem.id, nth: String(alike(number).indexOf(number)) };
  const query = new URLSearchParams(parts);
  if (index !== undefined) query.set("index", String(index));
  return `#sample?${query}`;
}

/** The groups of the same problem at the same place. @param {number} number */
function alike(number) {
  const { run, kind, step, problem } = groups[number];
  return groups.flatMap((each, place) => (each.run === run && each.kind === kind && each.step === step && each.problem === problem ? [place] : []));
}

/**
 * What a permalink names; null where it is not here.
 * @param {string} hash
 * @returns {{group: number, index: number|null}|null}
 */
export function named(hash) {
  if (!hash.startsWith("#sample?")) return null;
  const query = new URLSearchParams(hash.slice("#sample?".length));
  const first = groups.findIndex((each) => {
    const problem = report.rollouts.problems[each.problem];
    return each.run === query.get("run") && each.kind === query.get("kind") && String(each.step) === query.get("step")
      && problem.id === query.get("problem") && problem.benchmark === (query.get("benchmark") ?? "");
  });
  if (first < 0) return null;
  const index = query.get("index");
  return { group: alike(first)[Number(query.get("nth") ?? 0)] ?? first, index: index === null ? null : Number(index) };
}
