"""What figures there are: their runs, what papers report, tables and pictures."""

import json
import typing

import numpy as np
from entry import Figure, Outcome, Outcomes, Picture, Pictures, Run, Table, percent
from trust import COHORTS_FIGURE, EPSILON, WORDS

from fewbits import plot

def needed(entry: dict[str, typing.Any]) -> list[str]:
    """Best score, rounds, megabytes and how many times fewer."""
    rounds, sent, ratio = entry["rounds_to_target"], entry["upload_bytes_to_target"], entry["bytes_ratio_to_float32"]
    return [percent(entry["best_score"]), "–" if rounds is None else str(rounds), "–" if sent is None else plot.significant(sent / 1e6),
            "–" if ratio is None else f"{plot.significant(1 / ratio)}×"]


def plans_table(outcome: Outcome, title: str = "") -> Table:
    summary = outcome.summary
    target = summary["target_score"]
    head = f"rounds to {100 * target:.1f} %" if target is not None else "rounds to target"
    return {"title": title, "heads": ["plan", "bits a coordinate", "best %", head, "MB up to it", "fewer bytes"],
            "rows": [[entry["label"], plot.significant(entry["bits_per_coordinate"]), *needed(entry)] for entry in summary["plans"]]}


def by_megabytes(outcome: Outcome, name: str, caption: str) -> tuple[str, Picture, str]:
    return name, plot.score(outcome.folder), caption


IMAGES = {"rounds": 120, "clients": 100, "clients_per_round": 10, "lr": 0.1, "batch": 32, "model": "mlp"}
OURS = ["trellis:bits=0.03,scale=profile @ label=trellis with profile (0.03 bit)"]
OURS_LEAST = ["trellis:bits=0.01,scale=profile @ label=trellis with profile (0.01 bit)"]

# Konečný et al. 2016.
KONECNY = Figure(
    name="konecny", title="Structured against sketched updates (Konečný et al. 2016)", minutes=5,
    question="How many bits does a client have to send, and is it better to train inside a small family or to compress what was trained freely?",
    reported="CIFAR-10, 100 clients of 500 images, all-convolutional network: a random mask learns no slower in rounds than full updates and better than "
             "low rank of the same size (figure 1); the mask ends slightly higher, sketching is slightly sooner (figure 2); rotation, 6.25 % of the coordinates and 2 bits "
             "cost a minor drop for 256 times fewer bits (figure 3).",
    settings="Fashion-MNIST, 100 clients of 600 images, Dirichlet(0.3) over classes, 10 a round, one epoch of batches of 32, rate 0.1 (inside the mask of 6.25 % 0.4, inside the other families 0.2), "
             "an MLP of 159,010 parameters, 120 rounds, one seed.",
    differs="Another data set and a smaller model, so curves are compared, not numbers. As reported: a random mask learns better than low rank of the same size, a rotation helps quantization, and the sketch with "
            "rotation, 1/16 of the coordinates and 2 bits loses nothing for some 250 times fewer bits. Not as reported: training inside a mask costs accuracy and rounds here at the size at which sketching costs nothing; "
            "a client's single epoch of 19 steps moves a restricted model less far. A profile of the updates' scales goes four times below the paper's smallest.",
    runs=[Run("plans", {**IMAGES, "plan": [
        "f32", "train=mask:keep=0.25 | f32 @ lr=0.2,label=structured: mask 25 %", "train=mask:keep=0.0625 | f32 @ lr=0.4,label=structured: mask 6.25 %",
        "train=lowrank:rank=42 | f32 @ lr=0.2,label=structured: rank 42 (of the size of 6.25 %)",
        "mask:keep=0.0625+f32 @ label=sketched: 6.25 % of the coordinates", "quantize:bits=2 @ label=sketched: 2 bits without rotation",
        "hadamard+quantize:bits=2 @ label=sketched: rotation and 2 bits", "hadamard+mask:keep=0.0625+quantize:bits=2 @ label=sketched: rotation and 2 bits of 6.25 %", *OURS]})],
    tables=lambda done: [plans_table(done["plans"])],
    draw=lambda done: [by_megabytes(done["plans"], "konecny", "Accuracy against megabytes: structured and sketched updates")])


