// Shows the OpenAPI document for people. What it says is set as text, never as HTML.

/** @param {string} tag @param {string} text @param {string} [kind] */
function made(tag, text, kind) {
  const element = document.createElement(tag);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

/** What a schema is in one word or two. */
function kindOf(schema, root) {
  const found = resolved(schema, root);
  if (found.anyOf) return found.anyOf.map((one) => kindOf(one, root)).join(" or ");
  if (found.enum) return found.enum.map((one) => JSON.stringify(one)).join(", ");
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.type === "array") return `list of ${kindOf(found.items ?? {}, root)}`;
  return [found.type ?? "anything", found.format].filter(Boolean).join(", ");
}

function resolved(schema, root) {
  const name = schema.$ref?.split("/").pop();
  return name ? root.components.schemas[name] : schema;
}

/** The fields of a schema, a line each, those of objects inside indented. */
function lines(schema, root, indent = "", depth = 0) {
  const found = resolved(schema, root);
  const inner = found.type === "array" ? resolved(found.items ?? {}, root) : found;
  const object = inner.anyOf ? inner.anyOf.map((one) => resolved(one, root)).find((one) => one.properties) ?? inner : inner;
  if (!object.properties) return indent ? [] : [kindOf(schema, root)];
  if (depth > 5) return [`${indent}…`];
  return Object.entries(object.properties).flatMap(([name, value]) => {
    const needed = object.required?.includes(name) ? "" : " (may be left out)";
    const about = value.description ? `: ${value.description}` : "";
    return [`${indent}${name} — ${kindOf(value, root)}${needed}${about}`, ...lines(value, root, `${indent}    `, depth + 1)];
  });
}

function contents(parent, heading, content, root) {
  for (const [kind, { schema }] of Object.entries(content ?? {})) {
    parent.append(made("h3", `${heading}, ${kind}`), made("pre", lines(schema ?? {}, root).join("\n")));
  }
}

function shown(path, method, operation, root) {
  const block = document.createElement("details");
  const summary = document.createElement("summary");
  const [first, ...rest] = (operation.description ?? "").split("\n\n");
  summary.append(made("span", method.toUpperCase(), "method"), made("code", path), made("span", first, "about"));
  block.append(summary, ...rest.map((text) => made("p", text)));
  for (const one of operation.parameters ?? []) {
    block.append(made("p", `${one.in} ${one.name} — ${kindOf(one.schema, root)}`));
  }
  contents(block, "Request", operation.requestBody?.content, root);
  for (const [status, answer] of Object.entries(operation.responses)) {
    if (status < "300") contents(block, `Answer ${status}`, answer.content, root);
  }
  const others = Object.entries(operation.responses).filter(([status]) => status >= "300");
  block.append(made("h3", "Otherwise"), made("pre", others.map(([status, one]) => `${status}  ${one.description}`).join("\n")));
  return block;
}

const about = document.getElementById("about");
const operations = document.getElementById("operations");
try {
  const answer = await fetch("openapi.json");
  const root = await answer.json();
  about.textContent = root.info.description;
  for (const [path, methods] of Object.entries(root.paths)) {
    for (const [method, operation] of Object.entries(methods)) operations.append(shown(path, method, operation, root));
  }
} catch (error) {
  about.textContent = `The document cannot be read (${error.name}).`;
}
