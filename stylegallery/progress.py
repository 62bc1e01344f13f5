"""One progress bar per stage with the remaining time."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from stylegallery.contract import Advance


class Bars(Progress):
    """Shows every stage of a method as a bar; on a console that is no terminal nothing is animated."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description:<10}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )

    def stage(self, name: str, steps: int) -> Advance:
        task = self.add_task(name, total=steps)
        return lambda energy=None, picture=None: self.advance(task)