# McMahan et al. 2016.
STEPS = [("FedSGD (E = 1, B = ∞)", 1, 600, 0.4), ("E = 1, B = 50", 1, 50, 0.2), ("E = 1, B = 10", 1, 10, 0.05), ("E = 5, B = 50", 5, 50, 0.2), ("E = 5, B = 10", 5, 10, 0.05)]
ROUNDS_OF_STEPS = {(1, 600): 200, (1, 50): 100, (1, 10): 80, (5, 50): 60, (5, 10): 40}
COHORTS = [1, 10, 50]
SPLITS = {"iid": ("iid", 0.82), "shards": ("shards:per=2", 0.75)}


def mcmahan_runs() -> list[Run]:
    common = {"model": "mlp", "clients": 100, "plan": ["f32", *OURS]}
    steps = [Run(f"{split}-e{epochs}-b{batch}", {**common, "partition": partition, "rounds": ROUNDS_OF_STEPS[epochs, batch], "epochs": epochs, "batch": batch, "lr": rate,
                                                "clients_per_round": 10, "target": target})
             for split, (partition, target) in SPLITS.items() for _, epochs, batch, rate in STEPS]
    cohorts = [Run(f"cohorts-{split}", {**common, "partition": partition, "rounds": 80, "batch": 10, "lr": 0.05, "target": target,
                                        "clients_per_round": ",".join(map(str, COHORTS))})
               for split, (partition, target) in SPLITS.items()]
    return steps + cohorts


def rounds_text(entry: dict[str, typing.Any]) -> str:
    return str(entry["rounds_to_target"]) if entry["rounds_to_target"] is not None else f"– (best {percent(entry['best_score'])})"


def mcmahan_tables(done: Outcomes) -> list[Table]:
    steps = [[name, *(rounds_text(entry) for split in SPLITS for entry in done[f"{split}-e{epochs}-b{batch}"].summary["plans"])]
             for name, epochs, batch, _ in STEPS]
    heads = [f"{split} to {100 * target:.0f} %, {plan}" for split, (_, target) in SPLITS.items() for plan in ("float32", "0.03 bit")]
    cohorts = []
    for index, count in enumerate(COHORTS):
        row = [str(count)]
        for split in SPLITS:
            plans = done[f"cohorts-{split}"].summary["plans"]
            row += [rounds_text(plans[index]), rounds_text(plans[len(COHORTS) + index])]
        cohorts.append(row)
    return [{"title": "Rounds to the target by local work, 10 of 100 clients a round:", "heads": ["", *heads], "rows": steps},
            {"title": "Rounds to the target by clients a round, E = 1, B = 10:", "heads": ["clients a round", *heads], "rows": cohorts}]


def cohorts_picture(done: Outcomes) -> Pictures:
    return [(f"mcmahan-{split}", plot.draw(*_only(done[f"cohorts-{split}"], "f32"), "rounds"), f"Accuracy by rounds and cohort, float32, {split}") for split in SPLITS]


def _only(outcome: Outcome, start: str) -> tuple[dict[str, plot.Curve], dict[str, typing.Any]]:
    curves, summary = plot.read_run(outcome.folder)
    return {plan: curve for plan, curve in curves.items() if plan.startswith(start)}, summary


