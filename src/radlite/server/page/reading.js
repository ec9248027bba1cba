/** The reading tab: reports, what is asked of them, the answers as they come, and what a reviewer says of these. */
import { ask, events, get, lost, Refusal } from "./api.js";
import { asText, body } from "./cards.js";
import { $, chips, chosen, copy, droppable, el, p, tell, title } from "./dom.js";
import { opened } from "./files.js";
import { ABOUT, EXAMPLE } from "./intro.js";
import { connect, mark } from "./marks.js";
import { reviewing } from "./review.js";
import { stack } from "./stack.js";

/** @typedef {import("./cards.js").Answer} Answer */
/**
 * What the server can do.
 * @typedef {{name: string, inputs: string[], labels: string[], description: string}} Task
 * @typedef {{tasks: Map<string, Task>, systems: {system: string, categories: {code: string}[]}[], keep: string}} Known
 */
/**
 * What was asked of a report, and what came of it.
 * @typedef {{text: string, inputs: Record<string, string>, tasks: string[], answers: Map<string, Answer>,
 *   reviews: Map<string, string>, spans: Map<string, import("./marks.js").Span[]>, said: string, trouble: string,
 *   fhir: any, ended: boolean, when: Date}} Asked
 */
/**
 * A report with what is to be asked of it; `proposed` is the text that the proposal `why` is made for, and
 * `proposing` is done once it is there.
 * @typedef {{name: string, text: string, proposed: string, proposing: Promise<void>, why: string, tasks: string[], byHand: boolean,
 *   system: string, systemByHand: boolean, question: string, hypothesis: string, asked: Asked | null}} Report
 */

const PAUSE = 500;
const USE = "For research; not a medical device.";
const BROKEN = "The answers broke off; read the report again.";
/** The head of what is said where the server could not be asked. */
const UNKNOWN = "No proposal:";
const UNFIT = "No task fits this text. Choose at least one by hand.";
/** @returns {Report} */
const fresh = (name = "", text = "") => ({
  name, text, proposed: "", proposing: Promise.resolve(), why: "", tasks: [], byHand: false, system: "", systemByHand: false, question: "", hypothesis: "", asked: null,
});
const TEXTS = /** @type {const} */ (["question", "hypothesis"]);

let reports = [fresh()];
let current = reports[0];
/** @type {Known} */
let known = { tasks: new Map(), systems: [], keep: "text" };
/** @type {{stop: AbortController, report: Report} | null} */
let running = null;
/** Whether the reports are read one after the other. */
let all = false;
let typing = 0;

/** Whether there is text that would be lost. */
export const unsaved = () => reports.some((report) => report.text.trim());

/** Listen to the form. */
export function begin() {
  $("text").addEventListener("input", typed);
  for (const name of TEXTS) {
    $(name).addEventListener("input", () => (current[name] = $(name).value.toWellFormed()));
  }
  $("system").addEventListener("change", () => Object.assign(current, { system: $("system").value, systemByHand: true }));
  $("propose").addEventListener("click", () => {
    Object.assign(current, { byHand: false, systemByHand: false });
    propose(current);
  });
  $("ask").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    read();
  });
  $("stop").addEventListener("click", stop);
  $("clear").addEventListener("click", clear);
  $("example").addEventListener("click", () => {
    $("text").value = EXAMPLE;
    typed();
    $("text").focus();
    $("text").setSelectionRange(0, 0);
  });
  $("edit").addEventListener("click", () => edit(true));
  $("unedit").addEventListener("click", () => edit(false));
  $("files").addEventListener("change", () => {
    take([...$("files").files]);
    $("files").value = "";
  });
  $("read-all").addEventListener("click", readAll);
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
  stack($("cards"));
}

function typed() {
  const before = current.text.length;
  current.text = $("text").value.toWellFormed();
  clearTimeout(typing);
  // What is pasted is whole; what is typed goes on.
  const pasted = Math.abs(current.text.length - before) > 1;
  typing = setTimeout(() => propose(current), pasted ? 0 : PAUSE);
  $("example").hidden = current.text !== "";
  showMarks();
}

/** Offer what the server can do. @param {Known} found */
export function offer(found) {
  known = found;
  const names = [...known.tasks.keys()];
  chips($("tasks"), names, title, () => {
    Object.assign(current, { byHand: true, tasks: chosen($("tasks")) });
    showTasks();
  });
  const about = (/** @type {string} */ name) => ABOUT[name] ?? known.tasks.get(name)?.description ?? "";
  $("about").replaceChildren(...names.map((name) => el("div", {}, el("dt", {}, title(name)), el("dd", {}, about(name)))));
  const options = known.systems.map(({ system }) => el("option", {}, system));
  $("system").replaceChildren(el("option", { value: "" }, "any of them"), ...options);
  show(current);
}

