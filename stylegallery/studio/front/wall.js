// The wall: the photo and the paintings with their regions, and the tools that change them.
const TOOLS = {
  pin: ["Pin", "Choose a region of the photo, then the region of a painting whose style it takes."],
  forbid: ["Forbid", "Choose a region of the photo, then a region of a painting that it must not take."],
  join: ["Join", "Choose two regions of one picture: they become one."],
  cut: ["Cut", "Brush over a part of a region: it becomes a region of its own."],
  draw: ["Draw", "Brush a new region over whatever is there."],
};

const wall = (element, trigger, props, watch) => {
  const root = el("div", { class: "wall" });
  element.replaceChildren(root);
  const state = { tool: "pin", chosen: null, strokes: {}, applied: [], radius: 0.06, lines: true };
  let view = props.value, stage = null, lines = null;
  const told = el("p", { class: "told", "aria-live": "polite" });
  const said = el("p", { class: "said", role: "status" });
  const say = (kind, text) => { said.className = `said ${kind}`; said.textContent = text; };

  // What is to be chosen after a region.
  const next = ({ number, region }) => {
    const [of, other] = number ? [`painting ${number}`, "the region of the photo"] : ["the photo", "the region of a painting"];
    return `Region ${region} of ${of} is chosen: now choose ${state.tool === "join" ? "another one of this picture" : other}.`;
  };

  const act = {
    send: (what) => trigger("act", what),
    tell: (text) => { told.textContent = text; },
    brushed: () => root.querySelector(".apply")?.removeAttribute("disabled"),
    apply: (number) => {
      const strokes = state.strokes[number];
      if (!strokes?.length) return;
      state.applied.push(number); // the strokes stay until they were of use
      trigger("act", { do: state.tool, picture: number, strokes });
    },
    choose: (number, region) => {
      const first = state.chosen;
      const chosen = number === null ? null : { number, region };
      state.chosen = chosen;
      say("info", chosen ? next(chosen) : "");
      if (chosen && first) {
        if (state.tool === "join" && first.number === number && first.region !== region) {
          trigger("act", { do: "join", picture: number, first: Math.min(first.region, region), second: Math.max(first.region, region) });
          state.chosen = null;
        } else if (state.tool !== "join" && !first.number !== !number) {
          const [content, other] = number ? [first, chosen] : [chosen, first];
          trigger("act", { do: state.tool, region: content.region, reference: other.number, target: other.region });
          state.chosen = null;
        } else if (first.number === number && first.region === region) act.choose(null);
      }
      render();
    },
  };

  const samples = (kind, send) =>
    el("div", { class: "samples", role: "group", "aria-label": kind === "content" ? "photos to try" : "paintings to try" },
      view.samples[kind].map(({ name, key }) =>
        el("button", { type: "button", class: "sample", title: name.replaceAll("_", " "), "data-name": `sample-${name}`, onclick: () => send(name) },
          el("img", { src: studio.pictures.get(key), alt: name.replaceAll("_", " "), loading: "lazy" }))));

  const zone = (kind, title, note, several) => {
    const bring = (files) => trigger("bring", { kind, files });
    const zoneNode = el("section", {
      class: "zone",
      ondragover: (event) => { event.preventDefault(); zoneNode.classList.add("over"); },
      ondragleave: () => zoneNode.classList.remove("over"),
      ondrop: (event) => {
        event.preventDefault();
        event.stopPropagation();
        zoneNode.classList.remove("over");
        deliver([...event.dataTransfer.files], several, view.files, bring, say);
      },
    },
      el("h2", {}, title), el("p", { class: "note" }, note),
      chooser(several ? "Add paintings" : "Choose a photo", `choose-${kind}`, "image/*", several, view.files, bring, say),
      el("p", { class: "note" }, "or try one of these"), samples(kind, (name) => trigger("bring", { kind, sample: name })));
    return zoneNode;
  };

  const closeMenus = (but = null) => {
    for (const menu of root.querySelectorAll(".menu[open]")) if (menu !== but) menu.open = false;
  };
  const maskMenu = (number) =>
    el("details", { class: "menu", "data-name": `menu-${number}` }, el("summary", {}, "Regions"),
      el("div", { class: "sheet", onclick: ({ target }) => target.closest("button") && closeMenus(), onchange: () => closeMenus() },
        el("strong", {}, number ? `Regions of painting ${number}` : "Regions of the photo"),
        el("button", { type: "button", onclick: () => { Object.assign(state, { tool: "draw", chosen: null, strokes: {} }); act.send({ do: "blank", picture: number }); } }, "Draw from scratch"),
        el("button", { type: "button", disabled: !view.pictures[number].own, onclick: () => act.send({ do: "as_found", picture: number }) }, "Back to those found"),
        chooser("Load a mask", `mask-${number}`, ".png,.json,image/*", false, view.files, ([file]) => act.send({ do: "load_mask", picture: number, file }), say),
        el("button", { type: "button", onclick: () => trigger("fetch", { what: "mask_png", picture: number }) }, "Save as PNG"),
        el("button", { type: "button", onclick: () => trigger("fetch", { what: "mask_labelme", picture: number }) }, "Save for labelme")));

  const figure = (picture, number) => {
    const title = number ? `Painting ${number}` : "Photo";
    const source = studio.pictures.get(picture.key);
    return el("figure", { class: `picture ${picture.excluded ? "out" : ""}`, "data-picture": number },
      el("div", { class: "frame", "data-layer": number, style: `aspect-ratio: ${picture.width} / ${picture.height}` },
        el("img", { src: source, alt: number ? `painting ${number}, ${picture.name}` : `the photo, ${picture.name}` }),
        picture.regions ? regionPicture(view, state, number, act) : el("span", { class: "looking" }, "being looked at …")),
      el("figcaption", {}, el("strong", {}, title), el("span", { class: "file" }, picture.name),
        number ? el("label", { class: "leave" }, el("input", { type: "checkbox", checked: picture.excluded, "data-name": `leave-${number}`,
          onchange: (event) => act.send({ do: "leave_out", reference: number, out: event.target.checked }) }), "leave out") : null,
        picture.regions ? maskMenu(number) : null,
        number ? el("button", { type: "button", class: "plain", "data-name": `remove-${number}`, "aria-label": `remove painting ${number}`,
          onclick: () => trigger("bring", { remove: number }) }, "Remove") : null));
  };

  const toolbar = () => {
    const brushing = state.tool in BRUSHES;
    return el("div", { class: "tools" },
      el("div", { role: "radiogroup", "aria-label": "what a click does", class: "radios" },
        Object.entries(TOOLS).map(([tool, [name]]) =>
          el("label", { class: state.tool === tool ? "on" : "" },
            el("input", { type: "radio", name: "tool", checked: state.tool === tool, "data-name": `tool-${tool}`, class: "unseen",
              onchange: () => { Object.assign(state, { tool, chosen: null, strokes: {} }); render(); } }), name))),
      brushing ? el("label", { class: "size" }, "brush", el("input", { type: "range", min: 0.01, max: 0.2, step: 0.01, value: state.radius, "data-name": "radius",
        onchange: (event) => { state.radius = Number(event.target.value); render(); } })) : null,
      brushing ? el("button", { type: "button", class: "apply", disabled: !Object.values(state.strokes).some((strokes) => strokes.length), "data-name": "apply",
        onclick: () => Object.keys(state.strokes).forEach((number) => act.apply(Number(number))) }, state.tool === "cut" ? "Cut out" : "Make a region") : null,
      el("span", { class: "gap" }),
      el("label", { class: "check" }, el("input", { type: "checkbox", checked: state.lines, "data-name": "lines",
        onchange: (event) => { state.lines = event.target.checked; drawLines(stage, lines, view, state.lines); } }), "lines"),
      el("button", { type: "button", "data-name": "undo", disabled: !view.undo, onclick: () => act.send({ do: "undo" }) }, "Undo"),
      el("button", { type: "button", "data-name": "reset", disabled: !view.decided, onclick: () => act.send({ do: "reset" }) }, "Start over"),
      el("p", { class: "hint" }, TOOLS[state.tool][1]));
  };

  const list = () =>
    el("details", { class: "matches", "data-name": "matches" }, el("summary", {}, "Who takes whose style, and why"),
      el("ul", {}, view.matches.map((match) =>
        el("li", {}, el("span", { class: "chip", style: `background:${view.colours[match.region - 1]}` }),
          `region ${match.region} takes region ${match.target} of painting ${match.reference}: ${match.why}`,
          match.pinned ? el("button", { type: "button", class: "plain", onclick: () => act.send({ do: "unpin", region: match.region }) }, "Unpin") : null,
          el("small", {}, ` score ${match.score.toFixed(2)}`))),
        view.forbidden.map(([region, reference, target]) =>
          el("li", {}, `region ${region} must not take region ${target} of painting ${reference}`,
            el("button", { type: "button", class: "plain", onclick: () => act.send({ do: "forbid", region, reference, target }) }, "Allow")))));

  const render = () => {
    if (!view) return;
    const shown = view.pictures.map((picture, number) => picture && figure(picture, number));
    const matched = view.pictures.some((picture) => picture?.regions);
    lines = svg("svg", { class: "lines", "aria-hidden": true });
    stage = el("div", { class: "stage" }, shown[0] ?? null, el("div", { class: "paintings" }, shown.slice(1)), lines);
    refill(root,
      el("div", { class: `zones ${view.pictures[0] && view.pictures.length > 1 ? "small" : ""}` },
        zone("content", "Your photo", `PNG, JPEG, WebP, AVIF, TIFF; up to ${mebibytes(view.files.one)}`, false),
        zone("style", "Paintings", "one or many; every region of the photo finds its own", true)),
      said, matched ? toolbar() : null, shown.some(Boolean) ? stage : null, matched ? told : null, view.matches.length || view.forbidden.length ? list() : null);
    requestAnimationFrame(() => drawLines(stage, lines, view, state.lines));
  };

  watch("value", () => {
    view = props.value;
    say(view.said.kind, view.said.text);
    const applied = state.applied.shift();
    if (view.said.kind !== "error") delete state.strokes[applied];
    const { number, region } = state.chosen ?? {};
    if (state.chosen && !(view.pictures[number]?.regions?.length >= region)) state.chosen = null;
    render();
  });
  studio.render = render;
  window.addEventListener("click", ({ target }) => closeMenus(target.closest?.(".menu")));
  window.addEventListener("keydown", ({ key }) => key === "Escape" && closeMenus());
  new ResizeObserver(() => stage && drawLines(stage, lines, view, state.lines)).observe(root);
  // A file that is dropped beside the zones would be opened in place of this page.
  for (const kind of ["dragover", "drop"])
    window.addEventListener(kind, (event) => {
      event.preventDefault();
      if (kind === "drop") say("error", "Drop pictures on “Your photo” or on “Paintings”.");
    });
  if (view) { say(view.said.kind, view.said.text); render(); }
};
