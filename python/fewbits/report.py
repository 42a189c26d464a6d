"""A run of `fewbits train`, or the figures of `make figures`, as one HTML file with tables and pictures: `fewbits report FOLDER`.

The file needs nothing else, neither scripts nor the network, and can be mailed. Where FOLDER has a frontier.json
(`fewbits measure --frontier --json`), its rates and errors are shown too.
"""

import argparse
import base64
import html
import io
import json
import os
import pathlib
import sys
import typing

import matplotlib
from matplotlib.figure import Figure

import fewbits
from fewbits import frontier, plot

__all__ = ["write"]

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p.facts, figcaption, td small, footer { color: #555; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; text-align: right; vertical-align: top; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #888; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; } td:first-child { min-width: 15rem; } td small { display: block; overflow-wrap: anywhere; }
table.settings td { text-align: left; }

figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
@media print { body { max-width: none; margin: 0; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
"""


def write(folder: str | os.PathLike[str], path: str | os.PathLike[str] | None = None) -> pathlib.Path:
    """Writes the report of a folder that `fewbits train --out` or `make figures` wrote; returns its path, by default
    FOLDER/report.html.

    Raises ValueError for a folder without results.
    """
    folder = pathlib.Path(folder)
    target = pathlib.Path(path) if path is not None else folder / "report.html"
    title, parts, source = _figures(folder) if (folder / "figures.json").is_file() else _run(folder)
    footer = f"<footer><p>fewbits {_text(source)}</p></footer>"
    body = "\n".join(parts)
    text = (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{_text(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n{footer}\n</body></html>\n")
    # Whole or not at all.
    partial = target.with_name(target.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)
    return target


def _run(folder: pathlib.Path) -> tuple[str, list[str], str]:
    """Title, parts of the page, and what they are of."""
    curves, summary = plot.read_run(folder)
    with open(folder / "results.jsonl", encoding="utf-8") as results:
        run = json.loads(results.readline())
    title = f"fewbits: {plot.title(summary)}"
    metric = plot.metric_of(summary)[0]
    parts = [f"<h1>{_text(title)}</h1>", f'<p class="facts">{_text(_facts(summary, run))}</p>',
             "<h2>What each plan needed</h2>", _plans(summary),
             _picture(plot.draw(curves, summary, "megabytes"), f"Test {metric} against the bytes that all clients together have uploaded; frames are counted whole."),
             _picture(plot.draw(curves, summary, "rounds"), "The same against rounds: what compression costs in progress a round.")]
    if plot.has_hours(curves):
        parts.append(_picture(plot.draw(curves, summary, "hours"), "The same against the hours that the simulated network takes: rounds wait for the slowest client that is in time."))
    if any("personal" in entry for entry in summary.get("plans", [])):
        parts += ["<h2>Personal models</h2>", _picture(plot.personal(summary), "Scores on examples that clients hold out, over clients: of the released model, and of the client's own.")]
    measured = folder / "frontier.json"
    if measured.is_file():
        parts += ["<h2>Rate and error</h2>", *_frontier(measured)]
    if run.get("settings"):
        parts += ["<h2>Settings</h2>", _table([], [[name, _value(value)] for name, value in run["settings"].items()], kind="settings")]
    return title, parts, f"{run.get('version', fewbits.__version__)}, from {folder.resolve().name}/results.jsonl and summary.json."


def _figures(folder: pathlib.Path) -> tuple[str, list[str], str]:
    title = "fewbits: figures"
    parts = [f"<h1>{_text(title)}</h1>"]
    for entry in json.loads((folder / "figures.json").read_text(encoding="utf-8")):
        parts += [f"<h2>{_text(entry['title'])}</h2>", f"<p>{_text(entry['question'])}</p>", f"<p><b>Reported.</b> {_text(entry['reported'])}</p>",
                  f"<p><b>Here.</b> {_text(entry['settings'])}</p>"]
        for table in entry["tables"]:
            parts += [f"<p class='facts'>{_text(table['title'])}</p>", _table(table["heads"], [[_text(cell) for cell in row] for row in table["rows"]])]
        parts += [_embedded((folder / picture["file"]).read_bytes(), picture["caption"]) for picture in entry["pictures"]]
        parts.append(f"<p><b>Where it differs.</b> {_text(entry['differs'])}</p>")
    return title, parts, f"{fewbits.__version__}, from {folder.resolve().name}/figures.json."


def _text(value: typing.Any) -> str:
    return html.escape(str(value))


def _breakable(plan: str) -> str:
    return _text(plan).replace("+", "+<wbr>").replace(",", ",<wbr>")


def _value(value: typing.Any) -> str:
    if isinstance(value, list):
        return "<br>".join(map(_value, value))
    return "not given" if value is None or value == "" else _text(value)


def _facts(summary: plot.Json, run: plot.Json) -> str:
    seeds = summary.get("seeds", [summary.get("seed")])
    facts = [f"{summary['parameters']:,} parameters"] if "parameters" in summary else []
    facts += [f"{summary['rounds']} rounds"] if "rounds" in summary else []
    facts += [f"partition {summary['partition']}"] if "partition" in summary else []
    facts.append(f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}")
    target = plot.mean_of(summary.get("target_score"))
    if target is not None:
        facts.append(f"target {plot.metric_of(summary)[0]} {_score_text(summary)(target)}")
    return "; ".join(facts)


def _spread(value: typing.Any, write: typing.Callable[[float], str]) -> str:
    if value is None:
        return "–"
    if not isinstance(value, dict):
        return write(value)
    if value["min"] == value["max"]:
        return write(value["mean"])
    return f"{write(value['mean'])}<small>{write(value['min'])}–{write(value['max'])}</small>"


def _fewer(entry: plot.Json) -> str:
    several = entry.get("fewer_bytes_than_first")
    factor = several["median"] if several else entry.get("bytes_ratio_to_float32") and 1 / entry["bytes_ratio_to_float32"]
    return f"{plot.significant(factor)}×" if factor else "–"


def _score_text(summary: plot.Json) -> typing.Callable[[float], str]:
    return (lambda value: f"{100 * value:.2f}") if plot.metric_of(summary)[0] == "accuracy" else (lambda value: f"{value:.5g}")


def _plans(summary: plot.Json) -> str:
    metric = plot.metric_of(summary)[0]
    score = _score_text(summary)
    unit = "%" if metric == "accuracy" else metric
    rows = []
    for entry in summary.get("plans", []):
        label = entry.get("label") or entry["plan"]
        canonical = entry.get("canonical", "")
        rows.append([_text(label) + (f"<small>{_breakable(canonical)}</small>" if canonical and canonical != label else ""),
                     _spread(entry.get("best_score"), score), _spread(entry.get("final_score"), score),
                     _spread(entry.get("rounds_to_target"), lambda value: f"{value:.3g}"),
                     _spread(entry.get("upload_bytes_to_target"), lambda value: plot.significant(value / 1e6)),
                     _fewer(entry), _spread(entry.get("bits_per_coordinate"), plot.significant),
                     _spread(entry.get("codec_time_share"), lambda value: f"{100 * value:.1f}")])
    if any(plot.mean_of(entry.get("simulated_seconds")) for entry in summary.get("plans", [])):
        for row, entry in zip(rows, summary["plans"]):
            row += [_spread(entry.get("simulated_seconds_to_target"), lambda value: plot.significant(value / 3600)),
                    f"{100 * plot.mean_of(entry['wasted_bytes']) / max(plot.mean_of(entry['upload_bytes']), 1):.1f}"]
        extra = ["hours to target", "wasted %"]
    else:
        extra = []
    heads = ["plan", f"best {unit}", f"final {unit}", "rounds to target", "MB to target", "fewer bytes", "bits a coordinate", "codec time %"]
    return _table(heads + extra, rows) + ("<p class='facts'>Scores are means of the last five evaluations; MB are uploads of all clients together, to the target; "
                                  "codec time is the share of a client's training and encoding, and of decoding, that fewbits takes.</p>")


def _frontier(path: pathlib.Path) -> list[str]:
    try:
        data, families = frontier.read(path)
        measured = [plan for plan in data["plans"] if plan["nmse"]]
        rows = [[_text(plan["plan"]), plot.significant(plan["bits_per_coordinate"]), plot.significant(plan["nmse"]),
                 plot.significant(plan["limit_ratio"]) if plan["limit_ratio"] else "–", _text(plan["promise"])]
                for plan in sorted(measured, key=lambda plan: plan["bits_per_coordinate"])]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not what `fewbits measure --frontier --json` prints: {error}") from error
    picture = _picture(frontier.draw(data, families, None), "Errors of plans over the least that an unbiased code of a Gaussian can have at their rate.")
    return [picture, _table(["plan", "bits a coordinate", "NMSE", "× least of an unbiased code", "unbiased"], rows)]


def _table(heads: list[str], rows: list[list[str]], kind: str = "") -> str:
    head = f"<thead><tr>{''.join(f'<th>{_text(name)}</th>' for name in heads)}</tr></thead>" if heads else ""
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table class="{kind}">{head}<tbody>\n{body}\n</tbody></table></div>'


def _picture(figure: Figure, caption: str) -> str:
    data = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "fewbits"}):   # the same run, the same file
        figure.savefig(data, format="svg", metadata={"Date": None})
    return _embedded(data.getvalue(), caption)


def _embedded(svg: bytes, caption: str) -> str:
    source = base64.b64encode(svg).decode()
    return f'<figure><img alt="{_text(caption)}" src="data:image/svg+xml;base64,{source}"><figcaption>{_text(caption)}</figcaption></figure>'


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="fewbits report", description="A run of `fewbits train` as one HTML file with tables and pictures.",
                                     epilog="Example: fewbits report out/demo")
    parser.add_argument("folder", type=pathlib.Path, help="the folder that `fewbits train --out` wrote")
    parser.add_argument("--out", type=pathlib.Path, help="the file [FOLDER/report.html]")
    options = parser.parse_args(arguments)
    try:
        print(write(options.folder, options.out))
    except (ValueError, OSError) as error:
        sys.exit(f"fewbits: {error}")
    except (KeyError, TypeError, AttributeError) as error:
        sys.exit(f"fewbits: {options.folder}: not what `fewbits train` writes: {error!r}")


if __name__ == "__main__":
    main()
