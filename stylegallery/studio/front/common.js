// What the parts of the page share. Text from outside reaches the page as text alone, never as markup.
const studio = (window.studio ??= { pictures: new Map(), waiting: [] });

const make = (space) => (tag, attributes = {}, ...children) => {
  const node = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden") node[name] = value;
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
};
const el = make(null);
const svg = make("http://www.w3.org/2000/svg");
const percent = (share) => (share < 0.01 ? "under 1 %" : `${Math.round(100 * share)} %`);
const seconds = (left) => {
  if (left === null || left === undefined) return "";
  return left < 90 ? `about ${Math.max(1, Math.round(left))} s left` : `about ${Math.round(left / 60)} min left`;
};

// Put new content into a place, and the focus back to where it was, by the name that its element has.
const refill = (place, ...content) => {
  const name = document.activeElement?.dataset?.name;
  const open = new Set([...place.querySelectorAll("details[open]")].map((node) => node.dataset.name));
  place.replaceChildren(...content.flat(9).filter(Boolean));
  for (const node of place.querySelectorAll("details")) if (open.has(node.dataset.name)) node.open = true;
  if (name) place.querySelector(`[data-name="${CSS.escape(name)}"]`)?.focus({ preventScroll: true });
};

const read = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve({ name: file.name, data: reader.result.slice(reader.result.indexOf(",") + 1) });
    reader.onerror = reject;
    reader.readAsDataURL(file);
  });

// A button that lets a visitor choose files; `send` gets them once they are read.
const chooser = (text, name, accept, several, send, limit) => {
  const input = el("input", {
    type: "file", accept, multiple: several, class: "unseen", "data-name": name, "aria-label": text,
    onchange: async () => {
      const files = [...input.files];
      const large = files.find((file) => file.size > limit);
      if (large) return studio.say?.("error", `${large.name} has more than ${limit / 2 ** 20} MiB; make it smaller`);
      const content = await Promise.all(files.map(read));
      input.value = "";
      if (content.length) send(content);
    },
  });
  return el("label", { class: "button" }, text, input);
};

const download = ({ name, address }) => {
  const link = el("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
};

// Pictures come once, apart from what is said of them; files to take home come as they are asked for.
const shelf = (props, watch) => {
  const put = () => {
    for (const [key, address] of Object.entries(props.value ?? {})) studio.pictures.set(key, address);
    studio.render?.();
    studio.repaint?.();
  };
  watch("value", put);
  put();
};
const purse = (props, watch) => watch("value", () => props.value && download(props.value));
