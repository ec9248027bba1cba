/** The reading tab: reports, what is asked of them, the answers as they come, and what a reviewer says of these. */
import { ask, events, get, Refusal } from "./api.js";
import { asText, body } from "./cards.js";
import { $, chips, chosen, copy, droppable, el, tell, title } from "./dom.js";
import { connect, mark } from "./marks.js";

/** @typedef {import("./cards.js").Answer} Answer */
/** @typedef {{name: string, inputs: string[], labels: string[]}} Task */
/**
 * What was asked of a report, and what came of it.
 * @typedef {{text: string, inputs: Record<string, string>, tasks: string[], answers: Map<string, Answer>, reviews: Map<string, string>,
 *   spans: Map<string, import("./marks.js").Span[]>, said: string, trouble: string, fhir: any, ended: boolean}} Asked
 */
/** @typedef {{name: string, text: string, byHand: boolean, proposed: string, tasks: string[], system: string, systemByHand: boolean, why: string, question: string, hypothesis: string, asked: Asked | null}} Report */

const LARGEST = 4 << 20;
const PAUSE = 500;
const KEPT = {
  text: "The server keeps it with the report and the note.",
  answers: "The server keeps it without the report and the note.",
  off: "The server keeps no reviews; it only logs that one was made.",
};

/** @returns {Report} */
const fresh = (name = "", text = "") => ({ name, text, byHand: false, proposed: "", tasks: [], system: "", systemByHand: false, why: "", question: "", hypothesis: "", asked: null });

let reports = [fresh()];
let current = reports[0];
/** @type {Map<string, Task>} */
let tasks = new Map();
/** @type {{system: string, categories: {code: string}[]}[]} */
let systems = [];
/** @type {keyof typeof KEPT} what the server keeps of a review */
let keep = "text";
/** @type {{stop: AbortController, report: Report} | null} */
let running = null;
let typing = 0;

/** Whether there is text that would be lost. */
export const unsaved = () => reports.some((report) => report.text.trim());

/** Listen to the form. */
export function begin() {
  $("text").addEventListener("input", () => {
    current.text = $("text").value.toWellFormed();
    clearTimeout(typing);
    typing = setTimeout(propose, PAUSE);
    showMarks();
  });
  for (const name of /** @type {const} */ (["question", "hypothesis"])) $(name).addEventListener("input", () => (current[name] = $(name).value.toWellFormed()));
  $("system").addEventListener("change", () => Object.assign(current, { system: $("system").value, systemByHand: true }));
  $("propose").addEventListener("click", () => {
    Object.assign(current, { byHand: false, systemByHand: false });
    propose();
  });
  $("ask").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    read();
  });
  $("stop").addEventListener("click", stop);
  $("clear").addEventListener("click", clear);
  $("edit").addEventListener("click", () => edit(true));
  $("unedit").addEventListener("click", () => edit(false));
  $("files").addEventListener("change", () => {
    take([...$("files").files]);
    $("files").value = "";
  });
  droppable($("reading"), take);
  $("previous").addEventListener("click", () => show(reports[reports.indexOf(current) - 1]));
  $("next").addEventListener("click", () => show(reports[reports.indexOf(current) + 1]));
  $("which").addEventListener("change", () => show(reports[$("which").selectedIndex]));
  $("copies").addEventListener("click", (/** @type {any} */ event) => event.target.dataset.copy && copyAll(event.target));
  $("print").addEventListener("click", () => window.print());
  document.addEventListener("keydown", (event) => {
    if ($("reading").hidden || document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      read();
    } else if (event.key === "Escape") stop();
  });
  connect($("reading"), $("marked"), () => edit(false));
}

/** Offer what the server can do. @param {{tasks: Task[], rads: typeof systems}} known @param {keyof typeof KEPT} kept */
export function offer(known, kept) {
  keep = kept;
  tasks = new Map(known.tasks.map((task) => [task.name, task]));
  systems = known.rads;
  chips($("tasks"), [...tasks.keys()], title, () => {
    Object.assign(current, { byHand: true, tasks: chosen($("tasks")) });
    showTasks();
  });
  $("system").replaceChildren(el("option", { value: "" }, "any of them"), ...systems.map(({ system }) => el("option", {}, system)));
  show(current);
}

/** Put a report on show. @param {Report | undefined} report */
function show(report) {
  if (!report) return;
  current = report;
  const at = reports.indexOf(report);
  $("walk").hidden = reports.length < 2;
  $("which").replaceChildren(...reports.map(({ name }, number) => el("option", { selected: number === at }, `${number + 1} of ${reports.length}: ${name || "typed"}`)));
  $("previous").disabled = at === 0;
  $("next").disabled = at === reports.length - 1;
  for (const name of /** @type {const} */ (["text", "question", "hypothesis"])) $(name).value = report[name];
  edit(!report.asked);
  showTasks();
  showAnswers();
  if (report.text !== report.proposed) propose();
}

