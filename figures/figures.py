"""The literature's headline figures, and fewbits's own, from real runs: pictures, JSON and docs/results.md.

    python figures/figures.py PROGRAM            all of them; says first how long they take
    python figures/figures.py PROGRAM links text only these
    python figures/figures.py --list

Runs are kept in out/figures/NAME/RUN: what is there with the same settings is not run again, and what was interrupted goes on.
"""

import argparse
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys
import time
import typing

import catalogue
from entry import Figure, Picture, Run

ROOT = pathlib.Path(__file__).resolve().parents[1]


@dataclasses.dataclass
class Done:
    """A run that is complete: its summary, and where its results are."""

    run: Run
    folder: pathlib.Path
    summary: dict[str, typing.Any]


def flags_of(run: Run) -> list[str]:
    flags = []
    for name, value in run.settings.items():
        for one in value if isinstance(value, list) else [value]:
            flags += [f"--{name.replace('_', '-')}", str(one)]
    return flags


def train(program: pathlib.Path, run: Run, out: pathlib.Path, settings: list[str]) -> Done:
    """The run in `out`, from there where it was done before."""
    stamp = out / "flags.json"
    flags = flags_of(run) + settings
    same = stamp.is_file() and json.loads(stamp.read_text()) == flags
    if not (same and (out / "summary.json").is_file()):
        go_on = same and (out / "results.jsonl").is_file()
        if not go_on:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            stamp.write_text(json.dumps(flags))
        subprocess.run([program, "train", "--out", out, *(["--resume"] if go_on else flags)], check=True, stdout=subprocess.DEVNULL)
    return Done(run, out, json.loads((out / "summary.json").read_text()))


def make(figure: Figure, program: pathlib.Path, out: pathlib.Path, quick: bool) -> dict[str, typing.Any]:
    """Runs, tables and pictures of one figure, as figures.json has them."""
    start = time.monotonic()
    done: dict[str, Done] = {}
    for run in figure.runs:
        print(f"{figure.name}: {run.name}", file=sys.stderr, flush=True)
        folder = out / figure.name / run.name
        settings = [flag.format_map({name: one.folder for name, one in done.items()} | {"own": folder}) for flag in run.after]
        done[run.name] = train(program, run if not quick else run.quick(), folder, settings)
    pictures = []
    for name, picture, caption in figure.draw(done):
        assert isinstance(picture, Picture)
        for ending in ("svg", "png"):
            picture.savefig(out / figure.name / f"{name}.{ending}", dpi=110)
        pictures.append({"file": f"{figure.name}/{name}.svg", "caption": caption})
    return {"name": figure.name, "title": figure.title, "question": figure.question, "reported": figure.reported,
            "settings": figure.settings, "tables": figure.tables(done), "differs": figure.differs, "pictures": pictures,
            "flags": {name: flags_of(one.run) for name, one in done.items()}, "seconds": round(time.monotonic() - start)}


def markdown_table(heads: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def section(entry: dict[str, typing.Any], images: str) -> str:
    parts = [f"## {entry['title']}", entry["question"], f"**Reported.** {entry['reported']}", f"**Here.** {entry['settings']}"]
    parts += [(f"{table['title']}\n\n" if table["title"] else "") + markdown_table(table["heads"], table["rows"]) for table in entry["tables"]]
    parts += [f"![{picture['caption']}]({images}/{pathlib.Path(picture['file']).stem}.png)" for picture in entry["pictures"]]
    parts += [f"**Where it differs.** {entry['differs']}", f"`make figures FIGURE={entry['name']}`"]
    return "\n\n".join(parts)


INTRODUCTION = """# Results

The literature's headline figures with fewbits, on data that Debian has, and fewbits's own plans on the same axes. All numbers below are
measured, by `make figures`, which writes this page; bytes are lengths of real frames. An accuracy is the mean of the last five evaluations;
a target is 98 % of the best that float32 reaches in the same run, if nothing else is said. Papers' numbers that were not read in the paper or a
public copy are marked *from memory*."""


def write_results(entries: dict[str, dict[str, typing.Any]], out: pathlib.Path, docs: pathlib.Path) -> None:
    """Sections of figures that are not among the entries stay as they are."""
    images, page = docs / "images" / "results", docs / "results.md"
    images.mkdir(parents=True, exist_ok=True)
    sections = sections_of(page.read_text()) if page.is_file() else {}
    for entry in entries.values():
        for picture in entry["pictures"]:
            png = (out / picture["file"]).with_suffix(".png")
            shutil.copy(png, images / png.name)
        sections[entry["title"]] = section(entry, "images/results")
    titles = [figure.title for figure in catalogue.FIGURES if figure.title in sections]
    links = "\n".join(f"- [{title}](#{anchor(title)})" for title in titles)
    body = "\n\n".join(sections[title] for title in titles)
    page.write_text(f"{INTRODUCTION}\n\n{links}\n\n{body}\n")


def sections_of(page: str) -> dict[str, str]:
    """By title."""
    parts = ["## " + part.rstrip() for part in page.split("\n## ")[1:]]
    return {part.partition("\n")[0].removeprefix("## "): part for part in parts}


def anchor(title: str) -> str:
    """As GitHub makes it."""
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path, nargs="?", help="the fewbits program")
    parser.add_argument("figures", nargs="*", help="which of them; all where none is named")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/figures"))
    parser.add_argument("--docs", type=pathlib.Path, help="folder of results.md and its pictures: the sections of figures that have been made are written anew")
    parser.add_argument("--quick", action="store_true", help="few rounds of everything: shows that it works, not what comes of it")
    parser.add_argument("--list", action="store_true", help="names, titles and minutes")
    options = parser.parse_args()
    if options.list:
        for figure in catalogue.FIGURES:
            print(f"{figure.name:16} {figure.minutes:3} min  {figure.title}")
        return
    if options.program is None:
        parser.error("name the program, as build/release/fewbits")
    known = {figure.name: figure for figure in catalogue.FIGURES}
    unknown = [name for name in options.figures if name not in known]
    if unknown:
        parser.error(f"there is no figure {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [known[name] for name in options.figures] or catalogue.FIGURES
    if not options.quick:
        print(f"{len(chosen)} figures: about {sum(figure.minutes for figure in chosen)} minutes on two cores, less where runs are there", file=sys.stderr)
    record = options.out / "figures.json"
    entries = {entry["name"]: entry for entry in json.loads(record.read_text())} if record.is_file() else {}
    for figure in chosen:
        entries[figure.name] = make(figure, options.program.resolve(), options.out, options.quick)
        ordered = [entries[name] for name in known if name in entries]
        record.write_text(json.dumps(ordered, indent=1))
    for figure in chosen:
        print(f"\n{figure.title} ({entries[figure.name]['seconds']} s)")
        for table in entries[figure.name]["tables"]:
            print(markdown_table(table["heads"], table["rows"]))
    if options.docs:
        write_results({name: entries[name] for name in known if name in entries}, options.out, options.docs)
        print(f"\n{options.docs / 'results.md'}")


if __name__ == "__main__":
    main()
