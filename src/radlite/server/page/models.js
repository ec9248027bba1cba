/** The tabs on models and reviews. */
import { ask, get } from "./api.js";
import { $, el, save, tell, title } from "./dom.js";

/** @typedef {{task: string, metric: string, value: number, low: number | null, high: number | null, n: number | null}} Score */

/** Show the loaded models with what their own cards say of them. */
export async function models() {
  const place = $("models");
  try {
    const { loaded } = await get("v1/models");
    place.replaceChildren(el("h2", {}, loaded.length === 1 ? "The loaded model" : `${loaded.length} loaded models`), ...loaded.map(model));
  } catch (error) {
    place.replaceChildren(el("h2", {}, "Models"), el("p", { className: "trouble", role: "alert" }, /** @type {Error} */ (error).message));
  }
}

/** @param {any} one */
function model(one) {
  const facts = [["Base", one.base], ["Weights", one.kind], ["Size", one.bytes && `${(one.bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`],
    ["Window", one.context_tokens && `${one.context_tokens.toLocaleString("en")} tokens`], ["Engine", one.engine], ["SHA-256", one.sha256]];
  return el("article", { className: "card" },
    el("header", {}, el("h3", {}, one.name)),
    el("dl", {}, ...facts.filter(([, value]) => value).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    ...(one.card?.length ? [el("h4", {}, "Scores from the model's own card"), scores(one.card),
      el("p", { className: "hint" }, "On the test reports of the card. The interval holds the true value in 95 of 100 such measurements; n is the number of reports. Your reports may differ: measure on them.")]
      : [el("p", { className: "plain" }, "No card lies beside this model, so nothing is known here of how well it answers. ",
        el("code", {}, "radlite evaluate"), " measures it, ", el("code", {}, "radlite card"), " writes it down.")]));
}

/** @param {Score[]} card */
function scores(card) {
  const rows = card.map(({ task, metric, value, low, high, n }) => {
    const track = el("span", { className: "track", ariaHidden: "true" });
    if (low !== null && high !== null) {
      const range = el("span", { className: "range" });
      range.style.left = `${low * 100}%`;
      range.style.width = `${(high - low) * 100}%`;
      track.append(range);
    }
    const dot = el("span", { className: "dot" });
    dot.style.left = `${value * 100}%`;
    track.append(dot);
    return el("tr", {}, el("th", { scope: "row" }, title(task)), el("td", {}, metric.replaceAll("_", " ")), el("td", { className: "number" }, value.toFixed(2)),
      el("td", { className: "number" }, low === null || high === null ? "not measured" : `${low.toFixed(2)}–${high.toFixed(2)}`), el("td", { className: "number" }, n === null ? "" : n.toLocaleString("en")),
      el("td", { className: "plot", ariaHidden: "true" }, track));
  });
  const head = ["Task", "Metric", "Value", "95 % interval", "n"].map((name) => el("th", { scope: "col" }, name));
  return el("div", { className: "wide", tabindex: 0, role: "region", ariaLabel: "Scores" },
    el("table", {}, el("thead", {}, el("tr", {}, ...head, el("td", { className: "plot", ariaHidden: "true" }, "0 to 1"))), el("tbody", {}, ...rows)));
}

const KEEP = {
  text: "This server keeps each review with the text of its report.",
  answers: "This server keeps reviews without the text of the reports.",
  off: "This server keeps no reviews.",
};

/** Count the reviews. */
export async function reviews() {
  try {
    const { count, actions, keep } = await get("v1/reviews");
    const said = `${count} reviews: ${actions.accept ?? 0} accepted, ${actions.correct ?? 0} corrected, ${actions.reject ?? 0} rejected.`;
    $("reviews-said").textContent = `${said} ${KEEP[/** @type {keyof typeof KEEP} */ (keep)] ?? ""}`;
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
