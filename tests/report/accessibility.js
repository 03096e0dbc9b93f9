// The serious rules of WCAG 2.1 A and AA that a page of text, tables and charts can break, looked for in the page as
// drawn. Gives a list of faults: rule and element.
(() => {
  const faults = [];
  const name = (node) => node.tagName.toLowerCase() + (node.id ? "#" + node.id : "");
  const fault = (rule, node) => faults.push(rule + ": " + name(node));
  const all = (selector) => Array.from(document.querySelectorAll(selector));
  const shown = (node) => node.getClientRects().length > 0 && getComputedStyle(node).visibility !== "hidden";
  const label = (node) => {
    const by = (node.getAttribute("aria-labelledby") || "").split(" ").filter(Boolean);
    const named = by.map((id) => document.getElementById(id)).map((one) => (one ? one.textContent : "")).join(" ");
    return (named || node.getAttribute("aria-label") || node.textContent || "").trim();
  };

  if (!document.documentElement.lang) fault("html-has-lang", document.documentElement);
  if (!document.title.trim()) fault("document-title", document.documentElement);
  if (all("main").length !== 1) fault("landmark-one-main", document.body);
  const viewport = document.querySelector("meta[name=viewport]");
  if (!viewport || /user-scalable\s*=\s*no|maximum-scale/.test(viewport.content)) fault("meta-viewport", document.head);

  const ids = new Set();
  all("[id]").forEach((node) => (ids.has(node.id) ? fault("duplicate-id", node) : ids.add(node.id)));
  all("[aria-labelledby], [aria-describedby], [aria-controls]").forEach((node) => {
    for (const attribute of ["aria-labelledby", "aria-describedby", "aria-controls"])
      for (const id of (node.getAttribute(attribute) || "").split(" ").filter(Boolean))
        if (!document.getElementById(id)) fault("aria-valid-attr-value", node);
  });
  all("a[href^='#']").forEach((node) => {
    if (!document.getElementById(decodeURIComponent(node.hash.slice(1)))) fault("skip-link", node);
  });

  all("button, summary, a[href]").forEach((node) => { if (!label(node)) fault("button-or-link-name", node); });
  all("[role=img], [role=region]").forEach((node) => {
    if (!(node.getAttribute("aria-label") || node.getAttribute("aria-labelledby"))) fault("role-name", node);
  });
  all("img").forEach((node) => { if (!node.hasAttribute("alt")) fault("image-alt", node); });
  all("[tabindex]").forEach((node) => { if (node.tabIndex > 0) fault("tabindex", node); });
  all("[aria-hidden=true] :is(a[href], button, [tabindex='0'])").forEach((node) => fault("aria-hidden-focus", node));
  all("*").forEach((node) => {
    const style = getComputedStyle(node);
    const scrolls = /auto|scroll/.test(style.overflowX + style.overflowY);
    const wide = node.scrollWidth > node.clientWidth + 1 || node.scrollHeight > node.clientHeight + 1;
    const drawing = node.closest(".chart");
    if (scrolls && wide && shown(node) && !drawing && node.tabIndex < 0 && node !== document.documentElement)
      if (!node.querySelector("button, a[href], [tabindex='0']")) fault("scrollable-region-focusable", node);
  });

  let before = 0;
  all("h1, h2, h3, h4, h5, h6").forEach((node) => {
    const level = Number(node.tagName[1]);
    if (level > before + 1) fault("heading-order", node);
    if (!node.textContent.trim()) fault("empty-heading", node);
    before = level;
  });
  all("table").forEach((table) => {
    if (!label(table)) fault("table-name", table);
    table.querySelectorAll("th").forEach((cell) => { if (!cell.scope) fault("th-has-scope", cell); });
    table.querySelectorAll("th").forEach((cell) => { if (!cell.textContent.trim()) fault("empty-table-header", cell); });
    table.querySelectorAll("[aria-sort]").forEach((cell) => {
      if (!["ascending", "descending", "none"].includes(cell.getAttribute("aria-sort"))) fault("aria-sort", cell);
    });
  });
  all("ul, ol").forEach((list) => {
    if (Array.from(list.children).some((node) => node.tagName !== "LI")) fault("list", list);
  });
  all("dl").forEach((list) => {
    if (Array.from(list.children).some((node) => !["DT", "DD"].includes(node.tagName))) fault("definition-list", list);
  });

  // Contrast of text as drawn: colours over the backgrounds under them.
  const parse = (text) => {
    const part = text.match(/[\d.]+/g).map(Number);
    return { r: part[0], g: part[1], b: part[2], a: part.length > 3 ? part[3] : 1 };
  };
  const over = (top, under) => ({
    r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a),
    b: top.b * top.a + under.b * (1 - top.a), a: 1,
  });
  const ground = (node) => {
    const layers = [];
    for (let one = node; one; one = one.parentElement) layers.push(parse(getComputedStyle(one).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), { r: 255, g: 255, b: 255, a: 1 });
  };
  const light = (color) => {
    const part = [color.r, color.g, color.b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  };
  const contrast = (color, under) => {
    const [a, b] = [light(over(color, under)), light(under)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const texts = all("h1, h2, h3, p, th, td, dt, dd, summary, button, small, a, pre, figcaption, em, strong");
  texts.filter(shown).filter((node) => node.textContent.trim()).forEach((node) => {
    const style = getComputedStyle(node);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast(parse(style.color), ground(node)) < (large ? 3 : 4.5)) fault("color-contrast", node);
  });
  all(".chart text").filter((node) => node.textContent.trim() && !node.closest(".heatmaplayer")).forEach((node) => {
    const style = getComputedStyle(node);
    const color = { ...parse(style.fill), a: Number(style.fillOpacity) };
    if (contrast(color, ground(node.closest(".chart"))) < 4.5) fault("color-contrast", node.closest(".chart"));
  });
  return Array.from(new Set(faults));
})()
