// A picture with its regions: they are chosen by click, tap or keyboard, or painted over with a brush.
const BRUSHES = { cut: "cut out what you brushed", draw: "make a region of what you brushed" };

const describe = (view, number, region) => {
  const shown = view.pictures[number].regions[region - 1];
  const of = number ? `painting ${number}` : "the photo";
  const start = `Region ${region} of ${of}, ${percent(shown.share)} of it`;
  if (number) {
    const takers = view.matches.filter((match) => match.reference === number && match.target === region);
    if (!takers.length) return `${start}: no part of the photo takes its style`;
    return `${start}: gives its style to region ${takers.map((match) => match.region).join(", ")} of the photo`;
  }
  const match = view.matches.find((one) => one.region === region);
  if (!match) return `${start}: no painting yet`;
  return `${start}: takes the style of region ${match.target} of painting ${match.reference} (${match.why})`;
};

const colourOf = (view, number, region) => {
  if (!number) return view.colours[region - 1];
  const taker = view.matches.find((match) => match.reference === number && match.target === region);
  return taker ? view.colours[taker.region - 1] : "#8a8a8a";
};

// `state` is the page's own: tool, chosen {number, region}, strokes by picture, size of the brush.
const regionPicture = (view, state, number, act) => {
  const picture = view.pictures[number];
  const { width, height } = picture;
  const brushing = state.tool in BRUSHES;
  const layer = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, class: `regions ${brushing ? "brushing" : ""}`, role: "group",
    "aria-label": number ? `regions of painting ${number}` : "regions of the photo",
  });
  for (const { region, path } of picture.regions) {
    const chosen = state.chosen?.number === number && state.chosen?.region === region;
    const pinned = !number && view.matches.some((match) => match.region === region && match.pinned);
    const press = () => act.choose(number, region);
    layer.append(
      svg("path", {
        d: path, fill: colourOf(view, number, region), "fill-rule": "evenodd", role: "button", tabindex: brushing ? -1 : 0,
        class: `region ${chosen ? "chosen" : ""} ${pinned ? "pinned" : ""}`, "data-name": `region-${number}-${region}`,
        "data-picture": number, "data-region": region,
        "aria-pressed": chosen, "aria-label": describe(view, number, region), onclick: press,
        onkeydown: (event) => {
          if (event.key === "Enter" || event.key === " ") { event.preventDefault(); press(); }
          if (event.key === "Escape") act.choose(null);
        },
        onpointerenter: () => act.tell(describe(view, number, region)), onfocus: () => act.tell(describe(view, number, region)),
      }, svg("title", {}, describe(view, number, region))),
    );
  }
  // Neighbours are drawn over each other's outlines; these two are drawn over all.
  const pathOf = (region) => picture.regions[region - 1]?.path ?? "";
  const focused = svg("path", { class: "focused" });
  layer.append(svg("path", { class: "chosen", d: state.chosen?.number === number ? pathOf(state.chosen.region) : "" }), focused);
  layer.addEventListener("focusin", ({ target }) => focused.setAttribute("d", target.matches(":focus-visible") ? pathOf(target.dataset.region) : ""));
  layer.addEventListener("focusout", () => focused.setAttribute("d", ""));
  const size = Math.max(width, height) / (number ? 13 : 20);
  for (const { region, x, y } of picture.regions) {
    const pinned = !number && view.matches.some((match) => match.region === region && match.pinned);
    if (pinned) layer.append(svg("circle", { cx: x, cy: y, r: 0.85 * size, class: "pin", stroke: colourOf(view, number, region) }));
    layer.append(svg("text", { x, y, class: "number", "font-size": size, "stroke-width": size / 5 }, `${region}`));
  }
  if (brushing) brush(layer, view, state, number, act);
  return layer;
};

const brush = (layer, view, state, number, act) => {
  const { width, height } = view.pictures[number];
  const longest = Math.max(width, height);
  const strokes = (state.strokes[number] ??= []);
  const paint = svg("g", { class: "strokes" });
  const ring = svg("circle", { class: "ring", r: state.radius * longest, cx: width / 2, cy: height / 2 });
  const redraw = () =>
    paint.replaceChildren(...strokes.map(({ radius, points }) =>
      svg("polyline", {
        points: [...points, points.at(-1)].map(([x, y]) => `${x * width},${y * height}`).join(" "), "stroke-width": 2 * radius * longest,
      })));
  const place = (event) => {
    const box = layer.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((part) => Math.min(1, Math.max(0, part)));
  };
  const move = ([x, y]) => { ring.setAttribute("cx", x * width); ring.setAttribute("cy", y * height); };
  let at = [0.5, 0.5], painting = false;
  const dab = () => { strokes.push({ radius: state.radius, points: [at] }); redraw(); act.brushed(); };
  const surface = svg("rect", {
    width, height, class: "surface", tabindex: 0, role: "application", "data-name": `brush-${number}`,
    "aria-label": "brush: arrow keys move it, space paints, enter is done, escape clears",
    onpointerdown: (event) => {
      if (event.button) return; // of a mouse, the first one paints
      event.preventDefault(); surface.setPointerCapture(event.pointerId); at = place(event); painting = true; dab();
    },
    onpointermove: (event) => {
      at = place(event); move(at);
      if (painting) { strokes.at(-1).points.push(at); redraw(); }
    },
    onpointerup: () => { painting = false; },
    onpointercancel: () => { painting = false; },
    onkeydown: (event) => {
      const step = { ArrowLeft: [-0.03, 0], ArrowRight: [0.03, 0], ArrowUp: [0, -0.03], ArrowDown: [0, 0.03] }[event.key];
      if (step) { at = at.map((part, axis) => Math.min(1, Math.max(0, part + step[axis]))); move(at); }
      if (event.key === " ") dab();
      if (event.key === "Enter") act.apply(number);
      if (event.key === "Escape") { strokes.length = 0; redraw(); }
      if (step || [" ", "Enter", "Escape"].includes(event.key)) event.preventDefault();
    },
  });
  redraw();
  layer.append(paint, ring, surface);
};

// Lines between regions that are matched, over all pictures of the wall.
const drawLines = (stage, lines, view, shown) => {
  lines.replaceChildren();
  if (!shown) return;
  const frame = stage.getBoundingClientRect();
  lines.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
  const middle = (number, region) => {
    const layer = stage.querySelector(`[data-layer="${number}"] svg`);
    const { width, height, regions } = view.pictures[number];
    const box = layer.getBoundingClientRect(), { x, y } = regions[region - 1];
    return [box.left - frame.left + (x / width) * box.width, box.top - frame.top + (y / height) * box.height];
  };
  for (const { region, reference, target, pinned } of view.matches) {
    const [a, b] = middle(0, region), [c, d] = middle(reference, target);
    const across = Math.abs(c - a) > Math.abs(d - b);
    const short = across ? [Math.sign(c - a) * 17, 0] : [0, Math.sign(d - b) * 17]; // the numbers stay legible
    const from = [a + short[0], b + short[1]], to = [c - short[0], d - short[1]];
    const bend = across ? `${(a + c) / 2} ${b} ${(a + c) / 2} ${d}` : `${a} ${(b + d) / 2} ${c} ${(b + d) / 2}`;
    for (const kind of ["halo", "line"])
      lines.append(svg("path", { d: `M${from.join(" ")}C${bend} ${to.join(" ")}`, class: `${kind} ${pinned ? "pinned" : ""}`, stroke: kind === "line" ? view.colours[region - 1] : undefined }));
  }
};
