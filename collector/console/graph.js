// Services and their calls: a drawing for the eye, the same as a table for everybody.

import { drawing, element, fetchData, say, show } from "./dom.js";

const DAY = 24 * 3600 * 1000;

export async function graphPage() {
  say("Counting calls…");
  const edges = await fetchData(`/api/dependencies?endTs=${Date.now()}&lookback=${DAY}`);
  show("Service graph", element("p", {}, "Calls between services in the last 24 hours."), edges.length ? [picture(edges), table(edges)] : []);
  say(edges.length ? `${edges.length} connections` : "No calls between services yet.");
}

function table(edges) {
  return element(
    "table", {},
    element("thead", {}, element("tr", {}, ["Caller", "Called", "Calls"].map((text) => element("th", { scope: "col" }, text)))),
    element("tbody", {}, edges.map((edge) => element("tr", {},
      element("td", {}, serviceLink(edge.parent)), element("td", {}, serviceLink(edge.child)), element("td", {}, String(edge.callCount))))),
  );
}

function serviceLink(name) {
  return element("a", { href: `/search?service=${encodeURIComponent(name)}` }, name);
}

/** Columns by distance from the callers nobody calls; cycles end where they began. */
export function columnsOf(edges) {
  const names = [...new Set(edges.flatMap((edge) => [edge.parent, edge.child]))].sort();
  const depth = new Map(names.map((name) => [name, 0]));
  for (let round = 0; round < names.length; round++) {
    for (const { parent, child } of edges) {
      const deeper = Math.min(depth.get(parent) + 1, names.length - 1);
      if (deeper > depth.get(child) && !reaches(edges, child, parent)) depth.set(child, deeper);
    }
  }
  const columns = [];
  for (const name of names) (columns[depth.get(name)] ??= []).push(name);
  return columns.filter(Boolean);
}

function reaches(edges, from, to) {
  const seen = new Set([from]);
  const queue = [from];
  while (queue.length) {
    const name = queue.pop();
    if (name === to) return true;
    for (const edge of edges) {
      if (edge.parent === name && !seen.has(edge.child)) {
        seen.add(edge.child);
        queue.push(edge.child);
      }
    }
  }
  return false;
}

function picture(edges) {
  const columns = columnsOf(edges);
  const width = columns.length * 240;
  const height = Math.max(...columns.map((column) => column.length)) * 70;
  const place = new Map();
  columns.forEach((column, x) => column.forEach((name, y) => place.set(name, [x * 240 + 120, ((y + 0.5) * height) / column.length])));
  return drawing(
    "svg", { class: "graph", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Drawing of the calls listed in the table below" },
    drawing("defs", {}, drawing("marker", { id: "tip", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 8, markerHeight: 8, orient: "auto" },
      drawing("path", { d: "M0 0 10 5 0 10z" }))),
    ...edges.map((edge) => arrow(place.get(edge.parent), place.get(edge.child))),
    ...[...place].flatMap(([name, [x, y]]) => [
      drawing("rect", { x: x - 90, y: y - 16, width: 180, height: 32, rx: 6 }),
      drawing("text", { x, y: y + 5 }, name),
    ]),
  );
}

function arrow([x1, y1], [x2, y2]) {
  const side = x2 >= x1 ? 1 : -1;
  return drawing("line", { x1: x1 + 90 * side, y1, x2: x2 - 92 * side, y2, "marker-end": "url(#tip)" });
}
