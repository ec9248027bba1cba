/** The batch tab: a table goes up, jobs are watched, results come down. */
import { ask, get } from "./api.js";
import { $, chips, chosen, droppable, el, p, save, tell, title } from "./dom.js";

/**
 * A job as the server tells of it.
 * @typedef {{id: string, name: string, status: string, rows: number, total: number | null,
 *   statuses: Record<string, number>, created: string, begun: string | null, ended: string | null, message: string}} Job
 */

const EVERY = 2000;
const HEAD = 256 << 10;
/** @type {Job[]} */
let jobs = [];
let watching = 0;

export function begin() {
  $("table").addEventListener("change", columns);
  droppable($("batch"), (files) => {
    const list = new DataTransfer();
    list.items.add(files[0]);
    $("table").files = list.files;
    columns();
    tell($("batch-trouble"), files.length > 1 ? `One table at a time: ${files[0].name} was taken.` : "");
  });
  $("order").addEventListener("submit", order);
  for (const name of ["job-name", "job-status"]) $(name).addEventListener("input", draw);
}

/** @param {{name: string}[]} tasks */
export const offer = (tasks) => chips($("batch-tasks"), tasks.map(({ name }) => name), title);

/** Read the names of the columns from the first line of the table, here, to offer them. */
async function columns() {
  const file = $("table").files[0];
  const head = file ? await file.slice(0, HEAD).text() : "";
  let names = /** @type {string[]} */ ([]);
  if (/\.csv$/i.test(file?.name ?? "")) names = firstRecord(head);
  else if (/\.jsonl$/i.test(file?.name ?? "")) {
    try {
      names = Object.keys(JSON.parse(head.split("\n").find((/** @type {string} */ line) => line.trim()) ?? "{}"));
    } catch {
      names = []; // A first line beyond the head that was read, or no JSON: the names are typed.
    }
  }
  $("columns").replaceChildren(...names.map((name) => el("option", { value: name })));
  chips($("keep"), names, (name) => name);
  $("keep-field").hidden = !names.length;
  const likely = [/^report$/i, /report/i, /text|findings/i].flatMap((pattern) => names.filter((name) => pattern.test(name)));
  if (names.length) $("order").elements.column.value = likely[0] ?? names[0];
}

