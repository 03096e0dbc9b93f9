"use strict";
(function () {
  const charts = Array.from(document.querySelectorAll("[data-figure]"));
  const narrow = () => window.innerWidth < 640;

  // A colour written --name is a CSS variable: one figure for light, dark and print.
  function themed(value, style) {
    if (Array.isArray(value)) return value.map((one) => themed(one, style));
    if (value && typeof value === "object") {
      const result = {};
      for (const key of Object.keys(value)) {
        const one = value[key];
        const named = key === "color" || key === "fillcolor";
        if (named && typeof one === "string" && one.startsWith("--")) result[key] = style.getPropertyValue(one).trim();
        else if (named && Array.isArray(one))
          result[key] = one.map((c) => (typeof c === "string" && c.startsWith("--") ? style.getPropertyValue(c).trim() : c));
        else result[key] = themed(one, style);
      }
      return result;
    }
    return value;
  }

  function layoutFor(layout, style) {
    const color = (name) => style.getPropertyValue(name).trim();
    const result = themed(layout, style);
    result.paper_bgcolor = "rgba(0,0,0,0)";
    result.plot_bgcolor = "rgba(0,0,0,0)";
    result.font = { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: color("--ink") };
    result.margin = { l: narrow() ? 44 : 60, r: narrow() ? 8 : 16, t: 30, b: 46 };
    result.hoverlabel = { bgcolor: color("--wash"), bordercolor: color("--rule"), font: { color: color("--ink") } };
    result.dragmode = narrow() ? false : "zoom";
    for (const key of Object.keys(result).filter((name) => /^[xy]axis/.test(name)).concat("xaxis", "yaxis")) {
      const axis = (result[key] = result[key] || {});
      axis.gridcolor = color("--rule");
      axis.linecolor = color("--rule");
      axis.zerolinecolor = color("--rule");
      axis.automargin = true;
      if (axis.title) axis.title.font = { size: 12.5, color: color("--soft") };
    }
    return result;
  }

  function draw(node) {
    const figure = JSON.parse(document.getElementById("data-" + node.dataset.figure).textContent);
    const style = getComputedStyle(document.documentElement);
    const options = { displayModeBar: false, responsive: true };
    const data = themed(figure.data, style);
    if (narrow()) data.filter((one) => one.marker && one.marker.showscale).forEach((one) => { one.marker.showscale = false; });
    return Plotly.react(node, data, layoutFor(figure.layout, style), options).then(() => {
      node.dataset.drawn = "true";
    });
  }

  // One chart a turn, so that the page answers while the rest is drawn.
  function drawAll() {
    charts.reduce((before, node) => before.then(() => draw(node)).then(() => new Promise((next) => setTimeout(next, 0))),
      Promise.resolve());
  }
  drawAll();
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details:not(.run)").forEach((node) => { node.open = true; });
    charts.forEach((node) => Plotly.Plots.resize(node));
  });

  function sortBy(table, index, ascending) {
    const body = table.tBodies[0];
    const value = (row) => row.cells[index].dataset.v;
    const compare = (a, b) => {
      const x = value(a), y = value(b), m = Number(x), n = Number(y);
      return Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m - n;
    };
    const rows = Array.from(body.rows).sort((a, b) => (ascending ? compare(a, b) : compare(b, a)));
    body.append(...rows);
  }
  // A link to a folded story opens it.
  function unfold() {
    const node = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (node && node.tagName === "DETAILS") { node.open = true; node.scrollIntoView(); }
  }
  window.addEventListener("hashchange", unfold);
  unfold();
  document.querySelectorAll("table.sortable").forEach((table) => {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, index) => {
      head.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sortBy(table, index, ascending);
      });
    });
  });
})();
