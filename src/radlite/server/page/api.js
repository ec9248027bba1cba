/** Everything that is asked of the server. Addresses are relative, so that the page works below any prefix. */
import { $ } from "./dom.js";

/** In memory only: it is gone with the page. */
let key = "";
/** @type {Promise<boolean> | null} */
let asking = null;

/** What the server refused, in its own words. */
export class Refusal extends Error {
  /** @param {number} status @param {string} code @param {string} message */
  constructor(status, code, message) {
    super(message.replace(/^./, (first) => first.toUpperCase()));
    this.status = status;
    this.code = code;
  }
}

/** Let the page know that the server went away. */
export const lost = () => dispatchEvent(new Event("lost"));

/**
 * Ask the server; a JSON body is given as `json`. Asks the user for a key where the server wants one. Throws `Refusal`.
 * @param {string} path
 * @param {{method?: string, json?: any, body?: BodyInit, accept?: string, signal?: AbortSignal}} [options]
 * @returns {Promise<Response>}
 */
export async function ask(path, { method, json, body, accept, signal } = {}) {
  for (;;) {
    /** @type {Record<string, string>} */
    const headers = {};
    if (accept) headers.Accept = accept;
    if (key) headers.Authorization = `Bearer ${key}`;
    if (json !== undefined) headers["Content-Type"] = "application/json";
    const sent = json === undefined ? body : JSON.stringify(json);
    const used = key;
    let response;
    try {
      response = await fetch(path, { method: method ?? (sent ? "POST" : "GET"), headers, body: sent, signal, cache: "no-store" });
    } catch (error) {
      if (/** @type {any} */ (error).name === "AbortError") throw error;
      lost();
      throw new Refusal(0, "unreachable", "The server does not answer; see whether it runs, then try again.");
    }
    if (response.ok) return response;
    const refusal = await refused(response);
    if (refusal.status !== 401) throw refusal;
    // Another question may have brought a new key meanwhile.
    if (used === key && !(await askKey(used !== ""))) throw refusal;
  }
}

/** The JSON of an answer. @param {string} path @param {Parameters<typeof ask>[1]} [options] @returns {Promise<any>} */
export const get = async (path, options) => (await ask(path, options)).json();

/** @param {Response} response */
async function refused(response) {
  let error;
  try {
    error = (await response.json()).error;
  } catch {
    error = null;
  }
  const wait = response.headers.get("Retry-After");
  const later = wait ? ` Try again in ${wait} s.` : "";
  const said = error?.message ?? `The server answered with status ${response.status}.`;
  return new Refusal(response.status, error?.code ?? "", said + later);
}

/** @param {boolean} wrong whether a key was tried */
function askKey(wrong) {
  asking ??= new Promise((resolve) => {
    const [dialog, form] = [$("key-dialog"), $("key-form")];
    if (wrong) $("key-said").textContent = "The server does not know that key. Try another one; it is not stored.";
    $("key").value = "";
    form.onsubmit = (/** @type {Event} */ event) => {
      event.preventDefault();
      key = $("key").value.trim();
      dialog.close("given");
    };
    $("key-cancel").onclick = () => dialog.close("");
    dialog.onclose = () => {
      $("key").value = "";
      asking = null;
      resolve(dialog.returnValue === "given");
    };
    dialog.returnValue = "";
    dialog.showModal();
  });
  return asking;
}

/**
 * The events of a stream of server-sent events.
 * @param {Response} response
 * @returns {AsyncGenerator<{event: string, data: any}>}
 */
export async function* events(response) {
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const decoder = new TextDecoder();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    waiting += decoder.decode(value, { stream: !done });
    const whole = waiting.split(/\r?\n\r?\n/);
    waiting = /** @type {string} */ (whole.pop());
    for (const block of whole) {
      let [event, data] = ["message", ""];
      for (const line of block.split(/\r?\n/)) {
        if (line.startsWith("event:")) event = line.slice(6).trim();
        if (line.startsWith("data:")) data += line.slice(5);
      }
      if (data) yield { event, data: JSON.parse(data) };
    }
    if (done) return;
  }
}
