"""The page as LaTeX: one float per handful of columns, for a document that loads booktabs and graphicx."""

import pandas as pd

from evaluation.table_page import Page, Section

COLUMNS, ROWS = 4, 34  # of a float, so that it fits on a page beside its caption
CHARACTERS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "^": r"\^{}", "~": r"\~{}", "_": r"\_", "%": r"\%",
    "&": r"\&", "#": r"\#", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "λ": r"$\lambda$", "−": "$-$",
    "±": r"$\pm$", "×": r"$\times$", "§": r"\S{}", "…": r"\dots{}", "°": r"$^\circ$", "·": r"$\cdot$",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip
COMMANDS = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}
LEGEND = (
    "Means with 95 % intervals over contents; the arrow points to the better side, the best method is bold, the second "
    "underlined, calibration and reported rows are not ranked."
)


def latex(page: Page) -> str:
    """Every section in as many floats as it needs, narrowed to the width of a line; the notes follow as comments."""
    head = ["% \\usepackage{booktabs,graphicx}", *(f"% {note.replace('**', '')}" for note in page.notes)]
    return "\n".join(head) + "\n" + "".join(table for section in page.sections for table in floats(section, page))


def floats(section: Section, page: Page) -> list[str]:
    cells, size = section.cells, section.cells.shape
    corners = [(row, column) for column in range(0, size[1], COLUMNS) for row in range(0, size[0], ROWS)]
    return [
        one_float(section, cells.iloc[row : row + ROWS, column : column + COLUMNS], place, len(corners), page)
        for place, (row, column) in enumerate(corners, 1)
    ]


def one_float(section: Section, cells: pd.DataFrame, place: int, count: int, page: Page) -> str:
    """One float. Its caption names benchmark and model; items, mixtures and reasons stand below."""
    part = f" ({place} of {count})" if count > 1 else ""
    caption = " ".join([f"{section.title}{part}.", page.above[0], LEGEND])
    used = {text.removeprefix("– ") for text in cells.to_numpy().ravel() if text.startswith("– [")}
    below = [*page.above[1:], *(note for note in page.notes if note.partition(" ")[0] in used)]
    cells = cells[(cells != "").any(axis=1)]  # reported rows have gaps
    rows = [
        " & ".join([escape(str(label)), *(marked(section, str(label), column, cells) for column in cells.columns)])
        for label in cells.index
    ]
    lines = [
        r"\begin{table}[tp]", r"\centering\footnotesize", rf"\caption{{{escape(caption)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(cells.columns)}}}", r"\toprule",
        " & ".join(["", *(heading(str(column)) for column in cells.columns)]) + r" \\", r"\midrule",
        *(f"{row} \\\\" for row in rows), r"\bottomrule", r"\end{tabular}}",
        *(rf"\par {escape(note)}" for note in below), r"\end{table}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def marked(section: Section, label: str, column: str, cells: pd.DataFrame) -> str:
    return COMMANDS[section.marks.loc[label, column]] % escape(cells.loc[label, column])


def heading(column: str) -> str:
    r"""`\shortstack{lpips\_alex v1 $\downarrow$\\(N=30)}`."""
    name, count = column.split(" (N=")[0], column.partition(" (N=")[2]
    return rf"\shortstack{{{escape(name)}\\(N={escape(count)}}}" if count else escape(name)


def escape(text: str) -> str:
    return "".join(CHARACTERS.get(character, character) for character in text)