/** Show the report as text to edit, or with its marks. @param {boolean} editing */
function edit(editing) {
  const marked = !editing && current.asked !== null && current.asked.text === current.text;
  const held = $("marked").contains(document.activeElement) || document.activeElement === $("edit");
  $("text").hidden = $("text-hint").hidden = $("unedit").hidden = marked;
  $("marked").hidden = $("marked-hint").hidden = $("edit").hidden = !marked;
  $("text-label").htmlFor = marked ? "" : "text";
  // Beside answers there is room for the report only.
  $("what").open = !marked;
  showMarks();
  if (editing && held) $("text").focus();
}

/** Draw the marks; say so where the text is no longer the one that was read. */
function showMarks() {
  const { asked, text } = current;
  const same = asked !== null && asked.text === text;
  $("unedit").hidden = !same || !$("marked").hidden;
  $("cards").classList.toggle("stale", asked !== null && !same);
  if (asked && !$("marked").hidden) mark($("marked"), text, [...asked.spans.values()].flat());
  showProgress();
}

function showTasks() {
  const wanted = new Set(current.tasks);
  for (const box of $("tasks").querySelectorAll("input")) box.checked = wanted.has(box.value);
  const inputs = new Set(current.tasks.flatMap((name) => tasks.get(name)?.inputs ?? []));
  $("system").value = current.system;
  $("system-field").hidden = !wanted.has("rads_assignment");
  $("question-field").hidden = !inputs.has("question");
  $("hypothesis-field").hidden = !inputs.has("hypothesis");
  $("chosen").textContent = current.tasks.map(title).join(", ") || "nothing yet";
  $("propose").hidden = !current.byHand && !current.systemByHand;
  $("why").textContent = current.byHand ? "Chosen by hand." : current.why || "Tasks that fit are proposed once there is a report.";
}

/** Ask the server which tasks fit the report on show. What was chosen by hand stays. */
async function propose() {
  const report = current;
  const text = (report.proposed = report.text);
  clearTimeout(typing);
  if (!text.trim()) {
    if (!report.byHand) Object.assign(report, { tasks: [], system: "", why: "" });
    showTasks();
    return;
  }
  try {
    const found = await get("v1/detect", { json: { report: text } });
    if (report.text !== text) return;
    report.why = found.tasks.length ? `Proposed because of: ${found.why.join("; ")}.` : `${found.why.join("; ")}: choose tasks by hand.`.replace(/^./, (first) => first.toUpperCase());
    if (!report.byHand) report.tasks = found.tasks;
    if (!report.systemByHand) report.system = found.system ?? "";
  } catch (error) {
    report.why = `No proposal: ${/** @type {Error} */ (error).message}`;
  }
  if (report === current) showTasks();
}

/** Add files to the reports. @param {File[]} files */
async function take(files) {
  const [added, refused] = [/** @type {Report[]} */ ([]), /** @type {string[]} */ ([])];
  for (const file of files) {
    if (file.size > LARGEST) {
      refused.push(`${file.name} is larger than 4 MiB`);
      continue;
    }
    try {
      const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer()).replace(/\r\n?/g, "\n");
      if (text.includes("\0")) throw new TypeError("no text");
      added.push(fresh(file.name, text));
    } catch {
      refused.push(`${file.name} is no text file in UTF-8`);
    }
  }
  if (added.length) {
    reports = [...reports.filter((report) => report.text.trim()), ...added];
    show(added[0]);
  }
  tell($("trouble"), refused.length ? `Not opened: ${refused.join("; ")}.` : "");
}

function clear() {
  if (running?.report === current) stop();
  reports = reports.filter((report) => report !== current);
  if (!reports.length) reports = [fresh()];
  show(reports[0]);
  $("text").focus();
}

function stop() {
  running?.stop.abort();
}

