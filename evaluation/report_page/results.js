// The results table: methods × metrics as mean with 95 % interval.
const commonN = metrics.map((_, index) => {
  const counts = new Set(data.rows.map((row) => row.cells[index].n).filter((n) => n !== null));
  return counts.size === 1 ? [...counts][0] : null; // where the rows differ, every cell says its own
});

function resultsTable() {
  const kinds = [];
  metrics.forEach(({ kind }) => (kinds.at(-1)?.kind === kind ? kinds.at(-1).span++ : kinds.push({ kind, span: 1 })));
  const head = el("thead", {},
    el("tr", {}, el("th", { colspan: 2 }), kinds.map(({ kind, span }) => el("th", { colspan: span, scope: "colgroup", class: "kind" }, kind))),
    el("tr", {}, el("th", { scope: "col", class: "sticky" }, "method"), el("th", { scope: "col", class: "left" }, "model"),
      metrics.map((metric, index) => el("th", { scope: "col", title: metric.about }, breakable(metric.name), " ", el("span", { class: "arrow", "aria-label": metric.direction === "up" ? "higher is better" : "lower is better" }, arrow(index)),
        el("small", {}, commonN[index] === null ? "" : `N = ${commonN[index]}`)))));
  const bodies = ["method", "calibration", "paper"].map((group) => data.rows.filter((row) => row.group === group))
    .filter((rows) => rows.length)
    .map((rows) => el("tbody", { class: rows[0].group }, rows[0].group === "paper" ? paperHead() : [], rows.map(resultsRow)));
  byId("results-box").replaceChildren(el("table", { class: "results" }, head, bodies));
}

function resultsRow(row) {
  return el("tr", {},
    el("th", { scope: "row", class: "sticky" }, row.label, row.group === "calibration" ? el("small", { class: "badge" }, "calibration") : null),
    el("td", { class: "left model" }, row.model),
    row.cells.map((cell, index) => resultsCell(cell, index, row)));
}

const paperHead = () => el("tr", {}, el("th", { scope: "rowgroup", class: "sticky", colspan: 2 }, "as reported by the paper"),
  el("td", { class: "left small", colspan: metrics.length }, data.reported));

function missingCell(text) {
  return el("span", { class: "missing", title: text }, el("span", { "aria-hidden": "true" }, "–"), el("span", { class: "hidden" }, text));
}

function resultsCell(cell, metric, row) {
  if (cell.mean === null) return el("td", {}, row.group === "paper" ? null : missingCell(cell.reason));
  const value = el({ best: "strong", second: "u" }[cell.mark] ?? "span", {}, cell.text);
  const interval = cell.low === null ? null : el("small", { class: "interval" }, cell.interval);
  const fewer = cell.n !== null && cell.n !== commonN[metric] ? el("small", { class: "fewer" }, `N = ${cell.n}`) : null;
  const ours = cell.difference === null ? null : el("small", {}, cell.ours);
  const dagger = cell.otherScale ? el("sup", {}, "†") : null;
  const spoken = cell.low === null ? "" : `, 95 % interval ${cell.interval}`;
  const title = `${row.label}, ${metrics[metric].name}: ${cell.text}${spoken}${cell.n === null ? "" : `, N = ${cell.n}`}`;
  return el("td", { title }, value, dagger, interval, fewer, ours);
}

function resultsNotes() {
  const reasons = new Map();
  for (const row of data.rows.filter((row) => row.group !== "paper")) {
    row.cells.forEach((cell, index) => {
      if (cell.mean !== null) return;
      if (!reasons.has(cell.reason)) reasons.set(cell.reason, new Set());
      reasons.get(cell.reason).add(metrics[index].name);
    });
  }
  const legend = el("p", {}, el("strong", {}, "best"), " and ", el("u", {}, "second"),
    " among methods by the mean, which stands above its 95 % interval; arrows show which way is better.");
  const list = [...reasons].map(([text, names]) => el("li", {}, el("span", { class: "names" }, [...names].join(", ")), ": ", el("code", {}, text)));
  const others = data.rows.some((row) => row.cells.some((cell) => cell.otherScale && cell.mean !== null));
  if (others) legend.append(" † on another scale than ours: compare orders, not values.");
  byId("results-notes").replaceChildren(legend, ...(list.length ? [el("details", { open: true }, el("summary", {}, "Dashes"), el("ul", {}, list))] : []));
}

const results = data.rows.filter((row) => row.group === "method").length;
byId("summary").textContent = `${items.length} items · ${results} method${results === 1 ? "" : "s"} · ${metrics.length} metrics`;
byId("warning").textContent = data.warning;
byId("warning").hidden = !data.warning;
byId("above").replaceChildren(...data.above.map((line) => el("li", {}, line)));
byId("notes-list").replaceChildren(...data.notes.map((note) => el("li", {}, note)));
resultsTable();
resultsNotes();
