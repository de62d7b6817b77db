// Building elements and saying things; text is always text, never markup.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  return filled(made, attributes, children);
}

export function drawing(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  return filled(made, attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child != null));
  return made;
}

export function show(title, ...children) {
  document.title = `${title} · kubeglass traces`;
  document.getElementById("main").replaceChildren(element("h1", {}, title), ...children.flat());
}

export function say(text) {
  document.getElementById("status").textContent = text;
}

export async function fetchData(path) {
  const response = await fetch(path, { headers: { Accept: "application/json" } });
  const document = await response.json();
  if (!response.ok || (document.errors && document.data == null)) {
    throw new Error(document.errors?.[0]?.msg ?? `${response.status} ${response.statusText}`);
  }
  return document.data;
}

export function duration(microseconds) {
  if (microseconds < 1000) return `${microseconds} µs`;
  if (microseconds < 1e6) return `${(microseconds / 1000).toFixed(2)} ms`;
  return `${(microseconds / 1e6).toFixed(2)} s`;
}

export function moment(microseconds) {
  return new Date(microseconds / 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

export function tagOf(span, key) {
  return span.tags.find((tag) => tag.key === key)?.value;
}

export function failed(span) {
  return tagOf(span, "error") === true;
}
