/** The page: its tabs, its colours, and whether the server is ready. */
import { get, Refusal } from "./api.js";
import * as batch from "./batch.js";
import { $ } from "./dom.js";
import * as models from "./models.js";
import * as reading from "./reading.js";

const tabs = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[role=tab]")]);
const OPENED = { batch: batch.watch, models: models.models, reviews: models.reviews };
const [AGAIN, RARELY] = [3000, 30_000];

/** Show what a tab is of. @param {HTMLElement} tab */
function open(tab) {
  for (const one of tabs) {
    const name = one.getAttribute("aria-controls") ?? "";
    one.ariaSelected = String(one === tab);
    one.tabIndex = one === tab ? 0 : -1;
    $(name).hidden = one !== tab;
    if (one === tab) OPENED[/** @type {keyof typeof OPENED} */ (name)]?.();
  }
}

/** Open a tab as a step that the browser's Back takes back. @param {HTMLElement} tab */
function go(tab) {
  const place = `#${tab.getAttribute("aria-controls")}`;
  if (location.hash !== place) history.pushState(null, "", place);
  open(tab);
}

/** Open the tab that the address names. */
function arrive() {
  const named = tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash);
  if (named ?? !location.hash) open(named ?? tabs[0]);
}

addEventListener("popstate", arrive);
for (const tab of tabs) {
  tab.addEventListener("click", () => go(tab));
  tab.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key] ?? 0;
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    go(next);
    next.focus();
  });
}

$("scheme").addEventListener("change", () => {
  document.documentElement.dataset.scheme = $("scheme").value;
});
$("copy-close").addEventListener("click", () => $("copy-dialog").close());
// A file that is dropped beside the places for files would replace the page, and what is typed with it.
for (const name of /** @type {const} */ (["dragover", "drop"])) {
  window.addEventListener(name, (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
}
window.addEventListener("beforeunload", (event) => {
  if (reading.unsaved()) event.preventDefault();
});

let next = 0;
/** Whether the server was ready when it was last asked. */
let ready = false;

/** Ask again and again whether the server is ready; whenever it has become so, offer what it can do. */
async function watch() {
  clearTimeout(next);
  const up = ready;
  try {
    ({ ready } = await (await fetch("ready", { cache: "no-store" })).json());
    if (ready && !up) await offer();
    if (!ready) $("server").textContent = "The model is being loaded, or the server is being stopped …";
  } catch (error) {
    ready = false;
    $("server").textContent = error instanceof Refusal ? error.message : "The server does not answer.";
    if (error instanceof Refusal && error.status === 401) {
      $("server").textContent = "No key was given: load the page again to give one.";
      return;
    }
  }
  clearTimeout(next);
  next = setTimeout(watch, ready ? RARELY : AGAIN);
}

addEventListener("lost", () => {
  if (ready) watch();
});

async function offer() {
  const [{ tasks, rads }, { keep }, { loaded }] = [await get("v1/tasks"), await get("v1/reviews"), await get("v1/models")];
  reading.offer({ tasks: new Map(tasks.map((/** @type {{name: string}} */ task) => [task.name, task])), systems: rads, keep });
  batch.offer(tasks);
  const names = loaded.map((/** @type {{name: string}} */ one) => one.name);
  $("server").textContent = `Ready: ${names.join(", ")}`;
  $("unfit").hidden = !names.includes("demonstration");
}

reading.begin();
batch.begin();
models.begin();
arrive();
watch();