/** Read the report on show. */
async function read() {
  if (running) return;
  const report = current;
  const lacking = lack(report);
  if (lacking) {
    tell($("trouble"), lacking);
    $("what").open = true;
    return;
  }
  running = { stop: new AbortController(), report };
  if (report.text !== report.proposed) await propose();
  /** @type {Asked} */
  const asked = {
    text: report.text,
    inputs: { report: report.text, premise: report.text, question: report.question, hypothesis: report.hypothesis },
    tasks: report.tasks, answers: new Map(), reviews: new Map(), spans: new Map(), said: "Asked.", trouble: "", fhir: null, ended: false,
  };
  report.asked = asked;
  const typed = document.activeElement === $("text");
  show(report);
  if (typed) $("marked").focus();
  try {
    const sent = { report: report.text, tasks: report.tasks.length ? report.tasks : null, system: (asked.tasks.includes("rads_assignment") && report.system) || null, question: report.question, hypothesis: report.hypothesis, stream: true, fhir: true };
    const response = await ask("v1/read", { json: sent, accept: "text/event-stream", signal: running.stop.signal });
    for await (const { event, data } of events(response)) hear(report, asked, event, data);
    if (!asked.ended) throw new Refusal(0, "cut", "The answers broke off; read the report again.");
  } catch (error) {
    const aborted = /** @type {Error} */ (error).name === "AbortError";
    asked.said = aborted ? `Stopped after ${asked.answers.size} of ${asked.tasks.length} answers.` : "";
    asked.trouble = aborted ? "" : /** @type {Error} */ (error).message || "The answers broke off; read the report again.";
  }
  asked.ended = true;
  running = null;
  if (report === current) showAnswers();
}

/** What is still lacking before a report can be read. @param {Report} report */
function lack(report) {
  if (!report.text.trim()) return "There is no report: paste one, type it, or drop a file.";
  if (report.byHand && !report.tasks.length) return "Choose at least one task.";
  for (const name of report.tasks) {
    for (const input of /** @type {const} */ (["question", "hypothesis"])) {
      if (tasks.get(name)?.inputs.includes(input) && !report[input].trim()) return `${title(name)} needs a ${input}.`;
    }
  }
  return "";
}

/** Take in an event of the stream. @param {Report} report @param {Asked} asked @param {string} event @param {any} data */
function hear(report, asked, event, data) {
  if (event === "error") throw new Refusal(0, data.code, data.message);
  if (event === "queued") asked.said = data.place ? `Waiting: ${data.place} before this one.` : `Reading: 0 of ${asked.tasks.length} answers.`;
  if (event === "begun") Object.assign(asked, { tasks: data.tasks, said: "Asked." });
  if (event === "done") Object.assign(asked, { ended: true, fhir: data.fhir ?? null, said: `${asked.answers.size} of ${asked.tasks.length} answers in ${data.seconds.toFixed(1)} s.` });
  if (event === "answer") {
    asked.answers.set(data.task, data);
    const head = (data.rendered ?? data.status).split("\n")[0].slice(0, 80);
    asked.said = `${asked.answers.size} of ${asked.tasks.length} answers. ${title(data.task)}: ${head}`;
  }
  if (report !== current) return;
  if (event === "answer") {
    showCard(asked, data.task);
    showMarks();
  } else showAnswers();
}

function showProgress() {
  const { asked, text } = current;
  const stale = asked && asked.text !== text ? " The report was changed since: read it again." : "";
  const elsewhere = running && running.report !== current ? ` (Reading ${running.report.name || "another report"}.)` : "";
  const said = (asked ? asked.said : "No report was read yet.") + stale + elsewhere;
  if ($("progress").textContent !== said) $("progress").textContent = said;
  const pressed = document.activeElement;
  $("read").disabled = running !== null;
  $("stop").disabled = running === null;
  // A button that is disabled would lose the focus to nowhere.
  if (pressed === $(running ? "read" : "stop")) $(running ? "stop" : "read").focus();
  $("cards").ariaBusy = String(running?.report === current);
}

/** Draw all cards of the report on show. */
function showAnswers() {
  const { asked } = current;
  tell($("trouble"), asked?.trouble ?? "");
  $("copies").hidden = !asked?.answers.size;
  const fhir = $("copies").querySelector("[data-copy=fhir]");
  fhir.hidden = !asked?.fhir;
  const names = asked?.tasks ?? [];
  const slots = new Map([...$("cards").children].map((slot) => [slot.dataset.task, slot]));
  const kept = names.every((name, number) => $("cards").children[number]?.dataset.task === name) && $("cards").children.length === names.length;
  if (!kept) $("cards").replaceChildren(...names.map((name) => slots.get(name) ?? el("article", { className: "card", "data-task": name, "aria-labelledby": `card-${name}` })));
  for (const name of names) if (asked) showCard(asked, name);
  showMarks();
}

/** Draw a card unless it is drawn. @param {Asked} asked @param {string} name */
function showCard(asked, name) {
  const slot = /** @type {any} */ ([...$("cards").children]).find((/** @type {any} */ one) => one.dataset.task === name);
  const answer = asked.answers.get(name);
  if (!slot || (answer && slot.answer === answer)) return;
  slot.answer = answer;
  slot.classList.toggle("waiting", !answer && !asked.ended);
  const head = el("header", {}, el("h3", { id: `card-${name}` }, title(name)), answer && el("small", {}, `${answer.seconds.toFixed(1)} s`));
  if (!answer) {
    slot.replaceChildren(head, el("p", { className: "plain" }, asked.ended ? "Not answered." : "Waiting for the model …"));
    return;
  }
  /** @type {import("./marks.js").Span[]} */
  const spans = [];
  const given = /** @type {const} */ (["question", "hypothesis"]).filter((input) => tasks.get(name)?.inputs.includes(input));
  slot.replaceChildren(head, ...given.map((input) => el("p", { className: "hint" }, `${title(input)}: ${asked.inputs[input]}`)), body(answer, { key: name, spans, report: asked.text }), reviewing(asked, answer));
  asked.spans.set(name, spans);
  $("copies").hidden = false;
}