/** Put a report on show. @param {Report | undefined} report */
function show(report) {
  if (!report) return;
  current = report;
  $("why").ariaBusy = "false";
  showWalk();
  for (const name of /** @type {const} */ (["text", ...TEXTS])) $(name).value = report[name];
  edit(!report.asked);
  showTasks();
  showAnswers();
  if (report.text !== report.proposed) propose(report);
}

/** Show which of the reports is on show, and which were read. */
function showWalk() {
  const at = reports.indexOf(current);
  const many = reports.length;
  $("walk").hidden = many < 2;
  if ($("which").options.length !== many) $("which").replaceChildren(...reports.map(() => el("option")));
  reports.forEach(({ name, asked }, number) => {
    const state = !asked ? "" : asked.trouble ? " (not read)" : asked.ended ? " (read)" : " …";
    const text = `${number + 1} of ${many}: ${name || "typed"}${state}`;
    const option = $("which").options[number];
    if (option.textContent !== text) option.textContent = text;
  });
  $("which").selectedIndex = at;
  const [previous, next] = [$("previous"), $("next")];
  const held = document.activeElement;
  previous.disabled = at === 0;
  next.disabled = at === many - 1;
  // A button that is disabled would lose the focus to nowhere.
  if (held === previous && previous.disabled) next.focus();
  if (held === next && next.disabled) previous.focus();
  $("read-all").disabled = running !== null || all;
}

/** Show the report as text to edit, or with its marks. @param {boolean} editing */
function edit(editing) {
  const marked = !editing && current.asked !== null && current.asked.text === current.text;
  const held = $("marked").contains(document.activeElement) || document.activeElement === $("edit");
  $("text").hidden = $("text-hint").hidden = $("unedit").hidden = marked;
  $("marked").hidden = $("marked-hint").hidden = $("edit").hidden = !marked;
  $("text-label").htmlFor = marked ? "" : "text";
  $("example").hidden = current.text !== "";
  // Beside answers there is room for the report only.
  $("what").open = !marked;
  showMarks();
  if (editing && held) $("text").focus();
}

/** Draw the marks; say so where the text is no longer the one that was read. */
function showMarks() {
  const { asked, text } = current;
  const same = asked !== null && asked.text === text;
  $("unedit").hidden = !same || !asked.answers.size || !$("marked").hidden;
  $("cards").classList.toggle("stale", asked !== null && !same);
  if (asked && !$("marked").hidden) {
    $("controls").hidden = !mark($("marked"), text, [...asked.spans.values()].flat());
  }
  showProgress();
}

function showTasks() {
  const wanted = new Set(current.tasks);
  for (const box of $("tasks").querySelectorAll("input")) box.checked = wanted.has(box.value);
  const inputs = new Set(current.tasks.flatMap((name) => known.tasks.get(name)?.inputs ?? []));
  $("system").value = current.system;
  $("system-field").hidden = !wanted.has("rads_assignment");
  $("question-field").hidden = !inputs.has("question");
  $("hypothesis-field").hidden = !inputs.has("hypothesis");
  $("chosen").textContent = current.tasks.map(title).join(", ") || "nothing yet";
  $("propose").hidden = !current.byHand && !current.systemByHand;
  const why = current.why || "Tasks that fit are proposed once there is a report.";
  $("why").textContent = current.byHand ? "Chosen by hand." : why;
}

/** Ask the server which tasks fit a report. What was chosen by hand stays. @param {Report} report */
function propose(report) {
  report.proposing = detect(report);
}

/** @param {Report} report */
async function detect(report) {
  const text = (report.proposed = report.text);
  if (report === current) {
    clearTimeout(typing);
    $("why").ariaBusy = String(text.trim() !== "");
  }
  if (!text.trim()) {
    if (!report.byHand) Object.assign(report, { tasks: [], system: "", why: "" });
    showTasks();
    return;
  }
  try {
    const { tasks, system, why } = await get("v1/detect", { json: { report: text } });
    if (report.text !== text) return;
    const reasons = why.join("; ");
    report.why = tasks.length ? `Proposed because of: ${reasons}.` : `Nothing is proposed: ${reasons}. Choose tasks by hand.`;
    if (!report.byHand) report.tasks = tasks;
    if (!report.systemByHand) report.system = system ?? "";
  } catch (error) {
    report.why = `${UNKNOWN} ${/** @type {Error} */ (error).message}`;
  }
  if (report !== current) return;
  $("why").ariaBusy = "false";
  showTasks();
}

