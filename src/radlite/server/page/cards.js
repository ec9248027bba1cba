/** One answer as a card, and as text. */
import { el, probability, title } from "./dom.js";
import { rove, words } from "./marks.js";

/** @typedef {import("./marks.js").Span} Span */
/** @typedef {{quote: string, start: number, end: number}} Evidence */
/** @typedef {{id: string, task: string, status: string, answer: any, text: string, rendered: string | null, confidence: number | null,
 *   probabilities: Record<string, any>, evidence: Evidence[], warnings: string[], model: string, stop_reason: string,
 *   tokens: Record<string, number>, seconds: number}} Answer what the server sends */
/** @typedef {{key: string, spans: Span[], report: string}} Placing collects the places in the report that parts of a card rest on */

const TIERS = ["Incomplete study", "Nothing further, or routine", "Earlier follow-up", "Diagnosis", "Diagnosis or treatment"];
const UNANSWERED = {
  abstained: "Withheld: the model is not sure enough to answer.",
  unreadable: "Unreadable: what the model wrote is no answer to this task, and nothing was filled in.",
  too_long: "Too long: report and answer do not fit the model's window. Shorten the report, or use a model with a larger one.",
  failed: "Failed: the engine could not answer. Try again.",
  not_applicable: "The task does not apply to this text.",
};
/** How a warning is headed, by what the server says. */
const WARNINGS = [
  [/guideline's rule/, "The guideline's rule disagrees"],
  [/earlier study/, "From an earlier study"],
  [/the report states/, "The report says otherwise"],
  [/seems to deny/, "Denied in the report"],
  [/^line \d+:|not in the report|in no sentence/, "Not supported by the report"],
  [/wording/, "Asked in other words"],
];

/**
 * The body of a card: the answer, or plainly why there is none; then warnings. The places it rests on go into `placing`.
 * @param {Answer} answer @param {Placing} placing @returns {HTMLElement}
 */
export function body(answer, placing) {
  const card = el("div", { className: "said" });
  if (answer.answer === null) {
    card.append(el("p", { className: "plain" }, UNANSWERED[/** @type {keyof typeof UNANSWERED} */ (answer.status)] ?? "There is no answer."));
    if (answer.status === "unreadable" && answer.text) {
      card.append(el("details", {}, el("summary", {}, "What the model wrote"), el("pre", {}, answer.text)));
    }
  } else {
    card.append(...(FORMS[answer.task] ?? other)(answer, placing));
  }
  if (answer.warnings.length) {
    card.append(el("ul", { className: "warnings", ariaLabel: "Warnings" }, ...answer.warnings.map((warning) => {
      const head = WARNINGS.find(([pattern]) => /** @type {RegExp} */ (pattern).test(warning))?.[1] ?? "Warning";
      return el("li", {}, el("span", { ariaHidden: "true", className: "sign" }, "⚠"), el("span", {}, el("strong", {}, `${head}: `), warning.replace(/\.?$/, ".")));
    })));
  }
  for (const group of card.querySelectorAll("[data-rove]")) rove(group);
  return card;
}

/** The answer as text, for a letter or a note. @param {Answer} answer */
export function asText(answer) {
  const sure = answer.confidence === null ? "" : ` (model probability ${probability(answer.confidence)})`;
  const said = answer.rendered ?? UNANSWERED[/** @type {keyof typeof UNANSWERED} */ (answer.status)] ?? answer.status;
  const lines = said.split("\n");
  const head = lines.length === 1 ? `${title(answer.task)}: ${said}${sure}` : `${title(answer.task)}${sure}:\n${said}`;
  return [head, ...answer.warnings.map((warning) => `! ${warning}`)].join("\n");
}

/** A part of a card that rests on places in the report; without one it is plain. @param {Placing} placing @param {{start: number | null, end: number | null}[]} places @param {...any} content */
function part(placing, places, ...content) {
  const found = places.filter((place) => place.end);
  if (!found.length) return el("span", { className: "part" }, ...content);
  const key = `${placing.key}:${placing.spans.length}`;
  for (const { start, end } of found) placing.spans.push({ start: Number(start), end: Number(end), key, soft: placing.key.startsWith("radiology_ner") });
  const node = el("button", { type: "button", className: "part", tabindex: -1 }, ...content);
  node.dataset.keys = key;
  return node;
}

/** @param {string} label @param {number} value @param {boolean} [first] */
function bar(label, value, first = false) {
  const fill = el("span", { className: "fill" });
  fill.style.width = `${Math.max(0, Math.min(1, value)) * 100}%`;
  return el("li", { className: first ? "bar first" : "bar" }, el("span", {}, label), el("span", { className: "track", ariaHidden: "true" }, fill),
    el("span", { className: "number" }, probability(value)));
}

/** The likeliest labels: the one that was given first, then the next. @param {Answer} answer @param {string} given */
function likeliest(answer, given) {
  const rest = Object.entries(answer.probabilities).filter(([label, value]) => label !== given && value >= 0.001);
  const next = rest.sort((one, two) => two[1] - one[1]).slice(0, 4);
  const sure = answer.confidence ?? answer.probabilities[given];
  const bars = [...(sure === undefined || sure === null ? [] : [bar(given, sure, true)]), ...next.map(([label, value]) => bar(label, value))];
  return bars.length ? [el("p", { className: "label" }, next.length ? "Model probability, and the next likeliest" : "Model probability"), el("ul", { className: "bars" }, ...bars)] : [];
}

/** @param {...[string, any]} pairs those with something to say */
function facts(...pairs) {
  const told = pairs.filter(([, value]) => value);
  return told.length ? [el("dl", {}, ...told.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))))] : [];
}