/** @param {HTMLButtonElement} button */
async function copyAll(button) {
  const { asked } = current;
  if (!asked) return;
  const answers = asked.tasks.flatMap((name) => asked.answers.get(name) ?? []);
  const text = {
    text: () => `${answers.map(asText).join("\n\n")}\n\nWritten by a language model (${answers[0].model}), not reviewed. For research; not a medical device.\n`,
    json: () => JSON.stringify(answers, null, 1),
    fhir: () => JSON.stringify(asked.fhir, null, 1),
  }[/** @type {"text" | "json" | "fhir"} */ (button.dataset.copy)]();
  const before = button.textContent;
  if (!(await copy(text))) return;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1500);
}

/** What a reviewer can say of an answer. @param {Asked} asked @param {Answer} answer */
function reviewing(asked, answer) {
  const said = el("p", { className: "hint", role: "status" }, asked.reviews.get(answer.task) ?? "");
  const place = el("div");
  const buttons = el("div", { className: "row", role: "group", ariaLabel: `Review of ${title(answer.task)}` },
    answer.answer !== null && el("button", { type: "button", onclick: () => open("accept") }, "Accept"),
    el("button", { type: "button", onclick: () => open("correct") }, "Correct"),
    el("button", { type: "button", onclick: () => open("reject") }, "Reject"));
  /** @param {"accept" | "correct" | "reject"} action */
  const open = (action) => {
    const right = action === "correct" ? correction(answer) : null;
    const note = el("input", { autocomplete: "off", maxLength: 1000 });
    const trouble = el("p", { className: "trouble", role: "alert", hidden: true });
    const send = async (/** @type {Event} */ event) => {
      event.preventDefault();
      const task = /** @type {Task} */ (tasks.get(answer.task));
      const inputs = Object.fromEntries(task.inputs.map((name) => [name, asked.inputs[name]]));
      try {
        await get("v1/reviews", { json: { answer_id: answer.id, task: answer.task, action, answer: answer.rendered ?? "", corrected: right ? right.value : null, note: note.value.toWellFormed(), inputs: keep === "text" ? inputs : null } });
        said.textContent = { accept: "Accepted.", correct: `Corrected: ${right?.value.split("\n")[0]}`, reject: "Rejected." }[action];
        asked.reviews.set(answer.task, said.textContent ?? "");
        close();
      } catch (error) {
        tell(trouble, /** @type {Error} */ (error).message);
      }
    };
    place.replaceChildren(el("form", { className: "review", onsubmit: send },
      right && el("label", {}, "Right answer", right),
      el("label", {}, "Note (optional)", note), el("p", { className: "hint" }, KEPT[keep]), trouble,
      el("div", { className: "row" }, el("button", { type: "submit", className: "main" }, { accept: "Accept", correct: "Send the correction", reject: "Reject" }[action]),
        el("button", { type: "button", onclick: close }, "Cancel"))));
    (right ?? note).focus();
  };
  const close = () => {
    place.replaceChildren();
    buttons.querySelector("button")?.focus();
  };
  return el("footer", {}, buttons, place, said);
}

/** Where the right answer is given: the task's labels, or the answer's own text to change. @param {Answer} answer */
function correction(answer) {
  const labels = tasks.get(answer.task)?.labels ?? [];
  const given = answer.rendered ?? "";
  const rows = given.split("\n").reduce((sum, line) => sum + Math.ceil((line.length + 1) / 40), 0);
  if (!labels.length) return el("textarea", { rows: Math.min(16, Math.max(3, rows)), value: given, selectionEnd: 0, required: true, spellcheck: false });
  const option = (/** @type {string} */ label) => el("option", { selected: label === (answer.answer?.category ?? answer.answer?.label) }, label);
  if (answer.task !== "rads_assignment") return el("select", {}, ...labels.map(option));
  const of = new Map(systems.flatMap(({ system, categories }) => categories.map(({ code }) => [code, system])));
  const groups = Map.groupBy(labels, (label) => of.get(label) ?? (label.startsWith("NI-RADS") ? "NI-RADS" : "None"));
  return el("select", {}, ...[...groups].map(([system, codes]) => el("optgroup", { label: system }, ...codes.map(option))));
}
