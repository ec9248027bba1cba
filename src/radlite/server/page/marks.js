/** The report with its evidence marked. A mark and the parts of answers that rest on it carry the same `data-keys`. */
import { el } from "./dom.js";

/** @typedef {{start: number, end: number, key: string, soft?: boolean}} Span places count code points, as the server does */

/**
 * From code points to the UTF-16 units that JavaScript counts. @param {string} text @returns {(at: number) => number}
 */
function units(text) {
  if (!/[\ud800-\udfff]/.test(text)) return (at) => at;
  const places = [0];
  for (const point of text) places.push(places[places.length - 1] + point.length);
  return (at) => places[Math.min(at, places.length - 1)];
}

/** Signs that turn the direction of what follows: another order on show than in the text could hide a "no". */
const CONTROLS = /([\u202a-\u202e\u2066-\u2069])/;

/** A text, with such signs shown and shut in. @param {string} text @returns {(Node | string)[]} */
const plain = (text) => text.split(CONTROLS).filter(Boolean).map((one) => CONTROLS.test(one) ?
  el("span", { className: "control", "data-sign": `⟨${one.charCodeAt(0).toString(16).toUpperCase()}⟩` }, one) : one);

/**
 * Show `text` with its spans marked, which may overlap; the focus stays on the mark it was on. Returns whether it holds
 * signs that turn the direction of writing.
 * @param {HTMLElement} place @param {string} text @param {Span[]} spans @returns {boolean}
 */
export function mark(place, text, spans) {
  const unit = units(text);
  const placed = spans.map((span) => ({ ...span, start: unit(span.start), end: unit(span.end) }));
  const borders = [...new Set([0, text.length, ...placed.flatMap(({ start, end }) => [start, end])])].sort((a, b) => a - b);
  const focused = place.contains(document.activeElement) ? /** @type {any} */ (document.activeElement).dataset.start : undefined;
  const parts = borders.slice(0, -1).flatMap((start, number) => {
    const end = borders[number + 1];
    const over = placed.filter((span) => span.start <= start && span.end >= end);
    const said = text.slice(start, end);
    if (!over.length) return plain(said);
    const blank = !said.trim();
    const kind = `${blank ? "blank" : ""} ${over.every((span) => span.soft) ? "soft" : ""}`;
    const node = el("mark", { tabindex: blank ? null : -1, role: blank ? null : "button", className: kind }, ...plain(said));
    Object.assign(node.dataset, { keys: [...new Set(over.map((span) => span.key))].join(" "), start });
    return node;
  });
  place.replaceChildren(...parts);
  rove(place);
  if (focused !== undefined) /** @type {any} */ (place.querySelector(`[data-start="${focused}"]`) ?? place).focus();
  return CONTROLS.test(text);
}

/** Parts that take the focus: all but blanks between two marks. */
const STOPS = "[data-keys]:not(.blank)";

/** Make the first of the parts of a group the one that Tab comes to. @param {Element} group */
export function rove(group) {
  group.querySelectorAll(STOPS).forEach((node, number) => node.setAttribute("tabindex", number ? "-1" : "0"));
}

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };

/**
 * Light up, by hover and focus, what belongs together on both sides; arrows go through a group (`data-rove`), a click
 * or Enter goes to the other side, which `reveal` makes visible.
 * @param {HTMLElement} root @param {HTMLElement} report @param {() => void} reveal
 */
export function connect(root, report, reveal) {
  /** @param {any} event @returns {HTMLElement | null} */
  const part = (event) => event.target.closest("[data-keys]");
  const keys = (/** @type {HTMLElement} */ node) => (node.dataset.keys ?? "").split(" ");
  const light = (/** @type {HTMLElement | null} */ from) => {
    const wanted = new Set(from ? keys(from) : []);
    for (const node of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-keys]"))) {
      node.classList.toggle("lit", keys(node).some((key) => wanted.has(key)));
    }
  };
  root.addEventListener("pointerover", (event) => light(part(event)));
  root.addEventListener("pointerleave", () => light(null));
  root.addEventListener("focusin", (event) => light(part(event)));
  root.addEventListener("focusout", () => light(null));

  const cross = (/** @type {HTMLElement} */ from) => {
    const inside = report.contains(from);
    if (!inside) reveal();
    const wanted = new Set(keys(from));
    const other = /** @type {HTMLElement[]} */ ([...root.querySelectorAll(STOPS)]).find(
      (node) => report.contains(node) !== inside && keys(node).some((key) => wanted.has(key)));
    if (!other) return;
    for (let fold = other.closest("details"); fold; fold = fold.parentElement?.closest("details") ?? null) fold.open = true;
    other.focus();
    other.scrollIntoView({ block: "nearest" });
  };
  root.addEventListener("click", (event) => {
    const from = part(event);
    if (from && !String(window.getSelection())) cross(from);
  });
  root.addEventListener("keydown", (event) => {
    const from = part(event);
    if (!from || event.ctrlKey || event.altKey || event.metaKey) return;
    if (from.tagName === "MARK" && (event.key === "Enter" || event.key === " ")) cross(from);
    else if (event.key in STEPS) step(from, STEPS[/** @type {keyof typeof STEPS} */ (event.key)]);
    else return;
    event.preventDefault();
  });
}

/** @param {HTMLElement} from @param {number} by */
function step(from, by) {
  const group = from.closest("[data-rove]");
  if (!group) return;
  const all = /** @type {HTMLElement[]} */ ([...group.querySelectorAll(STOPS)]).filter((node) => node.offsetParent);
  const to = all[Math.max(0, Math.min(all.length - 1, all.indexOf(from) + by))];
  all.forEach((node) => node.setAttribute("tabindex", node === to ? "0" : "-1"));
  to.focus();
}
