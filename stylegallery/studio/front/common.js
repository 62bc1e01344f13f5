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

const mebibytes = (bytes) => `${Math.ceil(bytes / 2 ** 20)} MiB`;
const read = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve({ name: file.name, data: reader.result.slice(reader.result.indexOf(",") + 1) });
    reader.onerror = () => reject(new Error(`${file.name} cannot be read; choose it again`));
    reader.readAsDataURL(file);
  });

// What of chosen or dropped files cannot be taken, in a sentence; null where all can.
const problem = (files, several, most) => {
  if (!files.length) return "That was no file: save the picture first, then choose its file.";
  if (!several && files.length > 1) return `These are ${files.length} files, and one is wanted here; choose one.`;
  const large = files.filter((file) => file.size > most.one).map((file) => `${file.name} (${mebibytes(file.size)})`);
  if (large.length) return `${large.join(", ")}: a file may have ${mebibytes(most.one)}; make it smaller. Nothing was taken.`;
  const all = files.reduce((sum, file) => sum + file.size, 0);
  if (all > most.together) return `Together these have ${mebibytes(all)}, and ${mebibytes(most.together)} may come at once; bring a part of them. Nothing was taken.`;
  return null;
};

// Read files and send them, or say why not: to `say(kind, text)`.
const deliver = async (files, several, most, send, say) => {
  const wrong = problem(files, several, most);
  if (wrong) return say("error", wrong);
  try {
    send(await Promise.all(files.map(read)));
  } catch (error) {
    say("error", error.message);
  }
};

// A button that lets a visitor choose files.
const chooser = (text, name, accept, several, most, send, say) => {
  const input = el("input", {
    type: "file", accept, multiple: several, class: "unseen", "data-name": name, "aria-label": text,
    onchange: () => {
      const files = [...input.files];
      input.value = ""; // so that the same file can be chosen again
      if (files.length) deliver(files, several, most, send, say);
    },
  });
  return el("label", { class: "button" }, text, input);
};

// Copy what stands in a node, or select it where the browser allows no more.
const copy = async (button, node) => {
  try {
    await navigator.clipboard.writeText(node.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(node);
    button.textContent = "Selected: copy it now";
  }
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
