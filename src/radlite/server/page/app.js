/** The page: its tabs, its colours, and whether the server is ready. */
import { get } from "./api.js";
import * as batch from "./batch.js";
import { $ } from "./dom.js";
import * as models from "./models.js";
import * as reading from "./reading.js";

const tabs = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[role=tab]")]);
const OPENED = { batch: batch.watch, models: models.models, reviews: models.reviews };
const AGAIN = 3000;

/** @param {HTMLElement} tab */
function open(tab) {
  for (const one of tabs) {
    const name = one.getAttribute("aria-controls") ?? "";
    one.ariaSelected = String(one === tab);
    one.tabIndex = one === tab ? 0 : -1;
    $(name).hidden = one !== tab;
    if (one === tab) OPENED[/** @type {keyof typeof OPENED} */ (name)]?.();
  }
}

for (const tab of tabs) {
  tab.addEventListener("click", () => open(tab));
  tab.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key] ?? 0;
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    open(next);
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

/** Ask until the server is ready, then offer what it can do. */
async function start() {
  try {
    const { ready } = await (await fetch("ready", { cache: "no-store" })).json();
    if (ready) {
      const [known, { keep }] = [await get("v1/tasks"), await get("v1/reviews")];
      reading.offer(known, keep);
      batch.offer(known.tasks);
      const { loaded } = await get("v1/models");
      $("server").textContent = `Ready: ${loaded.map((/** @type {any} */ one) => one.name).join(", ")}`;
      $("unfit").hidden = !loaded.some((/** @type {any} */ one) => one.name === "demonstration");
      return;
    }
    $("server").textContent = "The model is being loaded …";
  } catch (error) {
    $("server").textContent = error instanceof TypeError ? "The server does not answer." : /** @type {Error} */ (error).message;
  }
  setTimeout(start, AGAIN);
}

reading.begin();
batch.begin();
models.begin();
start();
