// One participant's way through a plan: start, questions of one kind after an introduction, then the other, end.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const SECONDS = 8; // that a question takes, for the estimate at the start
const FIRST_LOOK = 300; // milliseconds in which no answer is taken: the second half of a double click
const ASK = {
  content: "Which picture keeps more of the original?",
  style: "Which picture is painted more like the paintings, part by part?",
};
const KEYS = "On a keyboard: ← chooses A, → chooses B, Backspace goes back";

function build(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}
const el = (tag, attributes = {}, ...children) => build(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  build(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// --- what is known of the participant, kept in this browser until the answers are saved ---

const LAST = `study ${data.study} last`; // the number that was answered last in this browser
const store = (number) => `study ${data.study} #${number}`; // answers of each number are kept apart
const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const asked = /^#[0-9]{1,9}$/.test(location.hash) ? Number(location.hash.slice(1)) : null; // by study.html#7
const planOf = (number) => (number + data.plans.length - 1) % data.plans.length; // past the last it begins again

function kept(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null; // a browser that keeps nothing
  }
}

/** A number by chance that nobody has used in this browser. */
function drawn() {
  let number = 1 + (crypto.getRandomValues(new Uint32Array(1))[0] % data.plans.length);
  while (kept(store(number))) number += data.plans.length;
  return number;
}

function newcomer() {
  const participant = hex(crypto.getRandomValues(new Uint8Array(8)));
  return { schema: 1, study: data.study, participant, plan: planOf(number), answers: [] };
}

function remember() {
  try {
    localStorage.setItem(store(number), JSON.stringify(ballot));
    localStorage.setItem(LAST, JSON.stringify(number));
  } catch {} // answers are lost then if the page is closed, and only then
}

function forget() {
  try {
    localStorage.removeItem(store(number));
  } catch {} // it was kept nowhere
}

let number = asked ?? kept(LAST) ?? drawn(); // without a number the page goes on with the last
let ballot = kept(store(number)) ?? newcomer();
let introduced = null; // the kind of question that was last explained
let seen = null; // when both pictures of the question were there, in ms
let turns = 0; // questions shown so far

// --- pictures ---

/** A picture that can be painted at once. */
async function picture(number) {
  const image = new Image();
  image.alt = "";
  image.src = `data:image/webp;base64,${JSON.parse(byId(`picture-${number}`).textContent).webp}`;
  await image.decode();
  return image;
}

function fill(frame, image) {
  frame.replaceChildren(image);
  for (const node of [frame, frame.parentElement]) {
    node.style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
  }
}

/** Outlines over a frame: [{path, at, text, colour}]; what none of them holds is veiled, unless `open`. */
function outline(frame, regions, open) {
  frame.querySelectorAll("svg, .number").forEach((node) => node.remove());
  const overlay = svg("svg", { viewBox: "0 0 1000 1000", preserveAspectRatio: "none", "aria-hidden": "true" });
  if (!open) {
    overlay.append(svg("path", { class: "veil", d: "M0 0H1000V1000H0Z" + regions.map((one) => one.path).join("") }));
  }
  for (const one of regions) {
    overlay.append(svg("path", { class: "edge", d: one.path }), svg("path", { class: "line", d: one.path, stroke: one.colour }));
  }
  frame.append(overlay);
  for (const one of regions.filter((region) => region.text)) {
    const number = el("span", { class: "number", "--chip": one.colour }, one.text);
    number.style.left = `${one.at[0] / 10}%`;
    number.style.top = `${one.at[1] / 10}%`;
    frame.append(number);
  }
}

// --- one question ---

const current = () => {
  const [number, flipped] = data.plans[ballot.plan][ballot.answers.length];
  const question = data.questions[number];
  const [left, right] = flipped ? [...question.pictures].reverse() : question.pictures;
  return { ...question, item: data.items[question.item], left, right };
};

async function ask() {
  const { kind, item, left, right } = current();
  const many = data.plans[ballot.plan].length;
  seen = null;
  show("question");
  byId("question").className = kind;
  byId("ask").textContent = ASK[kind];
  byId("place").textContent = `${ballot.answers.length + 1} of ${many}`;
  Object.assign(byId("progress"), { max: many, value: ballot.answers.length });
  byId("back").disabled = !ballot.answers.length;
  const references = kind === "style" ? item.references : [];
  const names = references.map((_, index) => (references.length > 1 ? `painting ${index + 1}` : "painting"));
  const figures = ["original", ...names].map((name) =>
    el("figure", {}, el("div", { class: "frame" }), el("figcaption", {}, name)));
  byId("stage").className = "loading";
  byId("shown").replaceChildren(...figures);
  byId("chips").replaceChildren(...(kind === "style" ? chips(item.regions.length) : []));
  const frames = [...figures, byId("left"), byId("right")].map((node) => node.querySelector(".frame"));
  const turn = ++turns;
  const images = await Promise.all([item.content, ...references, left, right].map(picture));
  if (turn !== turns) return; // another question was asked meanwhile
  frames.forEach((frame, index) => fill(frame, images[index]));
  if (kind === "style") showPart(0);
  byId("stage").className = "";
  byId("ask").focus({ preventScroll: true });
  seen = performance.now();
}

function chips(count) {
  const chip = (number) =>
    el("button", { class: "chip", "--chip": number ? data.colours[number - 1] : "var(--rule)", "aria-pressed": "false",
      "aria-label": number ? `part ${number} alone` : "all parts", onclick: () => showPart(number) }, number || "all");
  return [...Array(count + 1).keys()].map(chip);
}

/** Show one part alone in all pictures, or all parts in the given ones. */
function showPart(number) {
  const { item } = current();
  [...byId("chips").children].forEach((chip, index) => chip.setAttribute("aria-pressed", index === number));
  const [content, ...references] = byId("shown").querySelectorAll(".frame");
  const regions = item.regions.map((region, index) => ({ ...region, text: index + 1, colour: data.colours[index] }));
  const chosen = number ? [regions[number - 1]] : regions;
  outline(content, chosen, !number);
  references.forEach((frame, index) => {
    const parts = item.parts.filter((one) => one.reference === index && (!number || one.takers.includes(number)));
    outline(frame, parts.map((one) => ({
      ...one, text: number || one.takers.join(", "), colour: data.colours[(number || one.takers[0]) - 1],
    })), false);
  });
  for (const side of ["left", "right"]) {
    const frame = byId(side).querySelector(".frame");
    outline(frame, number ? chosen.map((one) => ({ ...one, text: "" })) : [], !number);
  }
}

function choose(side) {
  if (seen === null || performance.now() - seen < FIRST_LOOK) return;
  ballot.answers.push({ chose: side, seconds: Math.round(performance.now() - seen) / 1000 });
  remember();
  go();
}

function back() {
  ballot.answers.pop();
  remember();
  introduced = current().kind;
  ask();
}

// --- from one view to the next ---

function show(view) {
  for (const main of document.querySelectorAll("main")) main.hidden = main.id !== view;
  byId(view).querySelector(".main")?.focus();
  scrollTo(0, 0);
}

function go() {
  const plan = data.plans[ballot.plan];
  if (ballot.answers.length === plan.length) return finish();
  const { kind } = current();
  if (introduced === kind) return ask();
  const first = data.questions[plan[0][0]].kind === kind;
  const intro = byId(`intro-${kind}`);
  intro.querySelector(".step").textContent = `Part ${first ? 1 : 2} of 2`;
  intro.querySelector(".keys").textContent = kind === "style" ? `${KEYS}, 1, 2 … show one part, 0 shows all.` : `${KEYS}.`;
  introduced = kind;
  show(intro.id);
}

function finish() {
  const text = JSON.stringify(ballot, null, 1);
  seen = null;
  byId("copy").value = text;
  byId("save").href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  byId("save").download = `answers_${ballot.participant}.json`;
  show("end");
}

function start() {
  const left = data.plans[ballot.plan].length - ballot.answers.length;
  byId("count").textContent = left;
  byId("minutes").textContent = `${Math.max(1, Math.round((left * SECONDS) / 60))}`;
  byId("begin").textContent = ballot.answers.length ? `Go on at question ${ballot.answers.length + 1}` : "Begin";
  if (left) show("start");
  else finish();
}

byId("begin").addEventListener("click", go);
document.querySelectorAll(".next").forEach((button) => button.addEventListener("click", ask));
byId("back").addEventListener("click", back);
byId("undo").addEventListener("click", back);
byId("again").addEventListener("click", () => {
  forget();
  number = asked ?? drawn();
  ballot = newcomer();
  introduced = null;
  remember();
  start();
});
for (const side of ["left", "right"]) byId(side).addEventListener("click", () => choose(side));
document.addEventListener("keydown", (event) => {
  if (byId("question").hidden || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") choose(event.key === "ArrowLeft" ? "left" : "right");
  else if (event.key === "Backspace" && ballot.answers.length) back();
  else if (/^[0-9]$/.test(event.key) && byId("chips").children[Number(event.key)]) showPart(Number(event.key));
  else return;
  event.preventDefault();
});
addEventListener("hashchange", () => location.reload()); // another number is another participant
start();
