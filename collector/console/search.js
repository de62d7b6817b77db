// The search page: a form whose state is the address, and the traces it finds.

import { duration, element, failed, fetchData, moment, say, show } from "./dom.js";

const LOOKBACKS = [["15m", "15 minutes", 900], ["1h", "hour", 3600], ["6h", "6 hours", 21600], ["2d", "2 days", 172800]];
const FLAGS = [["any", "All traces"], ["error", "With errors"], ["change", "That change something"]];

export async function searchPage(parameters) {
  const services = await fetchData("/api/services");
  const form = await searchForm(services, parameters);
  const results = element("section", { "aria-label": "Results" });
  show("Search traces", form, results);
  await fillResults(results, parameters);
}

async function searchForm(services, parameters) {
  const chosen = parameters.get("service") ?? "";
  const operations = chosen ? await fetchData(`/api/services/${encodeURIComponent(chosen)}/operations`) : [];
  const service = select("service", [["", "All services"], ...services.map((name) => [name, name])], chosen);
  const operation = select("operation", [["", "All operations"], ...operations.map((name) => [name, name])], parameters.get("operation"));
  service.addEventListener("change", () => fillOperations(service.value, operation));
  return element(
    "form", { class: "fields", action: "/search", "aria-label": "Search traces" },
    labelled("Service", service),
    labelled("Operation", operation),
    labelled("Tags", input("tags", parameters, { placeholder: "k8s.pod.name=web http.response.status_code=500", size: 38 })),
    labelled("Longer than", input("minDuration", parameters, { placeholder: "100ms", size: 8 })),
    labelled("Show", select("flag", FLAGS, parameters.get("flag"))),
    labelled("In the last", select("lookback", LOOKBACKS.map(([value, text]) => [value, text]), parameters.get("lookback") ?? "1h")),
    labelled("At most", input("limit", parameters, { type: "number", min: 1, max: 1000, value: parameters.get("limit") ?? 20 })),
    element("button", {}, "Find traces"),
  );
}

async function fillOperations(service, operation) {
  const names = service ? await fetchData(`/api/services/${encodeURIComponent(service)}/operations`) : [];
  operation.replaceChildren(option("", "All operations"), ...names.map((name) => option(name, name)));
}

async function fillResults(results, parameters) {
  say("Searching…");
  const traces = await fetchData(`/api/traces?${queryOf(parameters)}`);
  traces.sort((one, other) => started(other) - started(one));
  results.replaceChildren(
    element("h2", {}, traces.length === 1 ? "1 trace" : `${traces.length} traces`),
    element("ol", { class: "results" }, traces.map(resultOf)),
  );
  say(traces.length ? `${traces.length} found` : "Nothing found. A wider time or fewer conditions may help.");
}

function queryOf(parameters) {
  const query = new URLSearchParams();
  for (const name of ["service", "operation", "minDuration"]) {
    if (parameters.get(name)) query.set(name, parameters.get(name));
  }
  query.set("flag", parameters.get("flag") ?? "any");
  query.set("limit", parameters.get("limit") ?? 20);
  const seconds = (LOOKBACKS.find(([value]) => value === parameters.get("lookback")) ?? LOOKBACKS[1])[2];
  query.set("start", Math.round((Date.now() - seconds * 1000) * 1000));
  const tags = tagsOf(parameters.get("tags") ?? "");
  if (Object.keys(tags).length) query.set("tags", JSON.stringify(tags));
  return query;
}

/** key=value pairs; a value with spaces is written "in quotes". */
export function tagsOf(text) {
  const pairs = text.matchAll(/([^\s=]+)=(?:"([^"]*)"|(\S*))/g);
  return Object.fromEntries([...pairs].map(([, key, quoted, plain]) => [key, quoted ?? plain]));
}

function resultOf(trace) {
  const root = rootOf(trace);
  const errors = trace.spans.filter(failed).length;
  const services = [...new Set(Object.values(trace.processes).map((process) => process.serviceName))];
  return element(
    "li", {},
    element("a", { href: `/trace/${trace.traceID}` }, `${trace.processes[root.processID].serviceName}: ${root.operationName}`),
    errors ? element("span", { class: "error" }, ` ${errors} failed`) : null,
    element("div", { class: "facts" },
      `${moment(started(trace))} · ${duration(lengthOf(trace))} · ${trace.spans.length} spans · ${services.join(", ")}`),
  );
}

export function rootOf(trace) {
  const ids = new Set(trace.spans.map((span) => span.spanID));
  const roots = trace.spans.filter((span) => !span.references.some((to) => to.refType === "CHILD_OF" && ids.has(to.spanID)));
  return roots[0] ?? trace.spans[0];
}

export function started(trace) {
  return Math.min(...trace.spans.map((span) => span.startTime));
}

export function lengthOf(trace) {
  return Math.max(...trace.spans.map((span) => span.startTime + span.duration)) - started(trace);
}

function labelled(text, control) {
  return element("label", {}, text, control);
}

function input(name, parameters, attributes) {
  return element("input", { name, value: parameters.get(name), autocomplete: "off", ...attributes });
}

function select(name, options, chosen) {
  return element("select", { name }, options.map(([value, text]) => option(value, text, value === chosen)));
}

function option(value, text, selected = false) {
  return element("option", { value, selected }, text);
}
