// One trace as a waterfall: a tree grid that arrow keys walk, and the details of the chosen span below it.

import { drawing, duration, element, failed, fetchData, moment, say, show } from "./dom.js";
import { lengthOf, rootOf, started } from "./search.js";

const LARGE = 100; // spans; in a larger trace what a service does on its own is closed at first

export async function tracePage(id) {
  const [[trace], logs] = await Promise.all([fetchData(`/api/traces/${id}`), fetchData(`/api/traces/${id}/logs`)]);
  const root = rootOf(trace);
  const detail = element("section", { class: "detail", "aria-label": "Chosen span", id: "detail" });
  const grid = new Waterfall(trace, logs, detail);
  show(
    `${trace.processes[root.processID].serviceName}: ${root.operationName}`,
    element("p", {}, `${moment(started(trace))} · ${duration(lengthOf(trace))} · ${trace.spans.length} spans · `,
      element("code", {}, trace.traceID)),
    grid.table,
    detail,
    logSection(logs, started(trace)),
  );
  grid.choose(grid.rows[0]);
  say(`${trace.spans.length} spans, ${grid.shown().length} shown. Arrow keys walk the tree, left and right close and open it.`);
}

class Waterfall {
  constructor(trace, logs, detail) {
    this.trace = trace;
    this.logs = logs;
    this.detail = detail;
    this.start = started(trace);
    this.length = Math.max(1, lengthOf(trace));
    const tree = treeOf(trace);
    const open = tree.length > LARGE ? spansWithOthersBelow(tree, trace) : new Set(tree.map((node) => node.span.spanID));
    this.rows = tree.map((node) => this.rowOf(node, open.has(node.span.spanID)));
    this.hideClosed();
    this.table = element(
      "table", { class: "waterfall", role: "treegrid", "aria-label": "Spans", onkeydown: (event) => this.walk(event) },
      element("thead", {}, element("tr", {}, ...["Span", "Duration", "Time"].map((text) => element("th", { scope: "col" }, text)))),
      element("tbody", {}, this.rows.map((row) => row.line)),
    );
  }

  rowOf({ span, level, parents, hasChildren }, open) {
    const service = this.trace.processes[span.processID].serviceName;
    const row = { span, parents, hasChildren, open };
    row.marker = element("span", { class: "marker", "aria-hidden": "true", onclick: () => this.toggle(row, !row.open) }, markerOf(row));
    const name = element("td", { role: "gridcell" },
      row.marker, element("span", { class: "service" }, service), ` ${span.operationName}`,
      failed(span) ? element("span", { class: "error" }, " failed") : null);
    name.style.setProperty("--level", level);
    row.line = element(
      "tr",
      {
        role: "row", tabindex: -1, "aria-level": level, "aria-expanded": hasChildren ? String(open) : null,
        class: failed(span) ? "failed" : null, onclick: () => this.choose(row, true), "data-span": span.spanID,
      },
      name,
      element("td", { role: "gridcell" }, duration(span.duration)),
      element("td", { role: "gridcell", "aria-label": `starts after ${duration(span.startTime - this.start)}` }, this.track(span)),
    );
    return row;
  }

  track(span) {
    const at = (time) => `${((time - this.start) / this.length) * 100}%`;
    const width = `${Math.max(0.2, (span.duration / this.length) * 100)}%`;
    const moments = span.logs.map((log) => drawing("rect", { class: "moment", x: at(log.timestamp), y: "10%", width: 2, height: "80%" }));
    return element("div", { class: "track", "aria-hidden": "true" },
      drawing("svg", {}, drawing("rect", { x: at(span.startTime), y: "20%", width, height: "60%", rx: 2 }), ...moments));
  }

  choose(row, focus = false) {
    for (const other of this.rows) {
      other.line.setAttribute("aria-selected", other === row);
      other.line.tabIndex = other === row ? 0 : -1;
    }
    if (focus) row.line.focus();
    this.detail.replaceChildren(...detailOf(this.trace, row.span, this.start, this.logs));
  }

  walk(event) {
    const shown = this.shown();
    const at = shown.findIndex((row) => row.line === document.activeElement);
    const row = shown[at];
    if (!row) return;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (to !== undefined) this.choose(shown[Math.max(0, Math.min(shown.length - 1, to))], true);
    else if (event.key === "ArrowLeft") row.hasChildren && row.open ? this.toggle(row, false) : this.chooseParent(row);
    else if (event.key === "ArrowRight") this.toggle(row, true);
    else if (event.key === "Enter" || event.key === " ") this.detail.querySelector("h2")?.focus();
    else return;
    event.preventDefault();
  }

