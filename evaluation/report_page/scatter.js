// Two metrics against each other, means with 95 % intervals; axes turn so that better is right and up.
const WIDTH = 860, HEIGHT = 500, LEFT = 74, RIGHT = 24, TOP = 22, BOTTOM = 58;

/** Round tick values inside [low, high]. */
function ticks(low, high, number = 6) {
  const raw = (high - low) / number, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((value) => value >= raw);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, index) => (first + index) * step);
}

/** value -> pixel between `from` and `to`, `to` being the better end; with the ticks of the axis. */
function axis(cells, metric, from, to) {
  const values = cells.flatMap(({ mean, low, high }) => [low ?? mean, high ?? mean]);
  const smallest = Math.min(...values), largest = Math.max(...values);
  const margin = 0.07 * (largest - smallest || Math.abs(largest) || 1);
  const [low, high] = [smallest - margin, largest + margin];
  const [start, end] = metrics[metric].direction === "up" ? [from, to] : [to, from];
  return { at: (value) => start + ((value - low) / (high - low)) * (end - start), ticks: ticks(low, high) };
}

const tickText = (values) => {
  const step = values.length > 1 ? Math.abs(values[1] - values[0]) : Math.abs(values[0]) || 1;
  const places = Math.max(0, Math.min(8, Math.ceil(-Math.log10(step) + (Math.abs(step / 10 ** Math.floor(Math.log10(step)) - 2.5) < 1e-6 ? 1 : 0) - 1e-9)));
  return (value) => value.toFixed(places).replace("-", "−");
};

/** Where a label of some width goes beside its point so that it covers no other label or point. */
function placeLabel(x, y, width, taken) {
  const spots = [[9, -7], [9, 15], [-9 - width, -7], [-9 - width, 15], [-width / 2, -13], [-width / 2, 23], [9, -23], [9, 31], [-9 - width, -23], [-9 - width, 31]];
  const boxes = spots.map(([dx, dy]) => ({ left: x + dx, right: x + dx + width, top: y + dy - 12, bottom: y + dy + 3 }));
  const outside = (box) => Math.max(0, LEFT - box.left) + Math.max(0, box.right - WIDTH + 4) + Math.max(0, TOP - box.top) + Math.max(0, box.bottom - HEIGHT + BOTTOM);
  const overlap = (a, b) => Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left)) * Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top));
  const cost = boxes.map((box, index) => 100 * outside(box) + taken.reduce((sum, other) => sum + overlap(box, other), 0) + index);
  const box = boxes[cost.indexOf(Math.min(...cost))];
  taken.push(box);
  return [box.left, box.bottom - 3];
}

function drawScatter() {
  const [mx, my] = [Number(byId("scatter-x").value), Number(byId("scatter-y").value)];
  const calibration = byId("scatter-calibration").checked;
  const points = data.rows.filter((row) => row.group === "method" || (calibration && row.group === "calibration"))
    .filter((row) => row.cells[mx].mean !== null && row.cells[my].mean !== null)
    .map((row) => ({ row, x: row.cells[mx], y: row.cells[my] }));
  if (!points.length) {
    byId("scatter-figure").replaceChildren(el("p", { class: "empty" }, "No row has both metrics."));
    return;
  }
  const horizontal = axis(points.map(({ x }) => x), mx, LEFT, WIDTH - RIGHT);
  const vertical = axis(points.map(({ y }) => y), my, HEIGHT - BOTTOM, TOP);
  const [textX, textY] = [tickText(horizontal.ticks), tickText(vertical.ticks)];
  const grid = [
    ...horizontal.ticks.map((value) => [
      svg("line", { class: "gridline", x1: horizontal.at(value), x2: horizontal.at(value), y1: TOP, y2: HEIGHT - BOTTOM }),
      svg("text", { class: "tick", x: horizontal.at(value), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, textX(value))]),
    ...vertical.ticks.map((value) => [
      svg("line", { class: "gridline", x1: LEFT, x2: WIDTH - RIGHT, y1: vertical.at(value), y2: vertical.at(value) }),
      svg("text", { class: "tick", x: LEFT - 8, y: vertical.at(value) + 4, "text-anchor": "end" }, textY(value))]),
  ].flat();
  const better = (metric) => `${metrics[metric].name} (${metrics[metric].direction === "up" ? "higher" : "lower"} is better)`;
  const names = [
    svg("text", { class: "axis", x: WIDTH - RIGHT, y: HEIGHT - 12, "text-anchor": "end" }, `${better(mx)} →`),
    svg("text", { class: "axis", x: 0, y: 0, "text-anchor": "end", transform: `translate(16 ${TOP}) rotate(-90)` }, `${better(my)} →`),
  ];
  const placed = points.map(({ row, x, y }) => ({ row, x, y, px: horizontal.at(x.mean), py: vertical.at(y.mean) }));
  const span = (axis, { low, high }, p) => (low === null ? [p, p] : [axis.at(low), axis.at(high)].sort((a, b) => a - b));
  const taken = placed.flatMap(({ x, y, px, py }) => {
    const [[left, right], [top, bottom]] = [span(horizontal, x, px), span(vertical, y, py)];
    return [{ left: px - 6, right: px + 6, top: py - 6, bottom: py + 6 }, { left, right, top: py - 1, bottom: py + 1 }, { left: px - 1, right: px + 1, top, bottom }];
  });
  const marks = placed.map(({ row, x, y, px, py }) => {
    const whiskers = [];
    if (x.low !== null) whiskers.push(svg("line", { x1: horizontal.at(x.low), x2: horizontal.at(x.high), y1: py, y2: py }));
    if (y.low !== null) whiskers.push(svg("line", { x1: px, x2: px, y1: vertical.at(y.low), y2: vertical.at(y.high) }));
    const [left, bottom] = placeLabel(px, py, row.label.length * 7.3, taken);
    const title = `${row.label} (${row.model}): ${metrics[mx].name} ${x.text}, N = ${x.n}; ${metrics[my].name} ${y.text}, N = ${y.n}`;
    return svg("g", { class: `point ${row.group}`, tabindex: 0, role: "img", "aria-label": title }, svg("title", {}, title), whiskers,
      svg("circle", { cx: px, cy: py, r: 5 }), svg("text", { x: left, y: bottom }, row.label));
  });
  const counts = [...new Set(points.flatMap(({ x, y }) => [x.n, y.n]))].sort((a, b) => a - b);
  byId("scatter-figure").replaceChildren(
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": `${metrics[mx].name} against ${metrics[my].name}` }, grid, names, marks),
    el("figcaption", {}, `Means over items with 95 % intervals, N = ${counts.length > 1 ? `${counts[0]} to ${counts.at(-1)}` : counts[0]}. Axes turn so that better is to the right and up; hollow points are calibration rows.`));
}

const drawable = metrics.map((_, index) => index).filter((index) => data.rows.some((row) => row.group === "method" && row.cells[index].mean !== null));
metricOptions(byId("scatter-x"), drawable, firstMetric(drawable, ["structure"], "structure_"));
metricOptions(byId("scatter-y"), drawable, firstMetric(drawable, ["regional", "style"], "regional_style"));
for (const id of ["scatter-x", "scatter-y", "scatter-calibration"]) byId(id).addEventListener("change", drawScatter);
if (drawable.length) drawScatter();
else byId("scatter-figure").replaceChildren(el("p", { class: "empty" }, "No metric has a value yet; run python -m evaluation.score on the results folder."));
