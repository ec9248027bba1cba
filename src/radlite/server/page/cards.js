/** One answer as a card, and as text. */
import { columns, el, facts, p, probability, title } from "./dom.js";
import { rove } from "./marks.js";

/** @typedef {import("./marks.js").Span} Span */
/** @typedef {{quote: string, start: number, end: number}} Evidence */
/**
 * What the server sends.
 * @typedef {{id: string, task: string, status: string, answer: any, text: string, rendered: string | null,
 *   confidence: number | null, probabilities: Record<string, any>, evidence: Evidence[], warnings: string[],
 *   model: string, stop_reason: string, tokens: Record<string, number>, seconds: number}} Answer
 */
/** @typedef {{key: string, spans: Span[]}} Placing collects the places in the report that parts of a card rest on */

const TIERS = ["Incomplete study", "Nothing further, or routine", "Earlier follow-up", "Diagnostic workup", "Diagnosis or treatment"];
/** @type {Record<string, string>} */
const UNANSWERED = {
  abstained: "Withheld: the model is not sure enough to answer.",
  unreadable: "Unreadable: what the model wrote is no answer to this task, and nothing was filled in.",
  too_long: "Too long: report and answer do not fit the model's window. Shorten the report, or use another model.",
  failed: "Failed: the engine could not answer. Try again.",
  not_applicable: "The task does not apply to this text.",
};
/** How a warning is headed, by what the server says. @type {[RegExp, string][]} */
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
    card.append(p("plain", UNANSWERED[answer.status] ?? "There is no answer."));
    if (answer.status === "unreadable" && answer.text) {
      card.append(el("details", {}, el("summary", {}, "What the model wrote"), el("pre", {}, answer.text)));
    }
  } else {
    card.append(...(FORMS[answer.task] ?? other)(answer, placing));
  }
  if (answer.warnings.length) card.append(el("ul", { className: "warnings", ariaLabel: "Warnings" }, ...answer.warnings.map(warned)));
  for (const group of card.querySelectorAll("[data-rove]")) rove(group);
  return card;
}

/** @param {string} warning */
function warned(warning) {
  const head = WARNINGS.find(([pattern]) => pattern.test(warning))?.[1] ?? "Warning";
  return el("li", {}, sign("⚠"), el("span", {}, el("strong", {}, `${head}: `), warning.replace(/\.?$/, ".")));
}

/** The answer as text, for a letter or a note. @param {Answer} answer */
export function asText(answer) {
  const sure = answer.confidence === null ? "" : ` (model probability ${probability(answer.confidence)})`;
  const said = answer.rendered ?? UNANSWERED[answer.status] ?? answer.status;
  const head = said.includes("\n") ? `${title(answer.task)}${sure}:\n${said}` : `${title(answer.task)}: ${said}${sure}`;
  return [head, ...answer.warnings.map((warning) => `! ${warning}`)].join("\n");
}

/** A sign beside words that say the same. @param {string} text */
const sign = (text) => el("span", { className: "sign", ariaHidden: "true" }, text);

/**
 * A part of a card that rests on places in the report; without one it is plain.
 * @param {Placing} placing @param {{start: number | null, end: number | null}[]} places @param {...any} content
 */
function part(placing, places, ...content) {
  const found = places.filter((place) => place.end);
  if (!found.length) return el("span", { className: "part" }, ...content);
  const key = `${placing.key}:${placing.spans.length}`;
  const soft = placing.key === "radiology_ner";
  for (const { start, end } of found) placing.spans.push({ start: Number(start), end: Number(end), key, soft });
  return el("button", { type: "button", className: "part", "data-keys": key }, ...content);
}

/** Parts that the arrow keys go through. @param {string} tag @param {string} className @param {any[]} parts */
const list = (tag, className, parts) => el(tag, { className, "data-rove": "" }, ...parts.map((one) => el("li", {}, one)));

/** @param {string} label @param {number} value @param {boolean} [first] */
function bar(label, value, first = false) {
  const fill = el("span", { className: "fill" });
  fill.style.width = `${Math.max(0, Math.min(1, value)) * 100}%`;
  const track = el("span", { className: "track", ariaHidden: "true" }, fill);
  const number = el("span", { className: "number" }, probability(value));
  return el("li", { className: first ? "bar first" : "bar" }, el("span", {}, label), track, number);
}

/** The likeliest labels: the one that was given first, then the next. @param {Answer} answer @param {string} given */
function likeliest(answer, given) {
  const rest = Object.entries(answer.probabilities).filter(([label, value]) => label !== given && value >= 0.001);
  const next = rest.sort((one, two) => two[1] - one[1]).slice(0, 4).map(([label, value]) => bar(label, value));
  const sure = answer.confidence ?? answer.probabilities[given] ?? null;
  const bars = sure === null ? next : [bar(given, sure, true), ...next];
  if (!bars.length) return [];
  return [p("label", next.length ? "Model probability, and the next likeliest" : "Model probability"), el("ul", { className: "bars" }, ...bars)];
}

/** @param {Answer} answer @param {Placing} placing */
function evidence(answer, placing) {
  const quotes = answer.evidence.map((one) => part(placing, [one], el("q", {}, one.quote)));
  return quotes.length ? [p("label", "Stands in the report"), list("ul", "quotes", quotes)] : [];
}

/** @param {number} tier */
function stepped(tier) {
  const steps = el("span", { className: "steps", ariaHidden: "true" }, "●".repeat(tier) + "○".repeat(4 - tier));
  return p("tier", steps, ` Tier ${tier} of 4: ${TIERS[tier]}`);
}

