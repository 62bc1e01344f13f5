// One item: pictures, regions and their matches, every output, every score, and how it was made.
const drill = byId("drill");
const COLOURS = data.colours; // of content region 1, 2, ...; matched reference regions have the colour of their taker
let drillOrder = [];
let independent = false; // which regions and matches are shown: those of StyleGallery, or the independent ones

const regionsOf = (found) => independent ? found.independent : found.annotation;

function openItem(item, order) {
  drillOrder = order;
  drill.item = item;
  const found = block(`item-${item}`);
  const position = order.indexOf(item);
  const step = (by) => el("button", {
    type: "button", disabled: order[position + by] === undefined, class: "step", "aria-label": by < 0 ? "previous item" : "next item",
    onclick: () => stepItem(by),
  }, by < 0 ? "←" : "→");
  const annotation = regionsOf(found);
  drill.replaceChildren(
    el("header", {}, el("h2", { id: "drill-title" }, items[item].id), step(-1), step(1),
      el("button", { type: "button", class: "close", "aria-label": "close", onclick: () => drill.close() }, "×")),
    el("div", { class: "drill-body", tabindex: -1, autofocus: true },
      el("h3", {}, "Content and references"), regionControls(annotation), regionFigure(item, annotation), matchTable(annotation),
      el("h3", {}, "Outputs"), outputFigures(item, found),
      el("h3", {}, "Scores"), scoreTable(item),
      el("h3", {}, "Records"), recordTable(found.records)));
  if (!drill.open) drill.showModal();
  drill.querySelector(".drill-body").scrollTop = 0;
  layOutLines();
}

function stepItem(by) {
  const next = drillOrder[drillOrder.indexOf(drill.item) + by];
  if (next === undefined) return;
  openItem(next, drillOrder);
  const buttons = drill.querySelectorAll(".step");
  (buttons[by < 0 ? 0 : 1].disabled ? drill.querySelector(".close") : buttons[by < 0 ? 0 : 1]).focus();
}

// --- regions and matches ---

function regionControls(annotation) {
  const option = (value, text) => el("option", { value, selected: (value === "independent") === independent }, text);
  const annotator = el("label", { class: "check" }, "Regions and matches of ", el("select", { id: "drill-annotator", onchange: (event) => {
    independent = event.target.value === "independent";
    openItem(drill.item, drillOrder);
  } }, option("stylegallery", "StyleGallery"), option("independent", "an independent annotation")));
  if (annotation.reason) return el("p", { class: "controls" }, annotator, el("span", { class: "small" }, `No regions: ${annotation.reason}`));
  return el("p", { class: "controls" }, annotator,
    el("label", { class: "check" }, el("input", { type: "checkbox", checked: true, id: "drill-regions", onchange: layOutLines }), " regions and matches"),
    el("span", { class: "small" }, "A reference region has the colour of the content region that takes its style; grey regions are taken by none. Shared by all methods."));
}

function regionFigure(item, annotation) {
  const { content, references, names } = items[item];
  const pictures = [content, ...references].map((index, number) => el("figure", { class: number ? "reference" : "content", "data-number": number },
    el("span", { class: "frame" }, sharedPicture(index, number ? `reference ${number}` : "content"),
      annotation.maps ? el("img", { class: "regions", src: `data:image/png;base64,${annotation.maps[number]}`, alt: "" }) : null),
    el("figcaption", {}, number ? `reference ${number}: ${names[number]}` : `content: ${names[0]}`)));
  return el("div", { class: "inputs" }, pictures[0], el("div", { class: "references" }, pictures.slice(1)),
    svg("svg", { class: "lines", "aria-hidden": "true" }));
}

/** Lines from every content region to the region it takes its style from. */
function layOutLines() {
  const box = drill.querySelector(".inputs");
  const annotation = regionsOf(block(`item-${drill.item}`));
  const shown = byId("drill-regions")?.checked ?? false;
  box.classList.toggle("plain", !shown);
  const overlay = box.querySelector("svg.lines");
  overlay.replaceChildren();
  if (!shown) return;
  const origin = box.getBoundingClientRect();
  const place = (number, [x, y]) => {
    const frame = box.querySelector(`[data-number="${number}"] .frame`).getBoundingClientRect();
    return [frame.left - origin.left + x * frame.width, frame.top - origin.top + y * frame.height];
  };
  for (const match of [...annotation.matches].reverse()) { // of several takers the first, whose colour the region has, lies on top
    const [[x1, y1], [x2, y2]] = [place(0, match.from), place(match.reference, match.to)];
    const colour = COLOURS[(match.content_region - 1) % COLOURS.length];
    const middle = (x1 + x2) / 2, path = `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`;
    const mark = (x, y, text) => svg("g", {}, svg("circle", { cx: x, cy: y, r: 10, fill: colour }), svg("text", { x, y: y + 4, "text-anchor": "middle" }, String(text)));
    overlay.append(svg("g", { "data-region": match.content_region }, svg("path", { class: "halo", d: path }), svg("path", { d: path, stroke: colour }),
      mark(x1, y1, match.content_region), mark(x2, y2, match.reference_region)));
  }
}
new ResizeObserver(() => { if (drill.open) layOutLines(); }).observe(drill);

