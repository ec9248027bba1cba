/** What a reviewer says of an answer. */
import { get } from "./api.js";
import { el, p, tell, title } from "./dom.js";

/** @typedef {import("./cards.js").Answer} Answer */
/** @typedef {import("./reading.js").Known} Known */
/** @typedef {"accept" | "correct" | "reject"} Action */

/** @type {Record<string, string>} */
const KEPT = {
  text: "The server keeps it with the report and the note.",
  answers: "The server keeps it without the report and the note.",
  off: "The server keeps no reviews; it only logs that one was made.",
};
const SENT = { accept: "Accept", correct: "Send the correction", reject: "Reject" };

/**
 * The buttons below an answer, and what was said of it.
 * @param {Known} known @param {import("./reading.js").Asked} asked @param {Answer} answer
 */
export function reviewing(known, asked, answer) {
  const said = el("p", { className: "hint", role: "status" }, asked.reviews.get(answer.task) ?? "");
  const place = el("div");
  const button = (/** @type {string} */ name, /** @type {Action} */ action) =>
    el("button", { type: "button", onclick: () => open(action) }, name);
  const buttons = el("div", { className: "row", role: "group", ariaLabel: `Review of ${title(answer.task)}` },
    answer.answer !== null && button("Accept", "accept"), button("Correct", "correct"), button("Reject", "reject"));
  const close = () => {
    place.replaceChildren();
    buttons.querySelector("button")?.focus();
  };
  const open = (/** @type {Action} */ action) => {
    const right = action === "correct" ? correction(known, answer) : null;
    const note = el("input", { autocomplete: "off", maxLength: 1000 });
    const trouble = el("p", { className: "trouble", role: "alert", hidden: true });
    const send = async (/** @type {Event} */ event) => {
      event.preventDefault();
      const inputs = known.tasks.get(answer.task)?.inputs.map((name) => [name, asked.inputs[name]]) ?? [];
      const review = {
        answer_id: answer.id, task: answer.task, action, answer: answer.rendered ?? "", corrected: right?.value ?? null,
        note: note.value.toWellFormed(), inputs: known.keep === "text" ? Object.fromEntries(inputs) : null,
      };
      try {
        await get("v1/reviews", { json: review });
      } catch (error) {
        tell(trouble, /** @type {Error} */ (error).message);
        return;
      }
      const corrected = right?.value.split("\n")[0];
      said.textContent = { accept: "✓ Accepted.", correct: `✓ Corrected: ${corrected}`, reject: "✓ Rejected." }[action];
      asked.reviews.set(answer.task, said.textContent);
      close();
    };
    const row = el("div", { className: "row" }, el("button", { type: "submit", className: "main" }, SENT[action]),
      el("button", { type: "button", onclick: close }, "Cancel"));
    // These keys mean the form, not the reading.
    const onkeydown = (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") close();
      else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) row.querySelector("button")?.click();
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    place.replaceChildren(el("form", { className: "review", onsubmit: send, onkeydown }, right && el("label", {}, "Right answer", right),
      el("label", {}, "Note (optional)", note), p("hint", KEPT[known.keep]), trouble, row));
    (right ?? note).focus();
  };
  return el("footer", {}, buttons, place, said);
}

/** Where the right answer is given: the task's labels, or the answer's own text to change. @param {Known} known @param {Answer} answer */
function correction(known, answer) {
  const labels = known.tasks.get(answer.task)?.labels ?? [];
  const given = answer.rendered ?? "";
  if (!labels.length) {
    const lines = given.split("\n").reduce((sum, line) => sum + Math.ceil((line.length + 1) / 40), 0);
    const rows = Math.min(16, Math.max(3, lines));
    return el("textarea", { rows, value: given, selectionEnd: 0, required: true, spellcheck: false });
  }
  const { category, main, label } = answer.answer ?? {};
  const option = (/** @type {string} */ one) => el("option", { selected: one === (main ?? category ?? label) }, one);
  if (answer.task !== "rads_assignment") return el("select", {}, ...labels.map(option));
  const of = new Map(known.systems.flatMap(({ system, categories }) => categories.map(({ code }) => [code, system])));
  const groups = Map.groupBy(labels, (one) => of.get(one) ?? "None");
  return el("select", {}, ...[...groups].map(([system, codes]) => el("optgroup", { label: system }, ...codes.map(option))));
}
