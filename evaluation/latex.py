"""The page as LaTeX that compiles where booktabs and graphicx are loaded: chosen columns as one float, else one float
per handful of columns of a kind."""

import re

import pandas as pd

from evaluation.table_page import CALIBRATED, INTERVAL, REPORTED, Page, Section

COLUMNS, ROWS = 4, 34  # of a float, so that it fits on a page beside its caption; more columns span two of text
CHARACTERS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "^": r"\^{}", "~": r"\~{}", "_": r"\_", "%": r"\%",
    "&": r"\&", "#": r"\#", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": r"\textendash{}", "λ": r"$\lambda$",
    "±": r"$\pm$", "×": r"$\times$", "§": r"\S{}", "…": r"\dots{}", "°": r"$^\circ$", "·": r"$\cdot$",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''", "“": "``", "”": "''", "’": "'",
    "→": r"$\to$", "−": "$-$",
}  # fmt: skip
LETTERS = re.compile(r"[ -~À-ÖØ-öø-ÿ]")  # what the fonts of LaTeX have, whatever a document loads
COMMANDS = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}
COUNT = re.compile(r" \((N=[^()]*)\)$")  # at the end of a heading
SUBSCRIPT = re.compile(r"\$\\lambda\$\\_(\w)")  # of the escaped λ_c, the paper's content weight
FOLDER = re.compile(r"(?<![\w.:/~])/(?:[^\s/]+/)+")  # an absolute one is nothing for a paper: names of files stay
MINUS = re.compile(r"(?<![\w-])-(?=\d)")


def latex(page: Page, name: str = "") -> str:
    """Every section in as many floats as it needs, narrowed to the width of a line; the notes follow as comments.

    name: of the run, with which the labels of the floats begin, so that tables of two runs fit into one paper.
    """
    comments = [r"\usepackage{booktabs,graphicx} % in the head of the document", *map(escape, page.notes)]
    tables = [table for section in page.sections for table in floats(section, page, name)]
    return "".join(f"% {line.replace('**', '')}\n" for line in comments) + "".join(tables)


def floats(section: Section, page: Page, name: str) -> list[str]:
    cells, size = section.cells, section.cells.shape
    columns = size[1] if section.chosen else COLUMNS
    corners = [(row, column) for column in range(0, size[1], columns) for row in range(0, size[0], ROWS)]
    return [
        one_float(section, cells.iloc[row : row + ROWS, column : column + columns], place, len(corners), page, name)
        for place, (row, column) in enumerate(corners, 1)
    ]


def one_float(section: Section, cells: pd.DataFrame, place: int, count: int, page: Page, name: str) -> str:
    """One float. Its caption names benchmark and model; names of metrics, items, mixtures and reasons stand below."""
    cells = cells[(cells != "").any(axis=1)]  # reported rows have gaps
    counts = {found[1] if (found := COUNT.search(column)) else "" for column in cells.columns}
    shared = counts.pop() if len(counts) == 1 else ""
    part, of_items = (f" ({place} of {count})" if count > 1 else ""), f" ({shared})" if shared else ""
    caption = (
        f"{section.title}{part}. {page.above[0]} Means with 95 % intervals over contents{of_items}; the arrow points "
        "to the better side, the best method is bold, the second underlined, calibration and reported rows are not "
        "ranked."
    )
    words = re.findall("[a-z0-9]+", f"{name} {section.title}".lower())
    label = "-".join([*words, *([str(place)] if count > 1 else [])])
    used = {text.removeprefix("– ") for text in cells.to_numpy().ravel() if text.startswith("– [")}
    below = [*page.above[1:], *(note for note in page.notes if note.partition(" ")[0] in used)]
    kind = "table*" if len(cells.columns) > COLUMNS else "table"
    lines = [
        rf"\begin{{{kind}}}[tp]", r"\centering\footnotesize", rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{label}}}", r"\par\smallskip",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(cells.columns)}}}", r"\toprule",
        " & ".join(["", *(heading(str(column), not shared) for column in cells.columns)]) + r" \\",
        *rows(section, cells), r"\bottomrule", r"\end{tabular}}",
        r"\par\smallskip{\scriptsize\raggedright", *(rf"{escape(note)}\par" for note in below), "}",
        rf"\end{{{kind}}}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def rows(section: Section, cells: pd.DataFrame) -> list[str]:
    """Methods, calibration rows and reported rows, a line above each kind."""
    lines, before = [], ""
    for label in map(str, cells.index):
        kind = next((end for end in (CALIBRATED, REPORTED) if label.endswith(end)), "methods")
        lines += [r"\midrule"] if kind != before else []
        before = kind
        marked = [marked_cell(cells.loc[label, column], section.marks.loc[label, column]) for column in cells.columns]
        first = "{}" + escape(label) if label.startswith(("[", "*")) else escape(label)  # no option of the line above
        lines.append(" & ".join([first, *marked]) + r" \\")
    return lines


def marked_cell(text: str, mark: str) -> str:
    r"""`\textbf{0.3716} {\scriptsize [0.36, 0.38]}`."""
    text = MINUS.sub("−", text)
    interval = found[0] if (found := INTERVAL.search(text)) else ""
    value, _, rest = text.partition(interval) if interval else (text, "", "")
    small = rf" {{\scriptsize {escape(interval.strip() + rest)}}}" if interval else ""
    return COMMANDS[mark] % escape(value) + small


def heading(column: str, counted: bool) -> str:
    r"""`\shortstack{lpips\_alex v1 $\downarrow$\\(N=30)}`; the number of items where columns differ in it."""
    found = COUNT.search(column)
    name = escape(COUNT.sub("", column))
    return rf"\shortstack{{{name}\\({escape(found[1])})}}" if found and counted else name


def escape(text: str) -> str:
    """A text as LaTeX sets it, without absolute folders; characters that no usual font has become question marks."""
    escaped = "".join(CHARACTERS.get(one) or ("?" if lacking(one) else one) for one in FOLDER.sub("", text))
    escaped = SUBSCRIPT.sub(r"$\\lambda_\1$", escaped)
    return escaped.replace("--", "-{}-")  # no dash of an option


def lacking(text: str) -> str:
    """The characters of a text that LaTeX's usual fonts do not have."""
    return "".join(one for one in text if one not in CHARACTERS and not LETTERS.fullmatch(one))