/** The cells of the first record of a CSV text. @param {string} text */
function firstRecord(text) {
  const cells = [...text.replace(/^\ufeff/, "").matchAll(/("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|$)/g)];
  const last = cells.findIndex((cell) => cell[2] !== ",");
  return cells.slice(0, last + 1).map((cell) => cell[1].replace(/^"|"$/g, "").replaceAll('""', '"')).filter(Boolean);
}

/** @param {Event} event */
async function order(event) {
  event.preventDefault();
  const form = $("order");
  const sent = new FormData();
  for (const name of ["column", "id", "question", "hypothesis", "format"]) {
    if (form.elements[name].value) sent.append(name, form.elements[name].value);
  }
  sent.append("tasks", chosen($("batch-tasks")).join(",") || "all");
  for (const name of chosen($("keep"))) sent.append("keep", name);
  if (form.elements.wide.checked) sent.append("wide", "true");
  sent.append("file", $("table").files[0]);
  const button = form.querySelector("[type=submit]");
  button.disabled = true;
  try {
    await get("v1/batch", { body: sent });
    tell($("batch-trouble"), "");
    $("table").value = "";
    columns();
    await watch();
  } catch (error) {
    tell($("batch-trouble"), /** @type {Error} */ (error).message);
  }
  button.disabled = false;
}

/** Look at the jobs, and again while one is under way and the tab is on show. */
export async function watch() {
  clearTimeout(watching);
  try {
    ({ jobs } = await get("v1/batch"));
    draw();
  } catch (error) {
    $("jobs-said").textContent = /** @type {Error} */ (error).message;
  }
  if (!$("batch").hidden && jobs.some(live)) watching = setTimeout(watch, EVERY);
}

/** When and where each job that goes on was seen first. @type {Map<string, {at: number, rows: number}>} */
const seen = new Map();

/** About how long a job still takes, once that can be told. @param {Job} job */
function left({ id, status, rows, total }) {
  const now = Date.now();
  const first = seen.get(id);
  if (status !== "running" || !first) seen.set(id, { at: now, rows });
  if (status !== "running" || !first || total === null || rows <= first.rows) return "";
  const minutes = Math.ceil(((now - first.at) / (rows - first.rows)) * (total - rows) / 60_000);
  const about = minutes < 120 ? `${minutes} minutes` : `${Math.round(minutes / 60)} hours`;
  return `, about ${minutes < 2 ? "a minute" : about} left`;
}

const live = (/** @type {Job} */ job) => job.status === "waiting" || job.status === "running";

function draw() {
  const [name, status] = [$("job-name").value.toLowerCase(), $("job-status").value];
  const shown = jobs.filter((job) => job.name.toLowerCase().includes(name) && (!status || job.status === status));
  const under = jobs.filter(live).length;
  const said = jobs.length ? `${shown.length} of ${jobs.length} jobs shown, ${under} under way.` : "There are no jobs.";
  if ($("jobs-said").textContent !== said) $("jobs-said").textContent = said;
  $("sift").hidden = !jobs.length;
  const held = document.activeElement;
  const place = /** @type {HTMLElement | null | undefined} */ (held?.closest("[data-job]"))?.dataset.job;
  const known = new Map([...$("jobs").children].map((node) => [node.dataset.job, node]));
  $("jobs").replaceChildren(...shown.map((job) => {
    const node = known.get(job.id);
    const facts = JSON.stringify(job);
    return node?.dataset.facts === facts ? node : row(job, facts);
  }));
  // A node that is put in again, or anew, has lost the focus.
  const own = [...$("jobs").children].find((node) => node.dataset.job === place);
  const buttons = [...(own?.querySelectorAll("button") ?? [])];
  (buttons.find((button) => button.textContent === held?.textContent) ?? buttons[0])?.focus();
}

/** @param {Job} job @param {string} facts */
function row(job, facts) {
  const trouble = el("p", { className: "trouble", role: "alert", hidden: true });
  const act = (/** @type {() => Promise<any>} */ what) => async () => {
    try {
      await what();
    } catch (error) {
      tell(trouble, /** @type {Error} */ (error).message);
    }
  };
  const download = act(async () => {
    const response = await ask(`v1/batch/${job.id}/result`);
    const told = response.headers.get("Content-Disposition") ?? "";
    const coded = /filename\*=utf-8''([^;]+)/i.exec(told);
    const name = coded ? decodeURIComponent(coded[1]) : /filename="([^"]+)"/.exec(told)?.[1];
    save(await response.blob(), name ?? "answers");
  });
  const remove = act(async () => {
    await (await ask(`v1/batch/${job.id}`, { method: "DELETE" })).text();
    await watch();
  });
  const number = (/** @type {number} */ count) => count.toLocaleString("en");
  const counts = Object.entries(job.statuses).map(([status, count]) => `${status.replaceAll("_", " ")} ${number(count)}`);
  const rows = `${number(job.rows)}${job.total === null ? "" : ` of ${number(job.total)}`} rows${left(job)}`;
  const most = job.total || 1;
  const button = (/** @type {string} */ name, /** @type {any} */ onclick, className = "") =>
    el("button", { type: "button", onclick, className }, name);
  const node = el("article", { className: "card job", "data-job": job.id, ariaLabel: job.name },
    el("header", {}, el("h3", {}, job.name), el("span", { className: `status ${job.status}` }, job.status)),
    el("progress", { max: most, value: job.status === "done" ? most : job.rows, ariaLabel: `Rows read of ${job.name}` }),
    p("", rows, counts.length ? `; answers: ${counts.join(", ")}` : "", "."),
    job.message && p("plain", job.message),
    p("hint", `Sent ${when(job.created)}${job.ended ? `, ended ${when(job.ended)}` : ""}`),
    trouble,
    el("div", { className: "row" },
      job.status === "done" && button("Download", download, "main"),
      button(live(job) ? "Cancel" : "Remove", remove)));
  node.dataset.facts = facts;
  return node;
}

const when = (/** @type {string} */ time) => new Date(time).toLocaleString("en-GB");