/** Add files to the reports. @param {File[]} files */
async function take(files) {
  const [added, refused] = [/** @type {Report[]} */ ([]), /** @type {string[]} */ ([])];
  for (const file of files) {
    const { text, why } = await opened(file);
    if (why) refused.push(`${file.name} ${why}`);
    else added.push(fresh(file.name, text));
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

/** Read the reports that were not read yet, one after the other, until one is stopped or the server refuses. */
async function readAll() {
  if (running || all) return;
  all = true;
  const left = reports.filter((report) => report.asked?.text !== report.text || report.asked.trouble || !report.asked.ended);
  for (const report of left) if (reports.includes(report) && !(await read(report))) break;
  all = false;
  showWalk();
}

/**
 * Read a report. Returns whether it makes sense to go on with others.
 * @param {Report} report @returns {Promise<boolean>}
 */
async function read(report = current) {
  if (running) return false;
  running = { stop: new AbortController(), report };
  const { signal } = running.stop;
  let stopped = false;
  if (report.text.trim()) {
    if (report.text !== report.proposed) propose(report);
    showProgress();
    await report.proposing;
    stopped = signal.aborted;
  }
  const lacking = lack(report);
  if (lacking || stopped) {
    running = null;
    if (report === current) complain(lacking);
    showProgress();
    return !stopped;
  }
  /** @type {Asked} */
  const asked = {
    text: report.text,
    inputs: { report: report.text, premise: report.text, question: report.question, hypothesis: report.hypothesis },
    tasks: [...report.tasks], answers: new Map(), reviews: new Map(), spans: new Map(),
    said: "Asked.", trouble: "", fhir: null, ended: false, when: new Date(),
  };
  report.asked = asked;
  showWalk();
  if (report === current) {
    const typed = document.activeElement === $("text");
    show(report);
    if (typed) $("marked").focus();
    // In one column the answers come below what is in sight, and a long form may have been scrolled.
    const { top } = $("answers-title").getBoundingClientRect();
    if (top < 0 || top > window.innerHeight * 0.5) $("answers-title").scrollIntoView();
  }
  try {
    const sent = {
      report: report.text, question: report.question, hypothesis: report.hypothesis,
      tasks: report.tasks.length ? report.tasks : null,
      system: (report.tasks.includes("rads_assignment") && report.system) || null,
      stream: true, fhir: true,
    };
    const response = await ask("v1/read", { json: sent, accept: "text/event-stream", signal });
    for await (const { event, data } of events(response)) hear(report, asked, event, data);
    if (!asked.ended) throw new Error("no end");
  } catch (error) {
    stopped = /** @type {Error} */ (error).name === "AbortError";
    if (!stopped && !(error instanceof Refusal)) lost();
    const got = `${asked.answers.size} of ${asked.tasks.length} answers`;
    asked.said = stopped ? `Stopped after ${got}.` : asked.answers.size ? `${got}.` : "Not read.";
    asked.trouble = stopped ? "" : error instanceof Refusal ? error.message : BROKEN;
  }
  asked.ended = true;
  running = null;
  showWalk();
  if (report === current) {
    // Without an answer there is nothing to mark, but something to change.
    if (asked.trouble && !asked.answers.size) edit(true);
    showAnswers();
  } else showProgress();
  return !stopped && !asked.trouble;
}

/** What is still lacking before a report can be read, and where it goes. @param {Report} report @returns {[string, string] | null} */
function lack(report) {
  if (!report.text.trim()) return ["There is no report: paste one, type it, or drop a file.", "text"];
  if (!known.tasks.size) return ["The server is not ready yet.", "text"];
  if (!report.tasks.length && report.byHand) return ["Choose at least one task.", "tasks"];
  if (!report.tasks.length && !report.why.startsWith(UNKNOWN)) return [UNFIT, "tasks"];
  for (const name of report.tasks) {
    for (const input of TEXTS) {
      if (known.tasks.get(name)?.inputs.includes(input) && !report[input].trim()) return [`${title(name)} needs a ${input}.`, input];
    }
  }
  return null;
}

/** Say what is lacking, and go there. @param {[string, string] | null} lacking */
function complain(lacking) {
  tell($("trouble"), lacking?.[0] ?? "");
  if (!lacking) return;
  if (lacking[1] === "text") edit(true);
  else $("what").open = true;
  (lacking[1] === "tasks" ? $("tasks").querySelector("input") : $(lacking[1])).focus();
}

/** Take in an event of the stream. @param {Report} report @param {Asked} asked @param {string} event @param {any} data */
function hear(report, asked, event, data) {
  const count = () => `${asked.answers.size} of ${asked.tasks.length} answers`;
  if (event === "error") throw new Refusal(0, data.code, data.message);
  if (event === "begun") {
    asked.tasks = data.tasks;
    if (!report.tasks.length) report.tasks = data.tasks;
  }
  if (event === "queued") asked.said = data.place ? `Waiting: ${data.place} before this one.` : `Reading: ${count()}.`;
  if (event === "answer") {
    asked.answers.set(data.task, data);
    const head = (data.rendered ?? data.status).split("\n")[0].slice(0, 80);
    const warned = data.warnings.length ? `, with ${data.warnings.length === 1 ? "a warning" : `${data.warnings.length} warnings`}` : "";
    asked.said = `${count()}. ${title(data.task)}: ${head}${warned}`;
  }
  if (event === "done") {
    Object.assign(asked, { ended: true, fhir: data.fhir ?? null, said: `${count()} in ${data.seconds.toFixed(1)} s.` });
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
  if (pressed === $(running ? "read" : "stop")) $(running ? "stop" : "read").focus({ preventScroll: true });
  $("read-all").disabled = running !== null || all;
  $("cards").ariaBusy = String(running?.report === current);
}

/** Draw all cards of the report on show. */
function showAnswers() {
  const { asked } = current;
  tell($("trouble"), asked?.trouble ?? "");
  $("copies").hidden = !asked?.answers.size;
  $("intro").hidden = asked !== null;
  tell($("origin"), asked?.answers.size ? origin(asked) : "");
  const fhir = $("copies").querySelector("[data-copy=fhir]");
  fhir.hidden = !asked?.fhir;
  const names = asked?.tasks ?? [];
  const slots = new Map([...$("cards").children].map((slot) => [slot.dataset.task, slot]));
  // Cards that are there already stay as they are, and keep the focus.
  if ([...slots.keys()].join() !== names.join()) {
    $("cards").replaceChildren(...names.map((name) => slots.get(name) ?? place(name)));
  }
  for (const name of names) if (asked) showCard(asked, name);
  showMarks();
}

/** Who wrote the answers, and when. @param {Asked} asked */
function origin(asked) {
  const models = new Set([...asked.answers.values()].map((answer) => answer.model));
  return `Written by ${[...models].join(", ")}, ${asked.when.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" })}. ${USE}`;
}

/** Where the answer to a task will stand. @param {string} name */
const place = (name) => el("article", { className: "card", "data-task": name, "aria-labelledby": `card-${name}` });

/** Draw a card unless it is drawn. @param {Asked} asked @param {string} name */
function showCard(asked, name) {
  const slot = /** @type {any} */ ([...$("cards").children]).find((/** @type {any} */ one) => one.dataset.task === name);
  const answer = asked.answers.get(name);
  if (!slot || (answer && slot.answer === answer)) return;
  slot.answer = answer;
  slot.classList.toggle("waiting", !answer && !asked.ended);
  const seconds = answer && el("small", {}, `${answer.seconds.toFixed(1)} s`);
  const head = el("header", {}, el("h3", { id: `card-${name}` }, title(name)), seconds);
  if (!answer) {
    slot.replaceChildren(head, p("plain", asked.ended ? "Not answered." : "Waiting for the model …"));
    return;
  }
  const given = TEXTS.filter((input) => known.tasks.get(name)?.inputs.includes(input));
  const texts = given.map((input) => p("hint", `${title(input)}: ${asked.inputs[input]}`));
  /** @type {import("./marks.js").Span[]} */
  const spans = [];
  slot.replaceChildren(head, ...texts, body(answer, { key: name, spans }), reviewing(known, asked, answer));
  asked.spans.set(name, spans);
  $("copies").hidden = false;
}

/** @param {HTMLButtonElement} button */
async function copyAll(button) {
  const { asked } = current;
  if (!asked) return;
  const answers = asked.tasks.flatMap((name) => asked.answers.get(name) ?? []);
  const text = {
    text: () => [...answers.map(asText), `Written by a language model (${answers[0].model}), not reviewed. ${USE}\n`].join("\n\n"),
    json: () => JSON.stringify(answers, null, 1),
    fhir: () => JSON.stringify(asked.fhir, null, 1),
  }[/** @type {"text" | "json" | "fhir"} */ (button.dataset.copy)]();
  const before = button.textContent;
  if (!(await copy(text))) return;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = before), 1500);
}
