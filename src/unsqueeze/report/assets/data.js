/* What the page shows (unsqueeze/report/page.py). */

/** @type {any} */
export const report = JSON.parse(document.getElementById("data")?.textContent ?? "{}");