  chooseParent(row) {
    const parent = this.rows.find((other) => other.span.spanID === row.parents.at(-1));
    if (parent) this.choose(parent, true);
  }

  toggle(row, open) {
    if (!row.hasChildren) return;
    row.open = open;
    row.line.setAttribute("aria-expanded", open);
    row.marker.textContent = markerOf(row);
    this.hideClosed();
  }

  shown() {
    return this.rows.filter((row) => !row.line.hidden);
  }

  hideClosed() {
    const closed = new Set(this.rows.filter((other) => !other.open).map((other) => other.span.spanID));
    for (const other of this.rows) other.line.hidden = other.parents.some((id) => closed.has(id));
  }
}

function markerOf(row) {
  return !row.hasChildren ? "·" : row.open ? "▾" : "▸";
}

/** The spans below which some other service works: where a change went, without each step of who handled it. */
function spansWithOthersBelow(tree, trace) {
  const serviceOf = new Map(tree.map(({ span }) => [span.spanID, trace.processes[span.processID].serviceName]));
  const found = new Set();
  for (const { span, parents } of tree) {
    for (const parent of parents) {
      if (serviceOf.get(parent) !== serviceOf.get(span.spanID)) found.add(parent);
    }
  }
  return found;
}

/** Depth first, children by start time; spans whose parent is elsewhere are roots. */
export function treeOf(trace) {
  const ids = new Set(trace.spans.map((span) => span.spanID));
  const children = new Map();
  for (const span of trace.spans) {
    const parent = span.references.find((to) => to.refType === "CHILD_OF" && ids.has(to.spanID))?.spanID ?? "";
    children.set(parent, [...(children.get(parent) ?? []), span]);
  }
  const nodes = [];
  const seen = new Set();
  const visit = (span, parents) => {
    if (seen.has(span.spanID)) return;
    seen.add(span.spanID);
    nodes.push({ span, parents, level: parents.length + 1, hasChildren: children.has(span.spanID) });
    for (const child of children.get(span.spanID) ?? []) visit(child, [...parents, span.spanID]);
  };
  for (const root of children.get("") ?? trace.spans) visit(root, []);
  for (const span of trace.spans) visit(span, []);
  return nodes;
}

function detailOf(trace, span, start, logs) {
  const process = trace.processes[span.processID];
  const links = span.references.filter((to) => to.refType === "FOLLOWS_FROM");
  const own = logs.filter((record) => record.spanID === span.spanID);
  return [
    element("h2", { tabindex: -1 }, `${process.serviceName}: ${span.operationName}`),
    element("p", {}, `${duration(span.duration)}, starting after ${duration(span.startTime - start)} · span `, element("code", {}, span.spanID)),
    ...group("Attributes", span.tags.length, () => pairs(span.tags)),
    ...group("Events", span.logs.length, () => span.logs.map((log) => eventOf(log, start))),
    ...group("Links", links.length, () => element("ul", {}, links.map(linkOf))),
    ...group("Logs", own.length, () => logTable(own, start)),
    ...group("Process", process.tags.length, () => pairs(process.tags)),
  ];
}

function group(title, count, content) {
  return count ? [element("h3", {}, `${title} (${count})`), content()].flat() : [];
}

function pairs(tags) {
  return element("dl", {}, tags.flatMap((tag) => [element("dt", {}, tag.key), element("dd", {}, String(tag.value))]));
}

function eventOf(log, start) {
  const name = log.fields.find((field) => field.key === "event")?.value ?? "event";
  const rest = log.fields.filter((field) => field.key !== "event");
  return element("details", {}, element("summary", {}, `${duration(log.timestamp - start)} ${name}`), pairs(rest));
}

function linkOf(link) {
  return element("li", {}, element("a", { href: `/trace/${link.traceID}` }, `Span ${link.spanID} of trace ${link.traceID}`));
}

function logSection(logs, start) {
  if (!logs.length) return [];
  return [element("h2", {}, `Logs of this trace (${logs.length})`), logTable(logs, start)];
}

function logTable(logs, start) {
  const line = (record) => element(
    "tr", { class: /ERROR|FATAL/.test(record.severity) ? "error" : null },
    element("td", {}, duration(Math.max(0, record.timestamp - start))),
    element("td", {}, record.serviceName),
    element("td", {}, record.severity),
    element("td", {}, [bodyOf(record.body), ...record.fields.map((field) => `${field.key}=${field.value}`)].join(" ")),
  );
  return element(
    "table", {},
    element("thead", {}, element("tr", {}, ["After", "Service", "Severity", "Message"].map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, logs.map(line)),
  );
}

function bodyOf(body) {
  return typeof body === "string" ? body : JSON.stringify(body);
}
