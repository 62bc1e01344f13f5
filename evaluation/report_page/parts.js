// What all views share. Names, ids and reasons come from files: they only ever become text nodes and attributes.
const data = JSON.parse(document.getElementById("data").textContent);
const { metrics, methods, items } = data;
const byId = (id) => document.getElementById(id);

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child != null));
  return node;
}
const el = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
/** A name with places where a line may break after _, @ and =. */
const breakable = (name) => name.split(/(?<=[_@=])(?![_@=])/).flatMap((part, index) => (index ? [el("wbr"), part] : [part]));
const block = (id) => JSON.parse(byId(id).textContent);

// --- scores: a number, or [index of the reason why there is none] ---

const entry = (metric, method, item) => data.scores[metric][method][item];
const score = (metric, method, item) => {
  const found = entry(metric, method, item);
  return typeof found === "number" ? found : null;
};
const reason = (metric, method, item) => data.reasons[entry(metric, method, item)[0]];
const arrow = (metric) => (metrics[metric].direction === "up" ? "↑" : "↓");
const better = (metric, a, b) => (metrics[metric].direction === "up" ? a > b : a < b);
const decimals = (metric) => metrics[metric].decimals;
const signed = (metric, value) => (value > 0 ? "+" : "") + format(metric, value);
const format = (metric, value) => value.toFixed(decimals(metric)).replace("-", "−");

/** A value as far as it is shown. */
const rounded = (metric, value) => (value === null ? null : Number(value.toFixed(decimals(metric))));

/** The methods, calibration aside, whose score of an item is best as it is shown; ties are all best. */
function bestMethods(metric, item) {
  let best = [];
  methods.forEach((method, index) => {
    const value = method.calibration ? null : rounded(metric, score(metric, index, item));
    if (value === null) return;
    const leader = best.length ? rounded(metric, score(metric, best[0], item)) : null;
    if (leader === null || better(metric, value, leader)) best = [index];
    else if (value === leader) best.push(index);
  });
  return best;
}

/** Ascending comparison of two values; what is missing comes last in either direction. */
function compareValues(a, b, descending) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return descending ? -order : order;
}

// --- pictures ---

const dataUri = (base64) => `data:image/webp;base64,${base64}`;
const placeholder = (text) => el("span", { class: "placeholder", title: text }, el("span", {}, text));
/** A picture {webp} or the reason why there is none {reason}. */
const picture = (found, name) =>
  found.webp ? el("img", { src: dataUri(found.webp), alt: name, decoding: "async" }) : placeholder(found.reason);
const sharedPicture = (index, name) => picture(block(`picture-${index}`), name);

function inputCells(item) {
  const { content, references, names } = items[item];
  const shown = references.length > 4 ? 3 : 4;
  const more = references.length > shown ? [el("span", { class: "more" }, `+${references.length - shown}`)] : [];
  const pictures = references.slice(0, shown).map((index, n) => sharedPicture(index, `reference ${n + 1}: ${names[n + 1]}`));
  return [
    el("td", { class: "picture" }, sharedPicture(content, `content: ${names[0]}`)),
    el("td", { class: "picture" }, el("span", { class: `mosaic of${Math.min(4, references.length)}` }, pictures, more)),
  ];
}
const output = (item, method) => block(`item-${item}`).outputs[method];

// --- controls ---

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
}
/** Metrics of single items, and those of them that any item has a value of. */
const itemMetrics = metrics.map((_, index) => index).filter((index) => metrics[index].items);
const scoredMetrics = itemMetrics.filter((metric) => data.scores[metric].some((values) => values.some((value) => typeof value === "number")));
function metricOptions(select, indices, chosen) {
  const kinds = [...new Set(indices.map((index) => metrics[index].kind))];
  const group = (kind) => {
    const inside = indices.filter((index) => metrics[index].kind === kind);
    const entries = inside.map((index) =>
      el("option", { value: index, selected: index === chosen }, `${metrics[index].name} ${arrow(index)}`));
    return el("optgroup", { label: kind }, entries);
  };
  select.replaceChildren(...kinds.map(group));
}
/** The metric of a kind to show first: one whose name starts as given, else any; undefined without one. */
const firstMetric = (indices, kinds, start) =>
  indices.find((index) => metrics[index].name.startsWith(start)) ?? indices.find((index) => kinds.includes(metrics[index].kind)) ?? indices[0];
const methodEntries = methods.map((method, index) => [index, method.calibration ? `${method.label} (calibration)` : method.label]);

/** Rows of a table that hold their cells, and so their pictures, only while they are near what the box shows. */
function lazyRows(box, fill) {
  const filled = new Set();
  const empty = (row) => { row.replaceChildren(row.firstChild); filled.delete(row); };
  const observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) empty(target);
      else if (!filled.has(target)) { fill(target); filled.add(target); }
    }
  }, { root: box, rootMargin: "600px 100000px" });
  return {
    observe: (row) => observer.observe(row),
    refill: () => { for (const row of [...filled]) { empty(row); fill(row); filled.add(row); } },
    clear: () => { observer.disconnect(); filled.clear(); },
  };
}
const itemButton = (item, order) =>
  el("button", { type: "button", class: "link", onclick: () => openItem(item, order()) }, breakable(items[item].id));
