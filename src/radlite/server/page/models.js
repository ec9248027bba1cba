/** The tabs on models and reviews. */
import { ask, get } from "./api.js";
import { $, columns, el, facts, p, save, tell, title } from "./dom.js";

/**
 * A row of a card.
 * @typedef {{task: string, metric: string, value: number, low: number | null, high: number | null, n: number | null}} Score
 */

/** Show the loaded models with what their own cards say of them. */
export async function models() {
  const place = $("models");
  try {
    const { loaded } = await get("v1/models");
    const head = loaded.length === 1 ? "The loaded model" : `${loaded.length} loaded models`;
    place.replaceChildren(el("h2", {}, head), ...loaded.map(model));
  } catch (error) {
    const why = el("p", { className: "trouble", role: "alert" }, /** @type {Error} */ (error).message);
    place.replaceChildren(el("h2", {}, "Models"), why);
  }
}

const EXPLAINED =
  "On the test reports of the card. The interval holds the true value in 95 of 100 such measurements; n is the number of " +
  "reports. Your reports may differ: measure on them.";

/** @param {any} one */
function model(one) {
  const size = one.bytes && `${(one.bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;
  const window = one.context_tokens && `${one.context_tokens.toLocaleString("en")} tokens`;
  const told = facts(["Base", one.base], ["Weights", one.kind], ["Size", size], ["Window", window],
    ["Engine", one.engine], ["SHA-256", one.sha256]);
  const unknown = p("plain", "No card lies beside this model, so nothing is known here of how well it answers. ",
    el("code", {}, "radlite evaluate"), " measures it, ", el("code", {}, "radlite card"), " writes it down.");
  const known = one.card?.length ? [el("h4", {}, "Scores from the model's own card"), scores(one.card), p("hint", EXPLAINED)] : [unknown];
  return el("article", { className: "card" }, el("header", {}, el("h3", {}, one.name)), ...told, ...known);
}

/** @param {Score[]} card */
function scores(card) {
  const head = columns("Task", "Metric", "Value", "95 % interval", "n");
  head.rows[0].append(el("td", { className: "plot", ariaHidden: "true" }, "0 to 1"));
  const table = el("table", {}, head, el("tbody", {}, ...card.map(score)));
  return el("div", { className: "wide", tabindex: 0, role: "region", ariaLabel: "Scores" }, table);
}

/** @param {Score} row */
function score({ task, metric, value, low, high, n }) {
  const number = (/** @type {string} */ text) => el("td", { className: "number" }, text);
  const measured = low !== null && high !== null;
  const track = el("span", { className: "track", ariaHidden: "true" });
  if (measured) track.append(placed("range", low, high - low));
  track.append(placed("dot", value));
  return el("tr", {}, el("th", { scope: "row" }, title(task)), el("td", {}, metric.replaceAll("_", " ")),
    number(value.toFixed(2)), number(measured ? `${low.toFixed(2)}–${high.toFixed(2)}` : "not measured"),
    number(n === null ? "" : n.toLocaleString("en")), el("td", { className: "plot", ariaHidden: "true" }, track));
}

/** @param {string} className @param {number} left @param {number} [width] shares of the track */
function placed(className, left, width) {
  const node = el("span", { className });
  node.style.left = `${left * 100}%`;
  if (width !== undefined) node.style.width = `${width * 100}%`;
  return node;
}

/** @type {Record<string, string>} */
const KEEP = {
  text: "This server keeps each review with the text of its report.",
  answers: "This server keeps reviews without the text of the reports.",
  off: "This server keeps no reviews.",
};

/** Count the reviews. */
export async function reviews() {
  try {
    const { count, actions, keep } = await get("v1/reviews");
    const { accept = 0, correct = 0, reject = 0 } = actions;
    const said = `${count} reviews: ${accept} accepted, ${correct} corrected, ${reject} rejected.`;
    $("reviews-said").textContent = `${said} ${KEEP[keep] ?? ""}`;
  } catch (error) {
    $("reviews-said").textContent = /** @type {Error} */ (error).message;
  }
}

export function begin() {
  $("reviews").addEventListener("click", async (/** @type {any} */ event) => {
    const format = event.target.closest("[data-export]")?.dataset.export;
    if (!format) return;
    try {
      const response = await ask(`v1/reviews/export?format=${format}`);
      save(await response.blob(), `reviews.${format}`);
      tell($("reviews-trouble"), "");
    } catch (error) {
      tell($("reviews-trouble"), /** @type {Error} */ (error).message);
    }
  });
}
