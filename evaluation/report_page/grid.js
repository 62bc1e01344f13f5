// The grid of items: sort, filter, and rows that are filled when they come near.
const grid = { metric: firstMetric(scoredMetrics, ["regional", "style"], "regional_style") ?? null, column: "item", descending: false, shown: methods.map(() => true), order: [] };
const gridRows = items.map((item, index) => {
  const details = [item.families.join(", "), `${item.references.length} reference${item.references.length === 1 ? "" : "s"}`];
  const row = el("tr", {}, el("th", { scope: "row", class: "sticky" }, itemButton(index, () => grid.order),
    el("small", {}, details.filter(Boolean).join(" · "))));
  row.item = index;
  return row;
});
const gridBody = el("tbody");
const gridLazy = lazyRows(byId("items-box"), fillGridRow);

function fillGridRow(row) {
  const best = grid.metric === null ? [] : bestMethods(grid.metric, row.item);
  row.append(...inputCells(row.item));
  methods.forEach((method, index) => { if (grid.shown[index]) row.append(outputCell(row.item, index, grid.metric, best)); });
}

function outputCell(item, method, metric, best) {
  const cell = el("td", { class: "picture" }, picture(output(item, method), `${methods[method].label} on ${items[item].id}`));
  if (metric !== null) cell.append(scoreText(item, method, metric, best));
  return cell;
}

function scoreText(item, method, metric, best) {
  const value = score(metric, method, item);
  if (value === null) return el("span", { class: "score" }, missingCell(reason(metric, method, item)));
  return el(best.includes(method) ? "strong" : "span", { class: "score" }, format(metric, value));
}

function sortKey(item) {
  if (grid.column === "item") return items[item].id;
  if (grid.column === "references") return items[item].references.length;
  return grid.metric === null ? null : score(grid.metric, grid.column, item);
}

function filterTest() {
  const text = byId("item-text").value.trim().toLowerCase();
  const [family, count, wanted] = ["item-family", "item-count", "item-results"].map((id) => byId(id).value);
  return (item) => {
    const { id, names, families, references, failed } = items[item];
    return (!text || [id, ...names].some((name) => name.toLowerCase().includes(text)))
      && (family === "" || families.includes(data.families[family]))
      && (count === "" || references.length === Number(count))
      && (wanted === "" || (wanted === "complete" ? !failed.length : wanted === "any" ? failed.length > 0 : failed.includes(Number(wanted))));
  };
}

/** Show the items that pass the filter, in the order of the chosen column. */
function showGrid() {
  const order = items.map((_, index) => index).filter(filterTest());
  const keys = items.map((_, index) => sortKey(index));
  grid.order = order.sort((a, b) => compareValues(keys[a], keys[b], grid.descending) || a - b);
  gridBody.replaceChildren(...grid.order.map((item) => gridRows[item]));
  byId("item-number").textContent = `${grid.order.length} of ${items.length} items`;
}

function sortBy(column) {
  const best = typeof column === "number" && grid.metric !== null && metrics[grid.metric].direction === "up";
  grid.descending = grid.column === column ? !grid.descending : best;
  grid.column = column;
  showHead();
  showGrid();
  byId("items-box").scrollTop = 0;
}

/** The head with a sorting button per column; a method's column is sorted best first. */
function showHead() {
  const heading = (column, text, attributes = {}) => el("th", {
    scope: "col", ...attributes, "aria-sort": grid.column === column ? (grid.descending ? "descending" : "ascending") : "none",
  }, el("button", { type: "button", class: "sort", onclick: () => { sortBy(column); focusHead(column); } }, text,
    el("span", { class: "arrow", "aria-hidden": "true" }, grid.column === column ? (grid.descending ? " ▼" : " ▲") : "")));
  const columns = methods.map((method, index) => (grid.shown[index] ? heading(index, breakable(method.label), { "data-column": index }) : null));
  gridTable.replaceChildren(
    el("thead", {}, el("tr", {}, heading("item", "item", { class: "sticky", "data-column": "item" }), el("th", { scope: "col" }, "content"),
      heading("references", "references", { "data-column": "references" }), columns.filter(Boolean))),
    gridBody);
}
const focusHead = (column) => gridTable.querySelector(`[data-column="${column}"] button`).focus();

const gridTable = el("table", { class: "grid" });
byId("items-box").replaceChildren(gridTable);
const numbers = [...new Set(items.map(({ references }) => references.length))].sort((a, b) => a - b);
options(byId("item-family"), [["", "all"], ...data.families.map((name, index) => [index, name])], "");
options(byId("item-count"), [["", "any number"], ...numbers.map((number) => [number, String(number)])], "");
options(byId("item-results"), [["", "all"], ["complete", "complete"], ["any", "with failures"],
  ...methods.map((method, index) => [index, `${method.label} failed`])], "");
metricOptions(byId("item-metric"), scoredMetrics, grid.metric);
byId("item-metric").disabled = grid.metric === null;
byId("item-methods").lastElementChild.append(...methodEntries.map(([index, text]) =>
  el("label", { class: "check" }, el("input", { type: "checkbox", checked: true, onchange: (event) => {
    grid.shown[index] = event.target.checked;
    showHead();
    gridLazy.refill();
  } }), text)));
byId("item-metric").addEventListener("change", (event) => {
  grid.metric = Number(event.target.value);
  showGrid();
  gridLazy.refill();
});
for (const id of ["item-family", "item-count", "item-results"]) byId(id).addEventListener("change", showGrid);
byId("item-text").addEventListener("input", showGrid);
gridRows.forEach(gridLazy.observe);
showHead();
showGrid();
