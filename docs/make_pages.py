"""Writes what docs/ says of settings and metrics, from conf/ and from the classes that it names.

    python docs/make_pages.py

docs/settings.md is made whole. docs/metrics.md is written by hand but for its table. `tests/test_pages.py` holds both
to what this script makes. What a setting means is the comment beside it in conf/: `meaning | unit | source`, where unit
and source may be left out and the comment may go on in lines of its own below. What it may be is the type of the
parameter that takes it (stylegallery/settings.py).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import TypeAdapter

from evaluation.registry import METRICS, build_metrics
from stylegallery.overrides import CONFIGS
from stylegallery.settings import STRICT, located, names_weights, parameters_of
from stylegallery.weights import table

DOCS = Path(__file__).parent
START, END = "<!-- the table is written by python docs/make_pages.py; edits are lost -->", "<!-- end of the table -->"
SETTINGS_INTRO = """\
<!-- written by python docs/make_pages.py from conf/; edits are lost -->

# Settings

Every setting is written `NAME=VALUE` behind `python run.py`, in any order. Its default stands in a file of
[`conf/`](../conf). **Source** says where that is from: the paper, the published code, or a baseline's own paper or
code. Where it is empty the default is this project's. What is in **allowed** is checked before anything is loaded.

A group is chosen by `GROUP=OPTION`, as in `model=sd15`. The option brings the settings that are listed under it, and
each of them can be given too. Where a value depends on the model, [What presets change](#what-presets-change) has it.

`python docs/make_pages.py` writes this page. Metrics have settings of their own: [metrics.md](metrics.md).
"""


class Setting(NamedTuple):
    """One line of conf/: the name as it is passed, the value as it is written, the type that it is held to."""

    name: str
    value: str
    meaning: str
    unit: str
    source: str
    kind: Any = None

    def row(self, kinds: dict[str, Any]) -> str:
        kind = kinds.get(self.name, self.kind)
        cells = (f"`{self.name}`", f"`{self.value}`" if self.value else "", allowed(kind), self.unit, self.meaning)
        return f"| {' | '.join(cells)} | {self.source} |"


# --- reading conf/ ---


def header(path: Path) -> str:
    """The first sentence of the comment at the head of a file."""
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("# @package"))
    text = " ".join(line.removeprefix("#").strip() for line in head(lines))
    return re.split(r"(?<=[.])\s+(?=[A-Z])", text)[0]


def head(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("#"):
            return
        yield line


def read(path: Path) -> tuple[list[Setting], list[str]]:
    """The settings of a file, and the settings of the run that it takes over as they are."""
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, yaml.SafeLoader)
    prefix = "" if text.startswith("# @package _global_") or path.parent == CONFIGS else f"{path.parent.name}."
    prefix = {"condition.": "method.condition.", "stylegallery.": "method."}.get(prefix, prefix)
    found = list(in_mapping(root, prefix, text)) if root else []
    taken = [setting for setting in found if re.fullmatch(r"\$\{[\w.]+\}", setting.value)]
    own = [setting for setting in found if setting not in taken]
    return own, sorted({setting.value[2:-1] for setting in taken} - {setting.name for setting in own})


def in_mapping(node: yaml.MappingNode, prefix: str, text: str) -> Iterator[Setting]:
    values = {key.value: value for key, value in node.value}
    target = values["_target_"].value if "_target_" in values else ""
    accepted = parameters_of(located(target, prefix)) if target else {}
    for key, value in node.value:
        if key.value.startswith("_") or key.value in ("defaults", "hydra", "experiment"):
            continue
        inner = isinstance(value, yaml.MappingNode) and bool(value.value)
        words = comment(text, key, value)
        if not inner or words[0]:
            written = "" if inner else text[value.start_mark.index : value.end_mark.index]
            if isinstance(value, yaml.ScalarNode) and value.style == ">":
                written = value.value
            yield Setting(prefix + key.value, written, *words, None if inner else accepted.get(key.value))
        if inner:
            yield from in_mapping(value, f"{prefix}{key.value}.", text)


def comment(text: str, key: yaml.Node, value: yaml.Node) -> tuple[str, str, str]:
    """Meaning, unit and source of a setting, from its line and the comment lines below."""
    lines, number = text.splitlines(), key.start_mark.line
    one_line = value.end_mark.line == number
    rest = lines[number][value.end_mark.column if one_line else key.end_mark.column :]
    words = [rest.partition("# ")[2]]
    for line in lines[number + 1 :]:
        if not line.lstrip().startswith("#"):
            break
        words.append(line.strip().lstrip("# "))
    parts = [part.strip() for part in " ".join(words).split("|")]
    meaning, unit, source = (*parts, "", "")[:3]
    return meaning, unit, source


def bases(path: Path) -> list[str]:
    """The options of the same group that a file begins with."""
    found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return [name for name in found.get("defaults", ()) if isinstance(name, str) and name != "_self_"]


def options(group: str) -> list[Path]:
    """The files of a group: its default first, then by name."""
    defaults = yaml.safe_load((CONFIGS / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    first = next((entry[group] for entry in defaults if isinstance(entry, dict) and group in entry), "")
    return sorted((CONFIGS / group).glob("*.yaml"), key=lambda path: (path.stem != first, path.stem))


# --- what a setting may be ---


def allowed(kind: Any) -> str:
    """A type in words."""
    if kind is None or kind is Any:
        return ""
    if names_weights(kind):
        return "file, folder or name"
    return in_words(TypeAdapter(kind, config=STRICT).json_schema())


def in_words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(in_words(one) for one in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind in ("integer", "number"):
        word = "whole number" if kind == "integer" else "number"
        low, above, high = (schema.get(name) for name in ("minimum", "exclusiveMinimum", "maximum"))
        start = f" above {above:,.10g}" if above is not None else f" from {low:,.10g}" if low is not None else ""
        return word + start + (f" to {high:,.10g}" if high is not None else "")
    if kind == "array":
        if "prefixItems" in schema:
            return f"list of {len(schema['prefixItems'])}: {in_words(schema['prefixItems'][0])}"
        return f"list: {in_words(schema['items'])}" if schema.get("items") else "list"
    names = {"boolean": "`true` or `false`", "string": "text", "null": "`null`", "object": "mapping"}
    return names.get(str(kind), "")


# --- docs/settings.md ---


def settings_page() -> str:
    kinds = kinds_of_the_run()
    parts = [SETTINGS_INTRO, "## Groups", groups_table(), "## Every run", block(CONFIGS / "config.yaml", kinds)]
    for group in ("data", "model", "encoder", "depth", "segmenter", "method", "condition", "launcher", "tracker"):
        parts.append(f"## {group}")
        parts += [block(path, kinds, f"{group}={path.stem}") for path in options(group) if path.stem != "none"]
    parts += ["## What presets change", *presets()]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def kinds_of_the_run() -> dict[str, Any]:
    """Types of the settings that methods and data take over from the run, by the parameters that take them."""
    kinds: dict[str, Any] = {}
    for path in CONFIGS.glob("*/*.yaml"):
        if path.parent.name in ("experiment", "metric", "preset"):
            continue
        text = path.read_text(encoding="utf-8")
        for setting in in_mapping(yaml.compose(text, yaml.SafeLoader) or yaml.MappingNode("", []), "", text):
            taken = setting.value[2:-1] if re.fullmatch(r"\$\{[\w.]+\}", setting.value) else ""
            if taken and taken not in ("model", "encoder", "depth", "segmenter") and setting.kind is not None:
                kinds[taken] = setting.kind
    return kinds


def groups_table() -> str:
    rows = ["| option | what it is |", "|---|---|"]
    entries = yaml.safe_load((CONFIGS / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    for group in (key for entry in entries if isinstance(entry, dict) for key in entry if " " not in key):
        for number, path in enumerate(options(group)):
            default = " (default)" if number == 0 else ""
            rows.append(f"| `{group}={path.stem}`{default} | {header(path)} |")
    return "\n".join(rows)


def block(path: Path, kinds: dict[str, Any], title: str = "") -> str:
    own, taken = read(path)
    file = path.relative_to(CONFIGS.parent).as_posix()
    lines = [f"### {title}", f"{header(path)} [`{file}`](../{file})"] if title else []
    if base := bases(path):
        changed = ", ".join(f"`{setting.name}={setting.value}`" for setting in own)
        lines.append(f"As `{path.parent.name}={base[0]}`" + (f" with {changed}." if changed else "."))
    elif own:
        lines.append("\n".join([
            "| setting | default | allowed | unit | meaning | source |", "|---|---|---|---|---|---|",
            *(setting.row(kinds) for setting in own),
        ]))  # fmt: skip
    if taken and not base:
        lines.append("Taken from the run: " + ", ".join(f"`{name}`" for name in taken) + ".")
    return "\n\n".join(lines)


def presets() -> Iterator[str]:
    """What is otherwise with a model, or with preset=fast."""
    for path in sorted((CONFIGS / "preset").rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, yaml.SafeLoader)
        if root is None:
            continue
        method = path.parent.name
        title = f"`preset={path.stem}`" if method == "preset" else f"`method={method}` with `model={path.stem}`"
        rows = [f"| `{one.name}` | `{one.value}` | {one.meaning} |" for one in in_mapping(root, "method.", text)]
        yield "\n".join([f"{title}: {header(path)}", "", "| setting | value | why |", "|---|---|---|", *rows])


# --- the table of docs/metrics.md ---


def metrics_table() -> str:
    """Every metric of conf/metric, as its class says it."""
    needs = [(metric, entry.name) for entry in table().values() for metric in entry.needed_by]
    items, sets = build_metrics()
    rows = ["| metric | kind | better | bounds | of | version | download |", "|---|---|---|---|---|---|---|"]
    for metric in sorted([*items, *sets], key=lambda one: (KINDS.index(one.kind), one.name)):
        low, high = (f"{bound:g}".replace("inf", "∞") for bound in metric.bounds)
        arrow = {"up": "higher", "down": "lower"}[metric.direction]
        of = "a set" if metric in sets else "an item"
        base = re.sub(r"_(mean|independent)$", "", metric.name)
        found = dict.fromkeys(name for key, name in needs if key in (metric.name, base))
        rows.append(
            f"| `{metric.name}` | {metric.kind} | {arrow} | {low} to {high} | {of} | {metric.version} "
            f"| {', '.join(found) or 'none'} |"
        )
    assert len(rows) == 2 + len(list(METRICS.glob("*.yaml")))
    return "\n".join(rows)


KINDS = ("structure", "style", "regional", "set")


def metrics_page(written: str) -> str:
    """The page with the table of now."""
    before, _, rest = written.partition(START)
    return f"{before}{START}\n\n{metrics_table()}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
    page = DOCS / "metrics.md"
    page.write_text(metrics_page(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