/** @param {Answer} answer @param {Placing} placing */
function evidence(answer, placing) {
  if (!answer.evidence.length) return [];
  const quotes = answer.evidence.map((one) => el("li", {}, part(placing, [one], el("q", {}, one.quote))));
  return [el("p", { className: "label" }, "Stands in the report"), el("ul", { className: "quotes", "data-rove": "" }, ...quotes)];
}

/** @param {Answer} answer @param {Placing} placing */
function rads(answer, placing) {
  const { category, modifiers, tier, risk, management, stated } = answer.answer;
  return [
    el("p", { className: "big" }, answer.rendered ?? category),
    tier === null ? null : el("p", { className: "tier" }, el("span", { className: "steps", ariaHidden: "true" }, "●".repeat(tier) + "○".repeat(4 - tier)), ` Tier ${tier} of 4: ${TIERS[tier]}`),
    ...likeliest(answer, category),
    ...facts(["Risk", risk], ["What is done next", management], ["Modifiers", modifiers.join(", ")],
      ["Source", stated ? "the report states this category itself" : "inferred from the findings; the report does not state it"]),
    ...evidence(answer, placing),
  ].filter(Boolean);
}

const SIGNS = { positive: "+", uncertain: "?", negative: "−", "not mentioned": "·" };

/** @param {Answer} answer @param {Placing} placing */
function abnormalities(answer, placing) {
  const all = /** @type {[string, keyof typeof SIGNS][]} */ (Object.entries(answer.answer.states));
  const { places } = answer.answer;
  const row = (/** @type {[string, keyof typeof SIGNS]} */ [name, state]) => {
    const likely = answer.probabilities[name]?.[state];
    return el("tr", { className: `state ${state.split(" ")[0]}` }, el("th", { scope: "row" }, part(placing, places[name] ?? [], name)),
      el("td", {}, el("span", { className: "sign", ariaHidden: "true" }, SIGNS[state]), ` ${state}`),
      el("td", { className: "number" }, likely === undefined ? "" : probability(likely)));
  };
  const table = (/** @type {(keyof typeof SIGNS)[]} */ ...states) => {
    const rows = states.flatMap((state) => all.filter((one) => one[1] === state)).map(row);
    const head = el("thead", {}, el("tr", {}, ...["Finding", "State", "Probability"].map((name) => el("th", { scope: "col" }, name))));
    return rows.length ? el("table", { "data-rove": "" }, head, el("tbody", {}, ...rows)) : null;
  };
  const rest = all.filter(([, state]) => state === "not mentioned").length;
  return [
    table("positive", "uncertain", "negative") ?? el("p", {}, "None of the fourteen findings is mentioned."),
    rest ? el("details", {}, el("summary", {}, `${rest} not mentioned`), table("not mentioned")) : null,
  ].filter(Boolean);
}

