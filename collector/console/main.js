// The address says what is shown; following a link moves the focus to the new heading.

import { say, show } from "./dom.js";
import { graphPage } from "./graph.js";
import { searchPage } from "./search.js";
import { tracePage } from "./trace.js";

function pageOf(url) {
  const trace = url.pathname.match(/^\/trace\/([0-9a-fA-F]+)$/);
  if (trace) return () => tracePage(trace[1]);
  if (url.pathname === "/dependencies") return graphPage;
  return () => searchPage(url.searchParams);
}

async function render() {
  const url = new URL(location.href);
  for (const link of document.querySelectorAll("nav a")) {
    const here = new URL(link.href).pathname === (url.pathname === "/" ? "/search" : url.pathname);
    here ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  try {
    await pageOf(url)();
  } catch (error) {
    show("That did not work");
    say(error.message);
  }
}

async function go(address) {
  history.pushState(null, "", address);
  await render();
  document.getElementById("main").focus();
  scrollTo(0, 0);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/']");
  if (!link || link.getAttribute("href").startsWith("/api") || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
  event.preventDefault();
  go(link.href);
});

document.addEventListener("submit", (event) => {
  event.preventDefault();
  const data = new FormData(event.target);
  if (event.target.id === "open") return go(`/trace/${data.get("trace")}`);
  const filled = [...data].filter(([, value]) => value !== "");
  return go(`/search?${new URLSearchParams(filled)}`);
});

addEventListener("popstate", render);
render();
