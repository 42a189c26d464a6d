"""What a figure is: its runs, what papers report, tables and pictures."""

import dataclasses
import pathlib
import typing
from collections.abc import Callable, Mapping

from matplotlib.figure import Figure as Picture

Table = dict[str, typing.Any]
Pictures = list[tuple[str, Picture, str]]   # name, picture, caption


@dataclasses.dataclass
class Run:
    """One call of `fewbits train`."""

    name: str
    settings: dict[str, typing.Any]
    after: list[str] = dataclasses.field(default_factory=list)   # more flags, with {NAME} for the folder of a run before

    def quick(self) -> "Run":
        return Run(self.name, {**self.settings, "rounds": min(3, self.settings["rounds"]), "eval_examples": 500, "epochs": 1}, self.after)


class Outcome(typing.Protocol):
    run: Run
    folder: pathlib.Path
    summary: dict[str, typing.Any]


Outcomes = Mapping[str, Outcome]


@dataclasses.dataclass
class Figure:
    name: str
    title: str
    minutes: int            # on two cores
    question: str
    reported: str
    settings: str
    differs: str
    runs: list[Run]
    tables: Callable[[Outcomes], list[Table]]
    draw: Callable[[Outcomes], Pictures]


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"