/** @param {Answer} answer @param {Placing} placing */
function entities(answer, placing) {
  const kinds = Map.groupBy(answer.answer.entities, (/** @type {any} */ one) => one.label);
  if (!kinds.size) return [el("p", { className: "big" }, "No entities")];
  return [...kinds].map(([kind, listed]) => el("div", { className: "kind" }, el("p", { className: "label" }, `${kind} (${listed.length})`),
    el("ul", { className: "words", "data-rove": "" }, ...listed.map((/** @type {any} */ one) => el("li", {}, part(placing, [one], one.text))))));
}

const CHANGES = { new: ["✚", "New"], worsened: ["▲", "Worsened"], improved: ["▼", "Improved"], resolved: ["✓", "Resolved"], unchanged: ["=", "Unchanged"] };

/** @param {Answer} answer @param {Placing} placing */
function changes(answer, placing) {
  if (!answer.answer.changes.length) return [el("p", { className: "big" }, "Nothing is compared")];
  const steps = answer.answer.changes.map((/** @type {any} */ one) => {
    const [sign, word] = CHANGES[/** @type {keyof typeof CHANGES} */ (one.status)];
    return el("li", { className: one.status }, el("span", { className: "sign", ariaHidden: "true" }, sign),
      part(placing, [one], el("strong", {}, word), `: ${one.finding}`, el("small", {}, ` “${one.cue}”${one.anatomy ? `, ${one.anatomy}` : ""}`)));
  });
  return [el("p", { className: "label" }, "From the earlier study to this one"), el("ol", { className: "timeline", "data-rove": "" }, ...steps)];
}

/** @param {Answer} answer @param {Placing} placing */
function impression(answer, placing) {
  return [el("ol", { className: "lines", "data-rove": "" }, ...answer.answer.lines.map((/** @type {any} */ line) => el("li", {}, part(placing, line.sources, line.text)))),
    el("p", { className: "hint" }, "Lines that rest on sentences of the report are underlined.")];
}

/** @param {Answer} answer @param {Placing} placing */
function stage(answer, placing) {
  const { category, positive, site, main } = answer.answer;
  const what = answer.task === "n_staging" ? "lymph nodes" : "distant metastases";
  const shown = positive === null ? `whether there are ${what} cannot be told` : `${positive ? "" : "no "}${what}${answer.task === "n_staging" ? " involved" : ""}`;
  const given = category in answer.probabilities ? category : main;
  return [el("p", { className: "big" }, category), ...likeliest(answer, given), ...facts(["Means", shown], ["Primary tumor", site]), ...evidence(answer, placing)];
}

const KINDS = {
  extractive: "Words of the report.",
  unanswerable: "The report does not say.",
  knowledge: "Not the report's own words: hold it against the report.",
};

/** @param {Answer} answer @param {Placing} placing */
function reply(answer, placing) {
  const { text, kind, quote } = answer.answer;
  return [el("p", { className: "prose", "data-rove": "" }, part(placing, quote ? [quote] : [], text)), el("p", { className: "hint" }, KINDS[/** @type {keyof typeof KINDS} */ (kind)])];
}

/** A label or a text, as of NLI and of tasks of a user's own. @param {Answer} answer @param {Placing} placing */
function other(answer, placing) {
  const label = answer.answer.label;
  if (label === undefined) return [el("p", { className: "prose" }, answer.rendered ?? answer.text), ...evidence(answer, placing)];
  return [el("p", { className: "big" }, label), ...likeliest(answer, label), ...evidence(answer, placing)];
}

/** @type {Record<string, (answer: Answer, placing: Placing) => any[]>} */
const FORMS = {
  rads_assignment: rads, abnormality_detection: abnormalities, radiology_ner: entities, temporal_comparison: changes,
  impression_generation: impression, n_staging: stage, m_staging: stage, radiology_qa: reply,
};
