/** Small helpers around the document. Data becomes text nodes and attributes only, never markup. */

/** @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);

/**
 * An element. Functions named `on...` become listeners, what the element has as a property is set as one, the rest are
 * attributes; null, undefined and false are left out. Children are nodes or text.
 * @param {string} tag
 * @param {Record<string, any>} [given]
 * @param {...(Node | string | number | null | undefined | false)} children
 * @returns {any}
 */
export function el(tag, given = {}, ...children) {
  const node = /** @type {any} */ (document.createElement(tag));
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false).map((child) => (child instanceof Node ? child : String(child))));
  return node;
}

/** Show a sentence in an element that is hidden while there is none. @param {HTMLElement} node @param {string} text */
export function tell(node, text) {
  node.textContent = text;
  node.hidden = !text;
}

/** `rads_assignment` as it is read: `RADS assignment`. @param {string} name */
export function title(name) {
  const words = name.replaceAll("_", " ").replace(/\b(rads|ner|nli|qa)\b/g, (word) => word.toUpperCase());
  return words.replace(/^([nm]) staging$/, (whole) => whole.toUpperCase().replace("STAGING", "staging")).replace(/^./, (first) => first.toUpperCase());
}

/** A probability as it is read: 0.87, never a rounded 0 or 1. @param {number} value */
export function probability(value) {
  if (value > 0.995 && value < 1) return "> 0.99";
  return value < 0.005 && value > 0 ? "< 0.01" : value.toFixed(2);
}

/**
 * Checkboxes that look like chips.
 * @param {HTMLElement} place @param {string[]} names @param {(name: string) => string} label @param {() => void} [changed]
 */
export function chips(place, names, label, changed = () => {}) {
  place.replaceChildren(...names.map((name) => el("label", { className: "chip" },
    el("input", { type: "checkbox", value: name, onchange: changed, autocomplete: "off" }), el("span", {}, label(name)))));
}

/** The values of the checked boxes in an element. @param {HTMLElement} place @returns {string[]} */
export const chosen = (place) => [.../** @type {any} */ (place.querySelectorAll("input:checked"))].map((box) => box.value);

/** Hand a file to the user. @param {Blob} blob @param {string} name */
export function save(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Put text on the clipboard, or show it selected where the browser does not allow that. @param {string} text @returns {Promise<boolean>} */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    $("copy-text").value = text;
    $("copy-dialog").showModal();
    $("copy-text").select();
    return false;
  }
}

/** Take dropped files. @param {HTMLElement} place @param {(files: File[]) => void} take */
export function droppable(place, take) {
  place.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    place.classList.add("over");
  });
  place.addEventListener("dragleave", (event) => {
    if (!place.contains(/** @type {Node} */ (event.relatedTarget))) place.classList.remove("over");
  });
  place.addEventListener("drop", (event) => {
    place.classList.remove("over");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });
}
