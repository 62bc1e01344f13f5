// Two methods side by side over the items where both have a score, ordered by the difference.
const COMPARE = ["compare-a", "compare-b", "compare-metric", "compare-order"];
const comparison = { order: [] };

function showComparison() {
  const [a, b, metric] = COMPARE.slice(0, 3).map((id) => Number(byId(id).value));
  const sign = metrics[metric].direction === "up" ? 1 : -1; // positive: A is better
  const pairs = items.map((_, item) => [score(metric, a, item), score(metric, b, item), item])
    .filter(([x, y]) => x !== null && y !== null)
    .map(([x, y, item]) => ({ item, x, y, difference: x - y, gain: sign * (rounded(metric, x) - rounded(metric, y)) }));
  const orders = { a: (p, q) => q.gain - p.gain, b: (p, q) => p.gain - q.gain, size: (p, q) => Math.abs(q.gain) - Math.abs(p.gain) };
  pairs.sort((p, q) => orders[byId("compare-order").value](p, q) || p.item - q.item);
  comparison.order = pairs.map(({ item }) => item);
  const wins = pairs.filter(({ gain }) => gain > 0).length, losses = pairs.filter(({ gain }) => gain < 0).length;
  const [nameA, nameB] = [methods[a].label, methods[b].label];
  byId("compare-summary").textContent = pairs.length
    ? `N = ${pairs.length} items with ${metrics[metric].name} of both: ${nameA} better on ${wins}, ${nameB} better on ${losses}`
      + `${pairs.length - wins - losses ? `, equal on ${pairs.length - wins - losses}` : ""}.`
    : `No item has ${metrics[metric].name} of both methods.`;
  const largest = Math.max(...pairs.map(({ gain }) => Math.abs(gain)), Number.MIN_VALUE);
  drawDifferences(pairs, largest, nameA, nameB, metric);
  comparison.lazy?.clear();
  const rows = pairs.map((pair) => {
    const row = el("tr", {}, el("th", { scope: "row", class: "sticky" }, itemButton(pair.item, () => comparison.order)));
    row.fill = () => row.append(...inputCells(pair.item), outputCell(pair.item, a, metric, pair.gain > 0 ? [a] : []),
      differenceCell(pair, metric, largest), outputCell(pair.item, b, metric, pair.gain < 0 ? [b] : []));
    return row;
  });
  comparison.lazy = lazyRows(byId("compare-box"), (row) => row.fill());
  const heads = ["content", "references", `A: ${nameA}`, `A − B, ${metrics[metric].name} ${arrow(metric)}`, `B: ${nameB}`];
  byId("compare-box").replaceChildren(el("table", { class: "grid" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "sticky" }, "item"), heads.map((head) => el("th", { scope: "col" }, breakable(head))))),
    el("tbody", {}, rows)));
  rows.forEach(comparison.lazy.observe);
}

function differenceCell({ difference, gain }, metric, largest) {
  const share = (48 * Math.abs(gain)) / largest;
  return el("td", { class: "difference" }, signed(metric, difference),
    svg("svg", { viewBox: "0 0 100 10", "aria-hidden": "true" },
      svg("rect", { class: gain > 0 ? "gain" : "loss", x: gain > 0 ? 50 - share : 50, y: 2, width: share, height: 6 }),
      svg("line", { x1: 50, x2: 50, y1: 0, y2: 10 })));
}

/** Every item's difference as a bar, sorted: how often and by how much. */
function drawDifferences(pairs, largest, nameA, nameB, metric) {
  if (!pairs.length) return byId("compare-figure").replaceChildren();
  const sorted = pairs.map(({ gain }) => gain).sort((p, q) => q - p);
  const [width, margin, scale] = [980, 20, 60 / largest], step = width / sorted.length;
  const zero = margin + Math.max(0, sorted[0]) * scale, height = zero + Math.max(0, -sorted.at(-1)) * scale + margin;
  const bars = (test) => sorted.map((gain, index) => (test(gain)
    ? `M${((index + 0.5) * step).toFixed(2)} ${zero}V${(zero - gain * scale).toFixed(2)}` : "")).join("");
  const thickness = Math.max(0.6, Math.min(24, step * 0.8));
  byId("compare-figure").replaceChildren(svg("svg", {
    viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `differences of ${metrics[metric].name}, sorted`,
  }, svg("path", { class: "gain", d: bars((gain) => gain > 0), "stroke-width": thickness }),
    svg("path", { class: "loss", d: bars((gain) => gain < 0), "stroke-width": thickness }),
    svg("line", { class: "zero", x1: 0, x2: width, y1: zero, y2: zero }),
    svg("text", { x: width, y: 12, "text-anchor": "end" }, `↑ ${nameA} better`),
    svg("text", { x: 0, y: height - 4 }, `↓ ${nameB} better`)));
}

const ranked = data.rows.filter((row) => row.group === "method").map((row) => methods.findIndex(({ label }) => label === row.label));
if (scoredMetrics.length && methods.length > 1) {
  const others = methods.map((_, index) => index);
  const ours = methods.findIndex(({ label }) => label === "stylegallery");
  const first = ours >= 0 ? ours : ranked[0] ?? 0;
  options(byId("compare-a"), methodEntries, first);
  options(byId("compare-b"), methodEntries, [...ranked, ...others].find((index) => index !== first));
  metricOptions(byId("compare-metric"), scoredMetrics, grid.metric);
  for (const id of COMPARE) byId(id).addEventListener("change", showComparison);
  showComparison();
} else {
  for (const id of COMPARE) byId(id).disabled = true;
  byId("compare-summary").textContent = "Two methods with scores are needed.";
}
