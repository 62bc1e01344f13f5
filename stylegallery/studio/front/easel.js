// The easel: how to paint, the painting on its way, what came of it, and what can be taken home.
const SIZES = [256, 384, 512, 640, 768, 1024];

const plot = (energies) => {
  if (energies.length < 2) return null;
  const most = Math.max(...energies.flat()), line = (part) =>
    energies.map((values, i) => `${(100 * i) / (energies.length - 1)},${38 - (36 * values[part]) / most}`).join(" ");
  const names = ["the two, weighed together", "unlike the paintings", "unlike the photo"];
  return el("div", { class: "plot" },
    svg("svg", { viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": `how far there is to go, now ${energies.at(-1)[0].toFixed(2)}, at first ${energies[0][0].toFixed(2)}` },
      names.map((_, part) => svg("polyline", { points: line(part), class: `curve curve-${part}` }))),
    el("div", { class: "key" }, names.map((name, part) => el("span", { class: `curve-${part}` }, name)), el("small", {}, "energy over updates")));
};

const counted = (updates) => (updates === 1 ? "1 update" : `${updates} updates`);

const inWords = ({ wishes, width, height, updates, of, seconds: took, pins }) => {
  const parts = [`${width} × ${height}`];
  if (wishes.content_weight !== undefined) parts.push(`photo stays: ${wishes.content_weight}`);
  if (wishes.recolouring !== undefined) parts.push(`their colours: ${Math.round(100 * wishes.recolouring)} %`);
  if (pins) parts.push(`${pins} pinned`);
  parts.push(updates < of ? `stopped after ${updates} of ${counted(of)}` : counted(of), `${took} s`);
  return parts.join(" · ");
};

const easel = (element, trigger, props, watch) => {
  const root = el("div", { class: "easel" });
  element.replaceChildren(root);
  const state = { chosen: null, beside: null, whole: false, split: 50, wishes: null, last: null, asked: false };
  let view = props.value;

  const wished = () => {
    const usual = view.usual;
    return (state.wishes ??= {
      content_weight: usual.content_weight, recolouring: usual.recolouring, steps: usual.steps, resolution: Math.max(512, usual.resolution), output_size: usual.output_size,
    });
  };
  const changed = (extra = {}) => {
    const all = { ...wished(), ...extra };
    return Object.fromEntries(Object.entries(all).filter(([name, value]) => value !== view.usual[name]));
  };

  // As far as is of use, within what the studio takes.
  const slider = (name, title, top, note, [least, most] = view.limits[name]) => {
    const output = el("output", {}, note(wished()[name]));
    return el("label", { class: "wish" }, el("span", {}, title),
      el("input", { type: "range", min: least, max: Math.min(most, Math.max(top, wished()[name])), step: name === "steps" ? 1 : 0.01, value: wished()[name], "data-name": `wish-${name}`,
        oninput: (event) => { wished()[name] = Number(event.target.value); output.textContent = note(wished()[name]); } }), output);
  };

  // A model may not have every number of steps.
  const possible = () => [Math.min, Math.max].map((end) => end(...Object.keys(view.updates)));
  const ask = (name, what) => { state.asked = true; buttons.stop.disabled = false; buttons.stop.textContent = "Withdraw"; trigger(name, what); };

  const wishes = () => {
    const { usual, limits } = view, [least, most] = limits.resolution;
    const sizes = [...new Set([...SIZES, wished().resolution])].filter((size) => size >= least && size <= most).sort((a, b) => a - b);
    return [
      slider("content_weight", "How much of the photo stays", 4 * usual.content_weight || 1, (value) => `λc ${value}`),
      slider("recolouring", "How much of their colours", 1, (value) => `recolouring ${value}`),
      slider("steps", "How long it is worked on", 3 * usual.steps, (value) => counted(view.updates[value]), possible()),
      el("label", { class: "wish" }, el("span", {}, "How large"),
        el("select", { "data-name": "wish-resolution", onchange: (event) => { wished().resolution = Number(event.target.value); } },
          sizes.map((size) => el("option", { value: size, selected: size === wished().resolution }, `about ${size} × ${size}`))),
        el("output", {}, "resolution"), el("small", {}, `Beyond ${view.quick}, regions are found anew and finer; what you pinned, forbade or drew holds.`)),
      el("label", { class: "check" }, el("input", { type: "checkbox", checked: wished().output_size === "content", "data-name": "wish-size",
        onchange: (event) => { wished().output_size = event.target.checked ? "content" : "model"; } }), "as large as the photo, with its fine detail")];
  };

  // These stay the same nodes while it is painted: one that is being pressed or dragged must not be replaced.
  const said = el("p", { class: "said", role: "status" });
  const say = (kind, text) => { said.className = `said ${kind}`; said.textContent = text; };
  const button = (name, title, press, rest = {}) => el("button", { type: "button", "data-name": name, onclick: press, ...rest }, title);
  const buttons = {
    quick: button("quick", "Quick look", () => ask("paint", changed({ resolution: view.quick, steps: Math.max(possible()[0], Math.round(wished().steps / 2)), output_size: "model" })), { class: "primary", title: "a small picture with half the work" }),
    paint: button("paint", "Paint", () => ask("paint", changed()), { class: "primary" }),
    stop: button("stop", "Stop and keep", () => { say("info", view.moment ? "Stopping after this update …" : "Withdrawing …"); trigger("stop", {}); }),
    on: button("on", "Go on", () => ask("on", {})),
  };
  const places = { wishes: el("div", { class: "wishes" }), open: el("span"), rest: el("div") };
  root.append(el("h2", {}, "Paint"), places.wishes,
    el("div", { class: "buttons" }, Object.values(buttons), el("span", { class: "gap" }), places.open), said, places.rest);

  const progress = () => {
    const { doing, done, of, left } = view.moment;
    const text = `${doing}${of ? `: ${done} of ${of}` : " …"}${left ? ` · ${seconds(left)}` : ""}`;
    return el("div", { class: "progress" }, el("progress", { max: Math.max(1, of), value: done, "aria-label": doing }), el("span", { role: "status" }, text));
  };

  const slide = (result) => {
    const before = studio.pictures.get(result.before), after = studio.pictures.get(result.key);
    const top = el("img", { src: before, alt: "the photo", class: "before", draggable: "false", style: `clip-path: inset(0 ${100 - state.split}% 0 0)` });
    const edge = el("span", { class: "edge", style: `left: ${state.split}%` });
    const split = (share) => {
      state.split = Math.min(100, Math.max(0, share));
      top.style.clipPath = `inset(0 ${100 - state.split}% 0 0)`;
      edge.style.left = `${state.split}%`;
    };
    const bar = el("input", { type: "range", min: 0, max: 100, value: state.split, "data-name": "split", "aria-label": "how much of the photo is shown over the result",
      oninput: () => split(Number(bar.value)) });
    const drag = (event) => {
      if (!(event.buttons & 1)) return;
      const box = event.currentTarget.getBoundingClientRect();
      split((100 * (event.clientX - box.left)) / box.width);
      bar.value = state.split;
    };
    const frame = el("div", { class: `frame ${state.whole ? "whole" : ""}`, style: state.whole ? "" : `aspect-ratio: ${result.width} / ${result.height}` },
      el("div", { class: "sheets", onpointerdown: drag, onpointermove: drag, style: state.whole ? `width: ${result.width}px; aspect-ratio: ${result.width} / ${result.height}` : "" },
        el("img", { src: after, alt: `result ${result.number}`, draggable: "false" }), top, edge));
    return el("figure", { class: "result" }, frame,
      el("label", { class: "split" }, el("span", {}, "photo"), bar, el("span", {}, "result")),
      el("figcaption", {}, `Result ${result.number}: ${inWords(result)}`));
  };

  const plain = (result) => el("figure", { class: "result" },
    el("div", { class: `frame ${state.whole ? "whole" : ""}` }, el("img", { src: studio.pictures.get(result.key), alt: `result ${result.number}`, style: state.whole ? `width: ${result.width}px; max-width: none` : "" })),
    el("figcaption", {}, `Result ${result.number}: ${inWords(result)}`));

  const home = (result) => el("div", { class: "home" },
    el("div", { class: "buttons" }, el("span", {}, "Download"),
      [["picture", "Picture"], ["overview", "Overview"], ["all", "Everything (.zip)"]].map(([what, title]) =>
        el("button", { type: "button", "data-name": `fetch-${what}`, onclick: () => trigger("fetch", { what, result: result.number }) }, title)),
      el("label", { class: "check" }, el("input", { type: "checkbox", checked: state.whole, "data-name": "whole",
        onchange: (event) => { state.whole = event.target.checked; render(); } }), result.reduced ? "full size; sharper in the file" : "full size, to see the strokes")),
    el("details", { "data-name": "command" }, el("summary", {}, "The same on the command line"),
      el("p", { class: "note" }, "Unpack “Everything” beside run.py; this gives the same file, to the byte:"),
      el("pre", { tabindex: 0 }, el("code", { class: "command" }, result.command)),
      el("button", { type: "button", class: "plain", "data-name": "copy", onclick: ({ target }) => copy(target, target.parentElement.querySelector(".command")) }, "Copy"),
      el("p", { class: "note" }, "or these settings, as YAML:"), el("pre", { tabindex: 0 }, el("code", {}, result.yaml))));

  const history = () => el("div", { class: "history", role: "group", "aria-label": "results of this session" },
    view.results.map((result) => el("div", { class: `past ${result.number === state.chosen ? "chosen" : ""}` },
      el("button", { type: "button", "data-name": `result-${result.number}`, "aria-pressed": result.number === state.chosen,
        onclick: () => { state.chosen = result.number; if (state.beside === result.number) state.beside = null; render(); } },
        el("img", { src: studio.pictures.get(result.key), alt: `result ${result.number}` })),
      el("small", {}, inWords(result)),
      view.results.length > 1 ? el("label", { class: "check" }, el("input", { type: "checkbox", checked: state.beside === result.number, disabled: result.number === state.chosen,
        "data-name": `beside-${result.number}`, onchange: (event) => { state.beside = event.target.checked ? result.number : null; render(); } }), "side by side") : null)));

  const render = () => {
    const { moment } = view;
    const result = view.results.find((one) => one.number === state.chosen), other = view.results.find((one) => one.number === state.beside);
    const energies = moment ? moment.energies : (result?.energies ?? []);
    const shown = moment
      ? [state.last ? el("figure", { class: "result" }, el("div", { class: "frame" }, el("img", { src: state.last, alt: "the painting so far" }))) : null]
      : result ? [el("div", { class: other ? "pair" : "" }, other ? [plain(result), plain(other)] : slide(result)), home(result)] : [];
    for (const name of ["quick", "paint"]) buttons[name].disabled = Boolean(moment);
    buttons.stop.disabled = !moment && !state.asked;
    buttons.stop.textContent = state.asked ? "Withdraw" : "Stop and keep";
    buttons.on.hidden = !view.going || Boolean(moment);
    if (!places.wishes.children.length) refill(places.wishes, wishes());
    if (!places.open.children.length) refill(places.open, chooser("Open a result", "open", ".png,.json,image/*", true, view.files, (files) => trigger("restore", { files }), say));
    refill(places.rest, moment ? progress() : null, el("div", { class: "canvas" }, shown), plot(energies), view.results.length ? [el("h3", {}, "This session"), history()] : null);
  };

  watch("value", () => {
    const before = view?.results?.[0]?.number;
    view = props.value;
    state.asked = false;
    say(view.said.kind, view.said.text);
    if (view.moment?.picture) state.last = view.moment.picture;
    if (!view.moment) state.last = null;
    if (view.restored) {
      state.wishes = { ...view.usual, ...view.restored };
      places.wishes.replaceChildren();
    }
    if (view.results[0] && view.results[0].number !== before) state.chosen = view.results[0].number;
    render();
  });
  studio.repaint = () => view && render();
  if (view) render();
};
