/* Texts of models, made safe to look at. Nothing here writes HTML: what is returned are strings and nodes of text. */

/**
 * Pictures for the characters that would be none, or would turn the others around: controls, those of terminals too,
 * marks of direction, halves of surrogate pairs.
 * @param {string} text
 * @returns {string}
 */
export function visible(text) {
  return text.replace(
    // oxlint-disable-next-line no-control-regex
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
    (character) => {
      const code = character.charCodeAt(0);
      return code < 0x20 ? String.fromCharCode(0x2400 + code) : `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
    },
  );
}

/**
 * An element with properties and children; strings become nodes of text.
 * @param {string} tag
 * @param {Record<string, any>} properties
 * @param {...(Node|string)} children
 * @returns {HTMLElement}
 */
export function element(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && name !== "list") /** @type {any} */ (made)[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/**
 * What is between dollars or brackets of LaTeX, and the rest, in order.
 * @param {string} text
 * @returns {{math: boolean, display: boolean, text: string}[]}
 */
export function mathParts(text) {
  const found = [];
  const pattern = /\$\$([^$]{1,2000}?)\$\$|\\\[([\s\S]{1,2000}?)\\\]|\\\(([\s\S]{1,2000}?)\\\)|\$([^$\n]{1,500}?)\$|(\\boxed\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})/g;
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > end) found.push({ math: false, display: false, text: text.slice(end, match.index) });
    const inner = match[1] ?? match[2] ?? match[3] ?? match[4] ?? match[5];
    found.push({ math: true, display: match[1] !== undefined || match[2] !== undefined, text: inner });
    end = match.index + match[0].length;
  }
  if (end < text.length) found.push({ math: false, display: false, text: text.slice(end) });
  return found;
}