MCMAHAN = Figure(
    name="mcmahan", title="Local work and cohorts (McMahan et al. 2016)", minutes=16,
    question="How many rounds do clients save by working longer between two uploads, and where does it stop to help to ask more of them?",
    reported="MNIST CNN to 99 % (table 2): FedSGD 626 rounds IID and 483 non-IID; E = 1, B = 10: 34 and 350; E = 5, B = 10: 20 and 229. MNIST 2NN to 97 %, E = 1, B = 10 (table 1): 10, 20, 50 of 100 clients "
             "a round need 87, 77, 75 rounds IID and 664, 619, 443 with two classes a client; one client a round 316 and 3275.",
    settings="Fashion-MNIST, 100 clients of 600 images, IID or two shards of one class each (`shards:per=2`); MLP; rates by batch size (0.4, 0.2, 0.05 for ∞, 50, 10), not a grid for each setting; "
             "at most 200 rounds of FedSGD, 100 to 40 of the others; one seed.",
    differs="Another task with lower targets, so numbers of rounds do not compare; the orders do. As reported: more local steps save rounds, more so on IID data; more clients a round save few on IID data "
            "and many on shards, where one client a round is hopeless. 0.03 bit a coordinate costs rounds where a round is worth little, a single step or a single client, and next to none in the settings that one would choose.",
    runs=mcmahan_runs(), tables=mcmahan_tables, draw=cohorts_picture)


# NIID-Bench.
NIID_SPLITS = {"iid": ("iid", "89.0", "–"), "dirichlet": ("dirichlet:alpha=0.5", "88.4", "88.1"), "one-class": ("classes:c=1", "10.0", "11.2"),
               "two-classes": ("classes:c=2", "81.0", "77.3"), "three-classes": ("classes:c=3", "83.2", "80.7")}


def niid_tables(done: Outcomes) -> list[Table]:
    rows = [[partition, flower, paper, *(percent(entry["best_score"]) for entry in done[name].summary["plans"])]
            for name, (partition, flower, paper) in NIID_SPLITS.items()]
    return [{"title": "", "heads": ["partition", "Flower's baseline, 50 rounds", "paper, 50 rounds (from memory)", "here, float32", "here, 0.03 bit"], "rows": rows}]