function matchTable(annotation) {
  if (annotation.reason) return null;
  const light = (region) => drill.querySelectorAll("svg.lines g[data-region]").forEach((line) =>
    line.classList.toggle("dim", region !== null && line.dataset.region !== String(region)));
  const numbers = ["score", "semantics", "statistics", "geometry"];
  const rows = annotation.matches.map((match) => el("tr", {
    tabindex: 0, onmouseenter: () => light(match.content_region), onmouseleave: () => light(null),
    onfocus: () => light(match.content_region), onblur: () => light(null),
  }, el("th", { scope: "row" }, svg("svg", { class: "swatch", viewBox: "0 0 10 10", "aria-hidden": "true" },
    svg("circle", { cx: 5, cy: 5, r: 5, fill: COLOURS[(match.content_region - 1) % COLOURS.length] })), ` ${match.content_region}`),
    el("td", {}, `${Math.round(100 * match.share)} %`), el("td", { class: "left" }, `reference ${match.reference}, region ${match.reference_region}${match.pinned ? " (pinned)" : ""}`),
    numbers.map((name) => el("td", {}, match[name].toFixed(3).replace("-", "−")))));
  return el("details", { open: true }, el("summary", {}, `${annotation.matches.length} matches`), el("div", { class: "scroll" }, el("table", { class: "plain" },
    el("thead", {}, el("tr", {}, ["content region", "area", "takes its style from", ...numbers].map((name, index) => el("th", { scope: "col", class: index === 2 ? "left" : null }, name)))),
    el("tbody", {}, rows))));
}

// --- outputs, scores, records ---

function outputFigures(item, found) {
  return el("div", { class: "outputs" }, methods.map((method, index) => el("figure", {},
    el("span", { class: "frame" }, picture(found.outputs[index], `${method.label} on ${items[item].id}`)),
    el("figcaption", {}, el("strong", {}, breakable(method.label)), found.outputs[index].webp
      ? el("a", { href: ["cells", method.label, items[item].id, "stylised.png"].map(encodeURIComponent).join("/"), target: "_blank", rel: "noopener" }, "full size") : null))));
}

function scoreTable(item) {
  const rows = itemMetrics.map((metric) => {
    const best = bestMethods(metric, item);
    return el("tr", {}, el("th", { scope: "row", class: "sticky", title: metrics[metric].about }, metrics[metric].name, " ", el("span", { class: "arrow" }, arrow(metric))),
      methods.map((_, method) => el("td", {}, scoreText(item, method, metric, best))));
  });
  const head = el("tr", {}, el("th", { class: "sticky" }), methods.map(({ label }) => el("th", { scope: "col", class: "wrap" }, breakable(label))));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Scores of this item" }, el("table", { class: "plain" }, el("thead", {}, head), el("tbody", {}, rows)));
}

function recordTable(records) {
  const columns = ["method", "model", "seed", "seconds", "peak memory", "size", "digest of the request"];
  const rows = records.map((record, index) => {
    const head = [el("th", { scope: "row", class: "left" }, methods[index].label), el("td", { class: "left model" }, methods[index].model)];
    if (record.reason) return el("tr", {}, head, el("td", { colspan: 5, class: "left failed" }, record.reason));
    const stages = Object.entries(record.seconds).map(([stage, seconds]) => `${stage} ${seconds.toFixed(1)}`).join(", ");
    return el("tr", {}, head, el("td", {}, String(record.seed)), el("td", { title: stages }, Object.values(record.seconds).reduce((a, b) => a + b, 0).toFixed(1)),
      el("td", {}, `${Math.round(record.memory)} MiB`), el("td", {}, record.size.join(" × ")), el("td", { class: "left" }, el("code", {}, record.digest)));
  });
  return el("div", { class: "scroll" }, el("table", { class: "plain" }, el("thead", {}, el("tr", {}, columns.map((name, index) => el("th", { scope: "col", class: index < 2 || index === 6 ? "left" : null }, name)))), el("tbody", {}, rows)));
}

drill.addEventListener("click", (event) => { if (event.target === drill) drill.close(); });
drill.addEventListener("keydown", (event) => {
  if (event.target.closest("input, select, .scroll")) return;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") { event.preventDefault(); stepItem(event.key === "ArrowLeft" ? -1 : 1); }
});