/** @param {Answer} answer @param {Placing} placing */
function rads(answer, placing) {
  const { category, system, modifiers, tier, risk, management, stated } = answer.answer;
  const source = stated ? "the report states this category itself" : "inferred from the findings; the report does not state it";
  return [
    p("big", answer.rendered ?? category),
    ...(tier === null ? [] : [stepped(tier)]),
    ...likeliest(answer, category),
    ...facts(["Risk", risk.replaceAll("<=", "≤").replaceAll(">=", "≥")], ["What is done next", management],
      ["Modifiers", modifiers.join(", ")], ["Source", system && source]),
    ...evidence(answer, placing),
  ];
}

/** @type {Record<string, string>} */
const SIGNS = { positive: "+", uncertain: "?", negative: "−", "not mentioned": "·" };

/** @param {Answer} answer @param {Placing} placing */
function abnormalities(answer, placing) {
  const { states, places } = answer.answer;
  const row = (/** @type {string} */ name) => {
    const state = states[name];
    const likely = answer.probabilities[name]?.[state];
    return el("tr", { className: `state ${state.split(" ")[0]}` },
      el("th", { scope: "row" }, part(placing, places[name] ?? [], name)),
      el("td", {}, sign(SIGNS[state]), ` ${state}`),
      el("td", { className: "number" }, likely === undefined ? "" : probability(likely)));
  };
  const table = (/** @type {string[]} */ ...shown) => {
    const rows = shown.flatMap((state) => Object.keys(states).filter((name) => states[name] === state)).map(row);
    return rows.length ? el("table", { "data-rove": "" }, columns("Finding", "State", "Probability"), el("tbody", {}, ...rows)) : null;
  };
  const rest = table("not mentioned");
  return [
    table("positive", "uncertain", "negative") ?? p("", "None of the fourteen findings is mentioned."),
    ...(rest ? [el("details", {}, el("summary", {}, `${rest.tBodies[0].rows.length} not mentioned`), rest)] : []),
  ];
}

/** @param {Answer} answer @param {Placing} placing */
function entities(answer, placing) {
  const kinds = Map.groupBy(answer.answer.entities, (/** @type {any} */ one) => one.label);
  if (!kinds.size) return [p("big", "No entities")];
  return [...kinds].map(([kind, listed]) => {
    const words = listed.map((/** @type {any} */ one) => part(placing, [one], one.text));
    return el("div", {}, p("label", `${kind} (${listed.length})`), list("ul", "words", words));
  });
}

/** @type {Record<string, [string, string]>} */
const CHANGES = {
  new: ["✚", "New"],
  worsened: ["▲", "Worsened"],
  improved: ["▼", "Improved"],
  resolved: ["✓", "Resolved"],
  unchanged: ["=", "Unchanged"],
};

/** @param {Answer} answer @param {Placing} placing */
function changes(answer, placing) {
  if (!answer.answer.changes.length) return [p("big", "Nothing is compared")];
  const steps = answer.answer.changes.map((/** @type {any} */ one) => {
    const [shape, word] = CHANGES[one.status];
    const how = el("small", {}, ` “${one.cue}”${one.anatomy && `, ${one.anatomy}`}`);
    return el("li", { className: one.status }, sign(shape), part(placing, [one], el("strong", {}, word), `: ${one.finding}`, how));
  });
  return [p("label", "From the earlier study to this one"), el("ol", { className: "timeline", "data-rove": "" }, ...steps)];
}

/** @param {Answer} answer @param {Placing} placing */
function impression(answer, placing) {
  const lines = answer.answer.lines.map((/** @type {any} */ line) => part(placing, line.sources, line.text));
  return [list("ol", "lines", lines), p("hint", "Lines that rest on sentences of the report are underlined.")];
}

/** @param {Answer} answer @param {Placing} placing */
function stage(answer, placing) {
  const { category, positive, site, main } = answer.answer;
  const what = answer.task === "n_staging" ? "involved lymph nodes" : "distant metastases";
  const means = positive === null ? `whether there are ${what} cannot be told` : positive ? what : `no ${what}`;
  const given = category in answer.probabilities ? category : main;
  return [
    p("big", category),
    ...likeliest(answer, given),
    ...facts(["Means", means], ["Primary tumor", site]),
    ...evidence(answer, placing),
  ];
}

/** @type {Record<string, string>} */
const KINDS = {
  extractive: "Words of the report.",
  unanswerable: "The report does not say.",
  knowledge: "Not the report's own words: hold it against the report.",
};

/** @param {Answer} answer @param {Placing} placing */
function reply(answer, placing) {
  const { text, kind, quote } = answer.answer;
  return [el("p", { className: "prose", "data-rove": "" }, part(placing, quote ? [quote] : [], text)), p("hint", KINDS[kind])];
}

/** A label or a text, as of NLI and of tasks of a user's own. @param {Answer} answer @param {Placing} placing */
function other(answer, placing) {
  const { label } = answer.answer;
  const said = label === undefined ? [p("prose", answer.rendered ?? answer.text)] : [p("big", label), ...likeliest(answer, label)];
  return [...said, ...evidence(answer, placing)];
}

/** @type {Record<string, (answer: Answer, placing: Placing) => HTMLElement[]>} */
const FORMS = {
  rads_assignment: rads,
  abnormality_detection: abnormalities,
  radiology_ner: entities,
  temporal_comparison: changes,
  impression_generation: impression,
  n_staging: stage,
  m_staging: stage,
  radiology_qa: reply,
};