def niid_picture(done: Outcomes) -> Pictures:
    figure = Picture(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    x = np.arange(len(NIID_SPLITS))
    for index, (label, values) in enumerate([("float32", 0), ("0.03 bit", 1)]):
        axes.bar(x + 0.38 * (index - 0.5), [done[name].summary["plans"][values]["best_score"] or 0 for name in NIID_SPLITS], 0.36,
                 color=plot.look(index + 1)[0], label=label)
    axes.set_xticks(x, [partition for partition, _, _ in NIID_SPLITS.values()])
    axes.set_ylabel("best test accuracy")
    axes.legend(frameon=False)
    plot.finish(figure, axes, "Fashion-MNIST, CNN, 10 clients, all in each round")
    return [("niid", figure, "Best accuracy by partition, float32 and 0.03 bit")]


NIID = Figure(
    name="niid", title="Kinds of skew (NIID-Bench, Fashion-MNIST)", minutes=10,
    question="How much does it cost that clients' classes differ, and does compression make it worse?",
    reported="FedAvg, 10 parties, all in each round, E = 10, B = 64, momentum 0.9, 50 rounds, a CNN of 5×5 kernels. Flower's reproduction: IID 89.0, Dir(0.5) 88.4, one class a client 10.0, two 81.0, three 83.2.",
    settings="The same partitions and cohort; a CNN of 3×3 kernels (6 and 16 channels, 84 hidden units), E = 1, B = 64, rate 0.1 without momentum, 12 rounds: 12 passes over the data in place of 500.",
    differs="A fortieth of the training, no momentum and another small CNN, so all accuracies are lower and those of skewed splits most: they need the rounds. The order is the reported one: Dir(0.5) near IID, three classes, two classes, "
            "and one class a client last; with one class averaging learns half of the classes here, at one epoch a round, where nothing is left at the papers' 10. 0.03 bit costs 0.3 to 0.6 points where classes are mixed, and two to five "
            "where clients have one or two: twelve rounds are few for a profile that has to be learned.",
    runs=[Run(name, {"model": "cnn:channels=6-16,hidden=84", "partition": partition, "clients": 10, "clients_per_round": 10, "epochs": 1, "batch": 64, "lr": 0.1, "rounds": 12,
                     "plan": ["f32", *OURS], "target": "none"}) for name, (partition, _, _) in NIID_SPLITS.items()],
    tables=niid_tables, draw=niid_picture)


# Suresh et al. 2017.
SURESH_PLANS = {4: ["quantize:bits=4 @ label=uniform 16 levels", "hadamard+quantize:bits=4 @ label=rotated 16 levels", "quantize:bits=4+rans @ label=variable length 16 levels",
                    "eden:bits=4 @ label=EDEN 4 bits", "trellis:bits=4 @ label=trellis 4 bits"],
                2: ["quantize:bits=2 @ label=uniform 4 levels", "hadamard+quantize:bits=2 @ label=rotated 4 levels", "quantize:bits=3+rans @ label=variable length 8 levels",
                    "eden:bits=2 @ label=EDEN 2 bits", "dither:bits=2 @ label=dither 2 bits", "trellis:bits=2 @ label=trellis 2 bits"]}
KMEANS_SEEDS = 3


def power_errors(outcome: Outcome, float32: str = "f32") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By label: bytes, and the share of the best axis's variance that the axis of each round misses."""
    rows: dict[str, list[tuple[float, float]]] = {}
    for line in (outcome.folder / "results.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row.get("type") == "round":
            rows.setdefault(row["label"], []).append((row["upload_bytes"], row["score"]))
    best = max(score for values in rows.values() for _, score in values)
    return {label: (np.array([sent for sent, _ in values]), 1 - np.array([score for _, score in values]) / best) for label, values in rows.items()}


def floor(errors: np.ndarray) -> float:
    """What noise leaves when the iteration has converged: the mean of the last five rounds."""
    return float(errors[-5:].mean())


def suresh_tables(done: Outcomes) -> list[Table]:
    kmeans = done["kmeans"].summary["plans"]
    reference = kmeans[0]["final_score"]["mean"]
    first = [[entry["label"], plot.significant(entry["bits_per_coordinate"]["mean"]), f"{entry['final_score']['mean']:.4f}", f"{100 * (entry['final_score']['mean'] / reference - 1):+.3f} %"]
             for entry in kmeans]
    tables = [{"title": f"k-means, mean squared distance after 10 rounds, mean of {KMEANS_SEEDS} seeds:", "heads": ["plan", "bits a coordinate", "distance", "over float32"], "rows": first}]
    for bits in SURESH_PLANS:
        summary = {entry["label"]: entry for entry in done[f"power-{bits}"].summary["plans"]}
        rows = [[label, plot.significant(summary[label]["bits_per_coordinate"]), f"{errors[:6][-1]:.2e}", f"{errors[:10][-1]:.2e}", f"{floor(errors):.1e}"]
                for label, (_, errors) in power_errors(done[f"power-{bits}"]).items()]
        tables.append({"title": f"Power iteration, about {bits} bits: variance of the first axis that is missed", "heads": ["plan", "bits a coordinate", "after 6 rounds", "after 10", "mean of the last 5 of 20"],
                       "rows": rows})
    return tables


def power_picture(done: Outcomes) -> Pictures:
    pictures = []
    for bits in SURESH_PLANS:
        figure = Picture(figsize=(8, 5.2), layout="constrained")
        axes = figure.subplots()
        for index, (label, (sent, errors)) in enumerate(power_errors(done[f"power-{bits}"]).items()):
            if label == "f32":
                continue
            colour, style = plot.look(index)
            axes.plot(sent / 1e3, np.maximum(errors, 1e-7), color=colour, linestyle=style, linewidth=1.8, label=label)
        plot.plain_log(axes, "y")
        axes.set_xlabel("kilobytes uploaded by all clients together")
        axes.set_ylabel("variance of the first axis that is missed (share)")
        plot.finish(figure, axes, "Fashion-MNIST, power iteration, 100 clients, all in each round")
        pictures.append((f"suresh-power-{bits}", figure, f"Error of the principal axis against bytes, about {bits} bits a coordinate"))
    return pictures


SURESH = Figure(
    name="suresh", title="k-means and power iteration (Suresh et al. 2017)", minutes=3,
    question="Do statistics that are means, not gradients, survive quantization: centres of clusters, principal axes?",
    reported="Figures 2 and 3, from memory: distributed Lloyd with 10 centres on 10 clients and power iteration on 100 clients, MNIST and CIFAR, 16 and 32 levels: variable-length coding and rotation come near the uncompressed "
             "curves, uniform quantization stays above them.",
    settings="Fashion-MNIST (784 values an image), IID. k-means: 10 centres, 10 clients, 10 rounds, k-means++ start on 1,000 public images. Power iteration: the covariance around the federated mean, 100 clients, 20 rounds. "
             "Clients send what their step changes (local centres less the global ones; C v less the last product), as all models here.",
    differs="Clients send differences, which shrink as the iteration converges, so that errors shrink with them and every codec ends much nearer to float32 than in the paper, where the vectors themselves are quantized. "
            "Once noise counts, in the last rounds, the order is the paper's: uniform and rotated, variable length, and trellis lowest at equal bytes. Before that a codec's noise can happen to help: at 4 bits the rotated one is ahead of float32 itself for some rounds.",
    runs=[Run("kmeans", {"model": "kmeans", "partition": "iid", "clients": 10, "clients_per_round": 10, "rounds": 10, "seeds": KMEANS_SEEDS, "target": "none", "plan": ["f32", *SURESH_PLANS[4]]})] +
         [Run(f"power-{bits}", {"model": "pca", "partition": "iid", "clients": 100, "clients_per_round": 100, "rounds": 20, "target": "none", "plan": ["f32", *plans]}) for bits, plans in SURESH_PLANS.items()],
    tables=suresh_tables, draw=power_picture)


# Links.
LINKS = "up=1,down=10,lost=0.1,over=1.3"


def links_tables(done: Outcomes) -> list[Table]:
    free = done["free"].summary["plans"][0]["simulated_seconds_to_target"]
    rows = []
    for name in ("free", "waiting", "deadline"):
        for entry in done[name].summary["plans"]:
            seconds = entry["simulated_seconds_to_target"]
            rows.append([{"free": "uploads cost nothing", "waiting": "no deadline", "deadline": "deadline 4 s"}[name], entry["label"], plot.significant(entry["bits_per_coordinate"]), percent(entry["best_score"]),
                         "–" if entry["rounds_to_target"] is None else str(entry["rounds_to_target"]),
                         "–" if seconds is None else f"{seconds / 3600:.4f}", "–" if seconds is None else f"{seconds / free:.2f}×",
                         f"{100 * entry['wasted_bytes'] / entry['upload_bytes']:.0f}"])
    return [{"title": "", "heads": ["", "plan", "bits a coordinate", "best %", "rounds to 80 %", "hours to 80 %", "of free uploads'", "wasted %"], "rows": rows}]


LINK_SETTINGS = {**IMAGES, "rounds": 100, "target": 0.8}
LINKS_FIGURE = Figure(
    name="links", title="Slow and broken uplinks", minutes=4,
    question="My clients are on phones: how much sooner is the model there, by the clock?",
    reported="Konečný et al. 2016 give the reason, not a figure: upload speeds were a fraction of download speeds, and unreliable.",
    settings=f"Fashion-MNIST and the MLP as above; `--links {LINKS}`: uploads log-normal around 1 Mbit/s, downloads around 10, a tenth of the clients lost in mid-upload, 1.3 times as many asked as are wanted, 1 ms an example.",
    differs="Nothing to compare with. A client's 600 bytes cost nothing beside the latency and the download of the model; float32 waits for the slowest link of each round, and under a deadline loses most of what it sends.",
    runs=[Run("free", {**LINK_SETTINGS, "links": LINKS.replace("up=1,", "up=1000000,"), "plan": ["f32"]}),
          Run("waiting", {**LINK_SETTINGS, "links": LINKS, "plan": ["f32", "hadamard+mask:keep=0.0625+quantize:bits=2 @ label=Konečný 2016 (0.126 bit)", "trellis:bits=2", *OURS, *OURS_LEAST]}),
          Run("deadline", {**LINK_SETTINGS, "links": LINKS + ",deadline=4", "plan": ["f32", "trellis:bits=2", "trellis:bits=auto", *OURS]})],
    tables=links_tables,
    draw=lambda done: [("links", plot.score(done["waiting"].folder, "hours"), "Accuracy against simulated hours, no deadline"),
                       ("links-deadline", plot.score(done["deadline"].folder, "hours"), "Accuracy against simulated hours, deadline 4 s")])


# Personalization.
def personal_tables(done: Outcomes) -> list[Table]:
    rows = []
    for name, words in (("fine-tuning", "fine-tuned for 2 epochs"), ("vectors", "input vector of 16 values"), ("both", "both")):
        for entry in done[name].summary["plans"]:
            before, after = entry["personal"]["before"], entry["personal"]["after"]
            rows.append([words, entry["label"], percent(before["mean"]), percent(after["mean"]), percent(before["deciles"][1]), percent(after["deciles"][1])])
    return [{"title": "", "heads": ["", "plan", "released model: mean %", "own model: mean %", "released: worst tenth at or below %", "own: worst tenth at or below %"], "rows": rows}]


PERSONAL_SETTINGS = {**IMAGES, "rounds": 100, "target": "none", "plan": ["f32", *OURS]}
PERSONAL = Figure(
    name="personal", title="Personal models", minutes=4,
    question="My clients' data differ: how much better is a model of their own?",
    reported="No single figure: fine-tuning after federated training and personal parameters that stay with the client are both in the literature (for example Arivazhagan et al. 2019, Singhal et al. 2021, from memory).",
    settings="As above; each client holds a fifth of its examples out. Fine-tuning: two epochs on its own examples, from the released model. Input vector: 16 values behind the pixels, trained at 30 times the rate, kept by the client.",
    differs="Nothing to compare with. Both ways gain six to eight points where classes are skewed, as much for those whom the common model serves worst; nothing of it is sent, and 0.03 bit changes nothing.",
    runs=[Run("fine-tuning", {**PERSONAL_SETTINGS, "fine_tune": 2}), Run("vectors", {**PERSONAL_SETTINGS, "personal": 16}), Run("both", {**PERSONAL_SETTINGS, "personal": 16, "fine_tune": 2})],
    tables=personal_tables,
    draw=lambda done: [("personal-fine-tuning", plot.personal(done["fine-tuning"].summary), "Accuracy on held-out examples over clients, fine-tuning"),
                       ("personal-vectors", plot.personal(done["vectors"].summary), "Accuracy on held-out examples over clients, input vectors")])


# Text.
TEXT = {"dataset": "kjv", "clients_per_round": 10, "eval_every": 2, "eval_examples": 40000}
TEXT_PLANS = ["f32", "trellis:bits=2", "trellis:bits=1,scale=profile @ label=trellis with profile (1 bit)", "trellis:bits=0.3,scale=profile @ label=trellis with profile (0.3 bit)",
              "trellis:bits=0.1,scale=profile @ label=trellis with profile (0.1 bit)",
              "f32 @ average=0.8,label=float32 with models averaged", "trellis:bits=1,scale=profile @ average=0.8,label=trellis with profile (1 bit) and models averaged",
              "trellis:bits=0.3,scale=profile @ average=0.8,label=trellis with profile (0.3 bit) and models averaged"]


def text_tables(done: Outcomes) -> list[Table]:
    return [plans_table(done["window"], "Window of 16 characters, 25,143 parameters:"), plans_table(done["gru"], "GRU over 80 characters, 61,367 parameters:")]


TEXT_FIGURE = Figure(
    name="text", title="Next characters (McMahan et al. 2016's Shakespeare, on the King James Bible)", minutes=10,
    question="How few bits does a language model need, whose parameters all matter?",
    reported="Shakespeare, LSTM of 866,578 parameters, to 54 % (McMahan et al. 2016, table 2): FedSGD 2488 rounds IID and 3906 by roles, E = 5, B = 10: 192 and 41. No compression.",
    settings="King James Bible, 1,189 chapters as clients, 10 a round, one epoch; the last fifth of each chapter is the test (40,000 places of it). Window: rate 0.3, batch 32, 250 rounds. GRU: rate 3, batch 4, 120 rounds. "
             "Counts of single characters predict 18.3 %, of pairs 33.9 %.",
    differs="Another text and smaller models. Where the image model needs a hundredth of a bit, these need more: the window about one bit, or 0.3 where the server averages models, the GRU 0.3 as it is. A small model has no parameters to spare, and its bytes a client and round are the same few kilobytes.",
    runs=[Run("window", {**TEXT, "model": "window", "lr": 0.3, "rounds": 250, "plan": TEXT_PLANS}),
          Run("gru", {**TEXT, "model": "gru", "lr": 3, "batch": 4, "rounds": 120, "eval_examples": 1000, "plan": TEXT_PLANS[:4]})],
    tables=text_tables,
    draw=lambda done: [by_megabytes(done["window"], "text-window", "Next characters, window: accuracy against megabytes"),
                       by_megabytes(done["gru"], "text-gru", "Next characters, GRU: accuracy against megabytes")])


# A start from elsewhere.
def pretrained_tables(done: Outcomes) -> list[Table]:
    target = done["scratch"].summary["target_score"]
    rows = []
    for name, words in (("scratch", "from random parameters"), ("warm", "from the Old Testament's model")):
        for entry in done[name].summary["plans"]:
            rows.append([words, entry["label"], *needed(entry)[:3]])
    return [{"title": "", "heads": ["start", "plan", "best %", f"rounds to {100 * target:.1f} %", "MB up to it"], "rows": rows}]


PRETRAINED_SETTINGS = {**TEXT, "dataset": "kjv:books=40-66", "model": "window", "lr": 0.3, "rounds": 100, "plan": ["f32", "trellis:bits=1,scale=profile @ label=trellis with profile (1 bit)"]}
PRETRAINED = Figure(
    name="pretrained", title="A start from other text", minutes=4,
    question="I have a model of public text: how many rounds does it save?",
    reported="McMahan et al. 2018 (arXiv 1710.06963) start language models from public text for that reason; no figure of ours reproduces theirs.",
    settings="The window model trained for 100 rounds on the Old Testament (books 1 to 39), then federated training on the New Testament (260 chapters), from it and from random parameters.",
    differs="Nothing to compare with.",
    runs=[Run("old", {**TEXT, "dataset": "kjv:books=1-39", "model": "window", "lr": 0.3, "rounds": 100, "plan": ["f32"], "target": "none"}),
          Run("scratch", PRETRAINED_SETTINGS),
          Run("warm", {**PRETRAINED_SETTINGS}, after=["--pretrained", "{old}/models/0.npz"])],
    tables=pretrained_tables, draw=lambda done: [by_megabytes(done["warm"], "pretrained", "New Testament, from the Old Testament's model")])


# Downlink.
def downlink_tables(done: Outcomes) -> list[Table]:
    entries = done["plans"].summary["plans"]
    first = entries[0]
    rows = []
    for entry in entries:
        down, rounds = entry["download_bytes_to_target"], entry["rounds_to_target"]
        rows.append([entry["label"], percent(entry["best_score"]), "–" if rounds is None else f"{rounds} ({rounds / first['rounds_to_target']:.2f}×)",
                     "–" if down is None else plot.significant(down / 1e6), "–" if down is None else f"{first['download_bytes_to_target'] / down:.3g}×"])
    return [{"title": "", "heads": ["down", "best %", "rounds to target", "MB down to it", "fewer bytes down"], "rows": rows}]


DOWNLINK = Figure(
    name="downlink", title="Models that go down compressed", minutes=3,
    question="Can the model itself be sent with few bits?",
    reported="EF21-P (Gruntkowska et al. 2022, arXiv 2209.15218) has the method; no figure of ours reproduces theirs.",
    settings="As above, 30 of 100 clients a round so that they miss few; uploads at 0.03 bit. A client that missed rounds gets what it lacks or the whole model, whichever is less.",
    differs="Nothing to compare with. Down to a bit nothing is lost; below it the view lags too far behind the model. What is saved depends on how often a client comes back: each missed round is a frame that it has to fetch.",
    runs=[Run("plans", {**IMAGES, "clients_per_round": 30, "rounds": 80, "plan": [OURS[0].replace("label=trellis with profile (0.03 bit)", "label=float32")] + [
        OURS[0].replace("label=trellis with profile (0.03 bit)", f"downlink=trellis:bits={bits},label={bits} bits") for bits in ("4", "2", "1", "0.5", "0.1")] + ["f32 @ label=float32 up and down"]})],
    tables=downlink_tables, draw=lambda done: [("downlink", plot.score(done["plans"].folder, "rounds"), "Accuracy by rounds, by plan of the downlink")])


# All on the same axes.
def best_tables(done: Outcomes) -> list[Table]:
    rows = []
    for entry in done["plans"].summary["plans"]:
        rounds, factor = entry["rounds_ratio_to_first"]["median"], entry["fewer_bytes_than_first"]["median"]
        best = entry["best_score"]
        rows.append([entry["label"], plot.significant(entry["bits_per_coordinate"]["mean"]), f"{percent(best['mean'])} ({percent(best['min'])}–{percent(best['max'])})",
                     "–" if rounds is None else f"{rounds:.2f}×", "–" if factor is None else f"{plot.significant(factor)}×"])
    return [{"title": "Medians of three seeds, each against float32 with the same seed:", "heads": ["plan", "bits a coordinate", "best %", "times the rounds", "fewer bytes"], "rows": rows}]


BEST = Figure(
    name="best", title="The best of each kind on the same axes", minutes=9,
    question="Which plan shall I take for a model like this?",
    reported="Each plan is the one that its paper recommends; none of them was published on this task.",
    settings="The demo: Fashion-MNIST, Dirichlet(0.3), 10 of 100 clients a round, MLP of 159,010 parameters, 120 rounds, three seeds.",
    differs="Nothing to compare with.",
    runs=[Run("plans", {**IMAGES, "seeds": 3, "plan": [
        "f32", "hadamard+mask:keep=0.0625+quantize:bits=2 @ label=Konečný 2016 (0.126 bit)", "eden:bits=1 @ label=EDEN (1 bit)", "stc:keep=0.01 @ feedback=ef14,label=STC 1 % with error feedback",
        "powersgd:rank=4 @ feedback=ef14,label=PowerSGD rank 4 with error feedback", "trellis:bits=1 @ label=trellis (1 bit)", *OURS, *OURS_LEAST]})],
    tables=best_tables, draw=lambda done: [by_megabytes(done["plans"], "best", "Accuracy against megabytes, three seeds")])


FIGURES = [KONECNY, MCMAHAN, NIID, SURESH, LINKS_FIGURE, PERSONAL, TEXT_FIGURE, PRETRAINED, DOWNLINK, BEST, EPSILON, WORDS, COHORTS_FIGURE]
