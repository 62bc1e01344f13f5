"""Pages that hold everything they show, load nothing and open without a server: their content security policy names the
digests of their own script and style and forbids all else."""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def page_parts(folder: Path, name: str, scripts: Sequence[str], title: str) -> tuple[str, str, str]:
    """The page before its data, between data and blocks, and after them: `name`.html of a folder with `name`.css and
    `scripts`, in the order in which they run."""
    script = "\n".join((folder / f"{one}.js").read_text(encoding="utf-8") for one in scripts)
    script, style = f'"use strict";\n{script}', (folder / f"{name}.css").read_text(encoding="utf-8")
    page = (folder / f"{name}.html").read_text(encoding="utf-8")
    for part, text in (("style", style), ("script", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        page = page.replace(f"{{{{{part}_digest}}}}", f"sha256-{digest}").replace(f"{{{{{part}}}}}", text)
    head, rest = page.split("{{data}}")
    middle, tail = rest.split("{{blocks}}")
    return head.replace("{{title}}", html.escape(title)), middle, tail


def as_block(name: str, content: dict[str, Any]) -> str:
    return f'<script type="application/json" id="{name}">{embed(content)}</script>\n'


def embed(content: dict[str, Any]) -> str:
    """JSON that no file name or error can break out of: nothing in it reads as a tag."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
