"use strict";
// The page's own script draws the charts; once all are drawn, each is drawn again as a picture on an opaque ground,
// 1200 pixels wide and twice as fine.
(function wait() {
  const charts = Array.from(document.querySelectorAll("[data-figure]"));
  if (charts.some((node) => node.dataset.drawn !== "true")) { setTimeout(wait, 100); return; }
  const ground = getComputedStyle(document.body).backgroundColor;
  Promise.all(charts.map((node) => Plotly.toImage(
    { data: node.data, layout: Object.assign({}, node.layout, { paper_bgcolor: ground, plot_bgcolor: ground }) },
    { format: "png", width: 1200, height: node.offsetHeight, scale: 2 },
  ).then((url) => [node.dataset.figure, url]))).then((pictures) => {
    const out = document.createElement("pre");
    out.id = "pictures";
    out.textContent = JSON.stringify(pictures);
    document.body.append(out);
  });
})();
