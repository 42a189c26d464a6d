"""The frame format, written a second time, from docs/frame-format.md alone. Sections are cited as (1) ... (9).

It is slow and plain, and shares no code with the library: it writes the golden frames, and reads what the program
writes.
"""
import bisect
import decimal
import functools
import math
import pathlib
import re
import struct

import numpy as np
import xxhash
import zstandard

F32 = np.float32
GOLDEN_RATIO = 0x9E3779B97F4A7C15
MASK64 = (1 << 64) - 1
MAX_ROUND = (1 << 28) - 1
SIGNS, SIGNS2, SUBSET, ROUNDING, FAMILY_MASK, FAMILY_FACTOR, KEEP, DITHER = 1, 2, 3, 4, 5, 6, 7, 8
PERMUTATION, SKETCH_CELL, SKETCH_SIGN = 11, 12, 13
STRUCTURE_GROUP = (1 << 32) - 1


class Refused(ValueError):
    """Bytes that no writer produces, or a frame of another plan."""


def refuse_if(bad, why):
    if bad:
        raise Refused(why)


# ---- plans (8), (2) --------------------------------------------------------------------------------------------------
STAGES = {  # name: (id, kind, {parameter: default})
    "mask": (1, "transform", {"keep": None, "seed": "client"}),
    "hadamard": (2, "transform", {"seed": "round"}),
    "lowrank": (3, "transform", {"rank": None, "iterations": "1"}),  # and a family
    "quantize": (4, "quantizer", {"bits": None, "block": "0"}),
    "f32": (5, "quantizer", {}),
    "f16": (6, "quantizer", {}),
    "bf16": (7, "quantizer", {}),
    "dither": (11, "quantizer", {"bits": None, "nmse": None, "step": None, "scale": "separable", "correlated": "0"}),
    "trellis": (12, "quantizer", {"bits": None, "nmse": None, "step": None, "scale": "separable", "states": "64"}),
    "lloyd": (13, "quantizer", {"bits": None}),
    "tcq": (25, "quantizer", {"bits": None, "states": "64"}),
    "ecsq": (24, "quantizer", {"bits": None}),
    "qsgd": (14, "quantizer", {"levels": None, "bucket": "0"}),
    "ternary": (15, "quantizer", {}),
    "natural": (16, "quantizer", {}),
    "sign": (17, "quantizer", {}),
    "pack": (8, "coder", {}),
    "rans": (10, "coder", {}),
    "zstd": (9, "coder", {"level": "3"}),
    "rans": (10, "coder", {}),
    "topk": (18, "transform", {"keep": None}),
    "permk": (19, "transform", {"cohort": None}),
    "countsketch": (20, "transform", {"rows": "1", "columns": None, "keep": None, "estimate": "mean", "seed": "round"}),
    "predict": (22, "transform", {"by": "lowrank", "rank": None, "iterations": "1"}),
}
WISHES = {("zstd", "level"), ("lowrank", "iterations"), ("predict", "iterations"), ("ecsq", "bits"),
          *((name, key) for name in ("dither", "trellis") for key in ("bits", "nmse"))}
INTEGERS = {"rank", "iterations", "bits", "block", "level", "levels", "bucket", "correlated", "states", "cohort", "rows",
            "columns"}
DEFAULT_CODERS = dict.fromkeys(("dither", "trellis", "ecsq", "qsgd", "ternary"), "rans")


def shortest(value):
    """Fewest digits that read back, fixed or scientific, whichever is shorter; fixed where they tie (2)."""
    digits = f"{value!r}"
    mantissa, _, exponent = digits.partition("e")
    sign, digits = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    whole, _, fraction = digits.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = whole + fraction
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    if not digits:
        return sign + "0"
    if point <= 0:
        fixed = "0." + "0" * -point + digits
    elif point >= len(digits):
        fixed = digits + "0" * (point - len(digits))
    else:
        fixed = digits[:point] + "." + digits[point:]
    power = point - 1
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    scientific = mantissa + f"e{'-' if power < 0 else '+'}{abs(power):02d}"
    return sign + (fixed if len(fixed) <= len(scientific) else scientific.replace("+", ""))


class Stage:
    def __init__(self, text):
        name, _, given = text.strip().partition(":")
        self.name = name
        self.id, self.kind, defaults = STAGES[name]
        values = dict(defaults)
        for item in filter(None, given.split(",")):
            key, _, value = item.partition("=")
            values[key] = value
        self.values = {}
        for key, value in values.items():
            number = value is not None and key in INTEGERS | {"keep", "nmse", "step"}
            self.values[key] = self.number(key, float(value)) if number else value

    @staticmethod
    def number(key, value):
        return int(value) if key in INTEGERS and value == int(value) else value

    def __getitem__(self, key):
        return self.values[key]

    def format_text(self):
        shown = [f"{key}={shortest(value) if isinstance(value, float) else value}"
                 for key, value in self.values.items() if (self.name, key) not in WISHES and value is not None]
        return str(self.id) + (":" + ",".join(shown) if shown else "")


class Rule:
    def __init__(self, pattern, chain):
        self.pattern = pattern
        stages = [Stage(part) for part in chain.split("+")]
        if stages[-1].kind != "coder":
            stages.append(Stage(DEFAULT_CODERS.get(stages[-1].name, "pack")))
        *self.transforms, self.quantizer, self.coder = stages

    def matches(self, name, size):
        if self.pattern.startswith("<"):
            return size < int(self.pattern[1:])
        return re.fullmatch(re.escape(self.pattern).replace(r"\*", ".*").replace(r"\?", "."), name, re.S) is not None

    def format_text(self):
        return "+".join(stage.format_text() for stage in (*self.transforms, self.quantizer, self.coder))


class Plan:
    def __init__(self, text):
        self.family = None
        if "|" in text:
            family, text = text.split("|")
            self.family = Stage(family.strip().removeprefix("train="))
        self.rules = []
        for rule in text.split(";"):
            rule = rule.strip()
            mark = re.search("[=:]", rule)
            pattern, chain = ("*", rule)
            if mark and mark[0] == "=":
                pattern, chain = rule[:mark.start()].strip(), rule[mark.end():]
            self.rules.append(Rule(pattern, chain))

    def format_text(self):
        head = f"train={self.family.format_text()} | " if self.family else ""
        if len(self.rules) == 1 and self.rules[0].pattern == "*":
            return head + self.rules[0].format_text()
        return head + "; ".join(f"{rule.pattern}={rule.format_text()}" for rule in self.rules)


def layout_text(layout):
    """layout: list of (name, shape)."""
    escaped = [(name.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n"), shape) for name, shape in layout]
    return "".join(f"{name}\t{','.join(map(str, shape))}\n" for name, shape in escaped)


def fingerprint(plan, layout):
    return xxhash.xxh3_64_intdigest((plan.format_text() + "\n" + layout_text(layout)).encode(), seed=0)


# ---- shared randomness (4) -------------------------------------------------------------------------------------------
def mix(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK64
    return z ^ (z >> 31)


def stream_key(*fields):
    key = 0
    for field in fields:
        key = mix(((key ^ field) + GOLDEN_RATIO) & MASK64)
    return key


def words(key, count):
    """The first `count` words of a stream."""
    def rotl(x, k):
        return (x << np.uint32(k)) | (x >> np.uint32(32 - k))

    out = []
    for block in range(-(-count // 2048)):
        z = [mix((key + (4096 * block + j) * GOLDEN_RATIO) & MASK64) for j in range(32)]
        lanes = [part for value in z for part in (value & 0xFFFFFFFF, value >> 32)]
        s0, s1, s2, s3 = (np.array(lanes[16 * r:16 * r + 16], np.uint32) for r in range(4))
        for _ in range(128):
            out.append(rotl(s0 + s3, 7) + s0)
            t = s1 << np.uint32(9)
            s2 = s2 ^ s0
            s3 = s3 ^ s1
            s1 = s1 ^ s2
            s0 = s0 ^ s3
            s2 = s2 ^ t
            s3 = rotl(s3, 11)
    return np.concatenate(out)[:count] if out else np.zeros(0, np.uint32)


def subset(key, n, k):
    members = k <= n // 2
    draws = k if members else n - k
    random = words(key, 2 * draws).astype(object)
    marked = set()
    for j in range(draws):
        last = n - draws + j
        v = ((int(random[2 * j]) + (int(random[2 * j + 1]) << 32)) * (last + 1)) >> 64
        marked.add(last if v in marked else v)
    return np.array(sorted(marked) if members else [i for i in range(n) if i not in marked], np.int64)


class Keys:
    def __init__(self, seed, round_, client, group, cohort=(0, 1)):
        self.seed, self.round, self.client, self.group, self.cohort = seed, round_, client, group, cohort

    def key(self, stage, purpose, per_client):
        client = self.client if per_client else 0
        return stream_key(self.seed, self.round, int(per_client), client, self.group, stage, purpose)


# ---- the range coder (7) ---------------------------------------------------------------------------------------------
LOW = 1 << 16  # the least state


def equally_likely(value, bits):
    return value << (15 - bits), 1 << (15 - bits)


def write_range_coded(symbols, lanes=1):
    """symbols: list of ((start, frequency), lane)."""
    states, stream = [LOW] * lanes, []
    for (start, frequency), lane in reversed(symbols):
        if states[lane] >= frequency << 17:
            stream.insert(0, states[lane] & 0xFFFF)
            states[lane] >>= 16
        states[lane] = (states[lane] // frequency << 15) + states[lane] % frequency + start
    if not stream and all(state == LOW for state in states):
        return b""
    head = b"".join(struct.pack("<I", state) for state in states)
    return (head[:3] if lanes == 1 and states[0] < 1 << 24 else head) + struct.pack(f"<{len(stream)}H", *stream)


class RangeReader:
    def __init__(self, data, lanes=1):
        size = 3 if lanes == 1 and len(data) % 2 else 4 * lanes
        refuse_if(data and (len(data) < size or (len(data) - size) % 2), "a stream of the range coder that is cut off")
        self.states = [LOW] * lanes
        if data:
            head = data[:size].ljust(4 * lanes, b"\0")
            self.states = list(struct.unpack(f"<{lanes}I", head))
            refuse_if(min(self.states) < LOW, "a state that is too small")
            refuse_if(size == len(data) and max(self.states) == LOW, "states that say nothing")
            refuse_if(lanes == 1 and size == 4 and self.states[0] < 1 << 24, "a state that is shorter")
        self.words = [word for word, in struct.iter_unpack("<H", data[size:])]

    def read(self, interval_of, lane=0):
        """interval_of(slot): the symbol whose interval holds the slot, and the interval."""
        slot = self.states[lane] % (1 << 15)
        symbol, (start, frequency) = interval_of(slot)
        state = frequency * (self.states[lane] >> 15) + slot - start
        if state < LOW:
            refuse_if(not self.words, "a stream of the range coder that ends early")
            state = (state << 16) + self.words.pop(0)
        self.states[lane] = state
        return symbol

    def bits(self, count, lane=0):
        return self.read(lambda slot: (slot >> (15 - count), equally_likely(slot >> (15 - count), count)), lane)

    def end(self):
        refuse_if(self.words or any(state != LOW for state in self.states), "a stream that does not end as it began")


# ---- transforms (5) --------------------------------------------------------------------------------------------------
def kept(keep, n):
    return min(n, max(1, math.floor(keep * n + 0.5))) if n else 0


def random_signs(key, n):
    """True where a value is negated."""
    i = np.arange(n)
    word = words(key, 16 * (-(-n // 512)))[16 * (i // 512) + i % 16]
    return (word >> ((i // 16) % 32).astype(np.uint32)) & 1 == 1


def butterflies(x):
    h = 1
    while h < len(x):
        pairs = x.reshape(-1, 2, h)
        x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], 1).reshape(-1)
        h *= 2
    return x


def rotation_scale(block):
    e = block.bit_length() - 1
    return F32(2.0 ** (-e // 2)) if e % 2 == 0 else F32(2.0 ** (-(e - 1) // 2)) * F32(float.fromhex("0x1.6a09e6p-1"))


class Transform:
    """n values to `outputs`, with side values. What a subclass does not say is that of a transform without side values.
    """

    private, linear, keeps_tensors = True, True, False

    def __init__(self, stage, position, shapes):
        """shapes: of the tensors that come in, where they are known, else one vector."""
        self.stage, self.position, self.shapes = stage, position, shapes
        self.n = self.outputs = sum(map(math.prod, shapes))

    def read_side(self, data):
        """What there is of side values, and the rest."""
        return None, data


class Mask(Transform):
    def __init__(self, stage, position, shapes):
        super().__init__(stage, position, shapes)
        self.private = stage["seed"] == "client"
        self.outputs = kept(stage["keep"], self.n)

    def indices(self, keys):
        return subset(keys.key(self.position, SUBSET, self.private), self.n, self.outputs)

    def forward(self, keys, x):
        return b"", x[self.indices(keys)]

    def inverse(self, keys, side, y):
        x = np.zeros(self.n)
        x[self.indices(keys)] = y * (self.n / self.outputs) if self.outputs else y
        return x


class Hadamard(Transform):
    def __init__(self, stage, position, shapes):
        super().__init__(stage, position, shapes)
        self.private = stage["seed"] == "client"
        self.block = 1 << (self.n.bit_length() - 1) if self.n else 0

    def parts(self):
        last = [(slice(self.n - self.block, self.n), SIGNS2)] if self.block < self.n else []
        return [(slice(0, self.block), SIGNS)] + last

    def forward(self, keys, x):
        x = x.copy()
        for part, purpose in self.parts() if self.n else []:
            signs = random_signs(keys.key(self.position, purpose, self.private), self.block)
            x[part] = butterflies(np.where(signs, -x[part], x[part])) * rotation_scale(self.block)
        return b"", x

    def inverse(self, keys, side, y):
        x = y.copy()
        for part, purpose in reversed(self.parts()) if self.n else []:
            signs = random_signs(keys.key(self.position, purpose, self.private), self.block)
            back = butterflies(x[part]) * (1 / (float(rotation_scale(self.block)) * self.block))
            x[part] = np.where(signs, -back, back)
        return x


class Digit:
    """A binary digit with a chance that adapts."""

    def __init__(self, p):
        self.p, self.w = self.limited(p), 8

    @staticmethod
    def limited(p):
        return min(max(p, 32), (1 << 16) - 32)

    def interval(self, digit):
        return (0, self.p // 2) if digit else (self.p // 2, (1 << 15) - self.p // 2)

    def learn(self, digit):
        self.p = self.limited(self.p + ((1 << 16) - self.p) // self.w if digit else self.p - self.p // self.w)
        self.w = min(self.w + 1, 128)

    def written(self, digit):
        interval = self.interval(digit)
        self.learn(digit)
        return interval, 0

    def read(self, reader):
        digit = reader.read(lambda slot: (slot < self.p // 2, self.interval(slot < self.p // 2)))
        self.learn(digit)
        return digit


class TopK(Transform):
    def __init__(self, stage, position, shapes):
        super().__init__(stage, position, shapes)
        self.k = self.outputs = kept(stage["keep"], self.n)
        self.b = 0
        while self.k and (16 << (self.b + 1)) * self.k <= 11 * self.n:
            self.b += 1

    def digits(self):
        longer, upper, q = [], [None], ((self.n - self.k) << 32) // self.n
        for _ in range(32):
            h = q >> 16
            longer.append(Digit(h))
            upper.append(Digit((h << 16) // ((1 << 16) + h)))
            q = q * q >> 32
        return longer, upper

    @staticmethod
    def pieces(c):
        """The c − 1 low bits: (lowest, how many)."""
        return [(at, min(15, c - 1 - at)) for at in range(0, c - 1, 15)]

    def forward(self, keys, x):
        order = np.argsort(-np.abs(x), kind="stable")[:self.k]
        positions = sorted(order.tolist())
        return self.write(positions), x[np.array(positions, np.int64)]

    def write(self, positions):
        if self.k == self.n:
            return b""
        gaps = [position - before - 1 for position, before in zip(positions, [-1] + positions)]
        rice = "".join("1" * (gap >> self.b) + "0" + "".join(str(gap >> i & 1) for i in range(self.b)) for gap in gaps)
        rice = int(rice[::-1], 2).to_bytes((len(rice) + 7) // 8, "little")
        longer, upper = self.digits()
        symbols = []
        for g in (gap + 1 for gap in gaps):
            c = g.bit_length() - 1
            symbols += [longer[j].written(j < c) for j in range(c + 1)]
            if c:
                symbols.append(upper[c].written(g >> (c - 1) & 1 == 1))
            symbols += [(equally_likely(g >> at & ((1 << count) - 1), count), 0) for at, count in self.pieces(c)]
        coded = write_range_coded(symbols)
        coded = varint(len(coded)) + coded
        return coded if len(coded) < 1 + len(rice) else b"\0" + rice

    def read_side(self, data):
        if self.k == self.n:
            return list(range(self.n)), data
        length, at = read_varint(data, 0)
        data = data[at:]
        gaps, data = self.read_rice(data) if length == 0 else (self.read_coded(data, length), data[length:])
        positions = (np.cumsum(np.array(gaps, np.int64) + 1) - 1).tolist()
        refuse_if(positions[-1] >= self.n, "a position that there is not")
        return positions, data

    def read_rice(self, data):
        bits, at, gaps = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little"), 0, []

        def bit():
            nonlocal at
            refuse_if(at == len(bits), "positions are cut off")
            at += 1
            return int(bits[at - 1])

        for _ in range(self.k):
            gap = 0
            while bit():
                gap += 1 << self.b
            gaps.append(gap + sum(bit() << i for i in range(self.b)))
        used = (at + 7) // 8
        refuse_if(np.any(bits[at:8 * used]), "a padding bit is set")
        return gaps, data[used:]

    def read_coded(self, data, length):
        refuse_if(len(data) < length, "positions are cut off")
        reader, gaps = RangeReader(data[:length]), []
        longer, upper = self.digits()
        for _ in range(self.k):
            c = 0
            while longer[c].read(reader):
                c += 1
                refuse_if(1 << c > self.n, "a position that there is not")
            g = (1 << c) + (int(upper[c].read(reader)) << (c - 1) if c else 0)
            gaps.append(g - 1 + sum(reader.bits(count) << at for at, count in self.pieces(c)))
        reader.end()
        return gaps

    def inverse(self, keys, side, y):
        x = np.zeros(self.n)
        x[np.array(side, np.int64)] = y
        return x


def matrices(shapes, rank):
    """(offset, rows, columns, rank) of the matrices that are larger than their factors, and the other slices."""
    found, others, at, end = [], [], 0, 0
    for shape in shapes:
        size = math.prod(shape)
        if len(shape) >= 2 and size:
            rows, columns = shape[0], size // shape[0]
            r = min(rank, rows, columns)
            if r * (rows + columns) < size:
                found.append((at, rows, columns, r))
                others.append(slice(end, at))
                end = at + size
        at += size
    return found, others + [slice(end, at)]


def factors_of(matrix, rank):
    """Pairs of equal size, (left, right), f32: any will do."""
    left, strength, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    balance = np.sqrt(strength * math.sqrt(len(left) / right.shape[1]))
    return [((left[:, k] * balance[k]).astype(F32),
             (right[k] * (strength[k] / balance[k] if balance[k] else 0)).astype(F32)) for k in range(rank)]


def product(pairs, rows, columns):
    total = np.zeros((rows, columns))
    for left, right in pairs:
        total += np.outer(left, right)
    return total


class LowRank(Transform):
    free = True  # an encoder chooses its factors

    def __init__(self, stage, position, shapes):
        super().__init__(stage, position, shapes)
        self.matrices, self.others = matrices(shapes, stage["rank"])
        self.linear = not self.matrices
        self.outputs -= sum(rows * columns - r * (rows + columns) for _, rows, columns, r in self.matrices)

    def forward(self, keys, x):
        parts = [x[self.others[0]]]
        for (at, rows, columns, r), other in zip(self.matrices, self.others[1:]):
            pairs = factors_of(x[at:at + rows * columns].reshape(rows, columns), r)
            parts += [part for pair in pairs for part in pair] + [x[other]]
        return b"", np.concatenate(parts)

    def inverse(self, keys, side, y):
        x, at = np.zeros(self.n), 0
        for i, other in enumerate(self.others):
            size = other.stop - other.start
            x[other] = y[at:at + size]
            at += size
            if i < len(self.matrices):
                start, rows, columns, r = self.matrices[i]
                pairs = y[at:at + r * (rows + columns)].reshape(r, rows + columns)
                at += r * (rows + columns)
                x[start:start + rows * columns] = product([(p[:rows], p[rows:]) for p in pairs], rows, columns).reshape(-1)
        return x


def bfloats(values):
    """Bit patterns of f32 values, to nearest, ties to even."""
    raw = np.asarray(values, F32).view(np.uint32).astype(np.int64)
    return (raw + 0x7FFF + ((raw >> 16) & 1)) >> 16


def from_bfloats(patterns):
    return (np.asarray(patterns, np.int64) << 16).astype(np.uint32).view(F32).astype(np.float64)


class Predict(Transform):
    keeps_tensors = True

    def __init__(self, stage, position, shapes):
        super().__init__(stage, position, shapes)
        self.matrices, _ = matrices(shapes, stage["rank"])
        self.linear = not self.matrices

    def forward(self, keys, x):
        side, rest = b"", x.copy()
        for number, (at, rows, columns, r) in enumerate(self.matrices):
            part = slice(at, at + rows * columns)
            pairs = [tuple(map(bfloats, pair)) for pair in factors_of(x[part].reshape(rows, columns), r)]
            pairs = pairs[:r - number % 2]  # any number will do
            side += varint(len(pairs)) + b"".join(np.concatenate(pair).astype("<u2").tobytes() for pair in pairs)
            p = product([tuple(map(from_bfloats, pair)) for pair in pairs], rows, columns).reshape(-1)
            rest[part] = (x[part].astype(np.float64) - p).astype(F32)
        return side, rest

    def read_side(self, data):
        found = []
        for _, rows, columns, r in self.matrices:
            count, at = read_varint(data, 0)
            refuse_if(count > r, "more pairs than there can be")
            end = at + 2 * count * (rows + columns)
            refuse_if(len(data) < end, "factors are cut off")
            values = from_bfloats(np.frombuffer(data[at:end], "<u2")).reshape(count, rows + columns)
            refuse_if(not np.all(np.isfinite(values)), "a factor that is not finite")
            found.append([(pair[:rows], pair[rows:]) for pair in values])
            data = data[end:]
        return found, data

    def inverse(self, keys, side, y):
        x = y.copy()
        for (at, rows, columns, _), pairs in zip(self.matrices, side):
            x[at:at + rows * columns] += product(pairs, rows, columns).reshape(-1)
        return x


class PermK(Transform):
    def __init__(self, stage, position, shapes):
        super().__init__(stage, position, shapes)
        self.outputs = -(-self.n // stage["cohort"])

    def block(self, keys):
        place, size = keys.cohort
        refuse_if(size != self.stage["cohort"], "a cohort of another size")
        random = iter(words(keys.key(self.position, PERMUTATION, False), 2 * (self.n + 1)).tolist())

        def below(bound):
            return (next(random) + (next(random) << 32)) * bound >> 64

        q = (place + below(size)) % size
        order = list(range(self.n))
        for i in range(self.n):
            other = i + below(self.n - i)
            order[i], order[other] = order[other], order[i]
        return np.array(order[q * self.n // size:(q + 1) * self.n // size], np.int64)

    def forward(self, keys, x):
        kept_ = x[self.block(keys)]
        return b"", np.concatenate([kept_, np.zeros(self.outputs - len(kept_), F32)])

    def inverse(self, keys, side, y):
        x, block = np.zeros(self.n), self.block(keys)
        x[block] = y[:len(block)] * self.stage["cohort"]
        return x


class CountSketch(Transform):
    def __init__(self, stage, position, shapes):
        super().__init__(stage, position, shapes)
        self.private, self.linear = stage["seed"] == "client", stage["estimate"] == "mean"
        self.rows = self.columns = min(stage["rows"], self.n)
        if self.n:
            wanted = stage["columns"] or math.floor((stage["keep"] or 0) * self.n / self.rows + 0.5)
            self.columns = min(max(wanted, 1), self.n // self.rows)
        self.outputs = self.rows * self.columns

    def cells(self, keys):
        """Cell and sign of coordinate i in row r, shapes [n, R]."""
        count = self.n * self.rows
        g = np.arange(count)
        places = words(keys.key(self.position, SKETCH_CELL, self.private), count).astype(np.uint64)
        cell = (g % max(self.rows, 1)) * self.columns + (places * np.uint64(self.columns) >> np.uint64(32)).astype(np.int64)
        bits = words(keys.key(self.position, SKETCH_SIGN, self.private), -(-count // 32))
        minus = bits[g // 32] >> (g % 32).astype(np.uint32) & 1
        return cell.reshape(-1, self.rows or 1), np.where(minus, -1.0, 1.0).reshape(-1, self.rows or 1)

    def forward(self, keys, x):
        y = np.zeros(self.outputs)
        for i, (cells, signs) in enumerate(zip(*self.cells(keys))):
            y[cells] += signs * float(x[i])
        return b"", y.astype(F32)

    def inverse(self, keys, side, y):
        cells, signs = self.cells(keys)
        if self.n == 0:
            return np.zeros(0)
        read = y[cells] * signs
        if self.linear:
            total = np.zeros(self.n)
            for row in range(self.rows):
                total += read[:, row]
            return total / self.rows
        ordered, half = np.sort(read, 1), self.rows // 2
        return ordered[:, half] if self.rows % 2 else (ordered[:, half - 1] + ordered[:, half]) / 2


TRANSFORMS = {"mask": Mask, "hadamard": Hadamard, "lowrank": LowRank, "topk": TopK, "predict": Predict,
              "permk": PermK, "countsketch": CountSketch}


# ---- quantizers (6) --------------------------------------------------------------------------------------------------
class Quantize:
    def __init__(self, stage, position, n):
        self.position, self.n = position, n
        self.alphabet = 1 << stage["bits"]
        self.steps = self.alphabet - 1
        self.block = n if stage["block"] == 0 or stage["block"] > n else stage["block"]

    def blocks(self):
        return [(b, slice(b * self.block, min(self.n, (b + 1) * self.block)))
                for b in range(-(-self.n // self.block) if self.n else 0)]

    def quantize(self, keys, x):
        side, symbols = b"", np.zeros(self.n, np.int64)
        for b, part in self.blocks():
            v = x[part]
            lo, hi = v.min() + F32(0), v.max() + F32(0)
            side += struct.pack("<ff", lo, hi)
            if lo == hi:
                continue
            exponent = 1 - math.frexp(float(max(abs(lo), abs(hi))))[1]
            first = min(max(exponent, -126), 127)
            p1, p2 = F32(2.0 ** first), F32(2.0 ** (exponent - first))
            normal = (v * p1) * p2
            low, high = (lo * p1) * p2, (hi * p1) * p2
            slope = F32(self.steps / (float(high) - float(low)))
            place = np.minimum((normal - low) * slope, F32(self.steps))
            fixed = np.rint(place.astype(np.float64) * 2 ** 23).astype(np.int64)
            g = b * 32 * (-(-self.block // 32)) + np.arange(len(v))
            word = words(keys.key(self.position, ROUNDING, True), 16 * (int(g[-1]) // 32 + 1))[16 * (g // 32) + g % 16]
            swapped = (word << np.uint32(16)) | (word >> np.uint32(16))
            dither = (np.where((g // 16) % 2 == 1, swapped, word) >> np.uint32(9)).astype(np.int64)
            symbols[part] = (fixed + dither) >> 23
        return side, symbols

    def ranges(self, side):
        return [struct.unpack_from("<ff", side, 8 * b) for b, _ in self.blocks()]

    def read_side(self, data):
        size = 8 * len(self.blocks())
        refuse_if(len(data) < size, "side values are cut off")
        for lo, hi in self.ranges(data):
            refuse_if(not (math.isfinite(lo) and math.isfinite(hi) and lo <= hi), "a range that is none")
            refuse_if(any(v == 0 and math.copysign(1, v) < 0 for v in (lo, hi)), "a negative zero")
        return data[:size], data[size:]

    def dequantize(self, side, symbols, weight):
        x = np.zeros(self.n)
        for (_, part), (lo, hi) in zip(self.blocks(), self.ranges(side)):
            refuse_if(lo == hi and np.any(symbols[part]), "symbols in a block of one value")
            x[part] = weight * lo + (weight * ((hi - lo) / self.steps)) * symbols[part]
        return x


class FloatFormat:
    def __init__(self, stage, position, n):
        self.name = stage.name
        self.alphabet = 1 << (32 if stage.name == "f32" else 16)

    def quantize(self, keys, x):
        if self.name == "f32":
            bits = x.view(np.uint32)
        elif self.name == "f16":
            with np.errstate(over="ignore"):
                bits = x.astype(np.float16).view(np.uint16)
        else:
            raw = x.view(np.uint32).astype(np.int64)
            bits = (raw + 0x7FFF + ((raw >> 16) & 1)) >> 16
        refuse_if(not np.all(np.isfinite(self.dequantize_bits(bits.astype(np.int64)))), "a value beyond the format")
        return b"", bits.astype(np.int64)

    def dequantize_bits(self, bits):
        if self.name == "f16":
            return bits.astype(np.uint16).view(np.float16).astype(np.float64)
        return (bits << (0 if self.name == "f32" else 16)).astype(np.uint32).view(np.float32).astype(np.float64)

    def read_side(self, data):
        return b"", data

    def dequantize(self, side, symbols, weight):
        x = self.dequantize_bits(symbols)
        refuse_if(not np.all(np.isfinite(x)), "a value is NaN or infinite")
        return weight * x


def lane_sum(terms):
    """Sixteen lanes, each in rising order, then halves onto halves (6)."""
    lanes = np.zeros(16)
    for start in range(0, len(terms), 16):
        part = terms[start:start + 16]
        lanes[:len(part)] += part
    while len(lanes) > 1:
        lanes = lanes[:len(lanes) // 2] + lanes[len(lanes) // 2:]
    return float(lanes[0])


def read_table(heading):
    """Rows of the table under a heading of docs/scalar-tables.md, as lists of numbers."""
    text = (pathlib.Path(__file__).parents[2] / "docs" / "scalar-tables.md").read_text()
    rows = re.findall(r"^\| ([\d.]+) \| (.*) \|$", text.split(f"## `{heading}`")[1].split("##")[0], flags=re.M)
    return {float(key): [float(v) for v in values.split()] for key, values in rows}


def read_scale(data, n):
    """A scale of f32 from 0, where there are values."""
    if n == 0:
        return b"", data
    refuse_if(len(data) < 4, "the scale is cut off")
    scale = struct.unpack_from("<f", data)[0]
    refuse_if(not math.isfinite(scale) or math.copysign(1, scale) < 0, "a scale that is none")
    return data[:4], data[4:]


def scale_of(side):
    return float(np.frombuffer(side, "<f4")[0]) if side else 0.0


def f32(value):
    with np.errstate(over="ignore"):
        scale = F32(value)
    refuse_if(not np.isfinite(scale), "a scale beyond f32")
    return scale


class Lloyd:
    def __init__(self, stage, position, n):
        self.n, self.alphabet = n, 1 << stage["bits"]
        positive = np.array(read_table("lloyd")[stage["bits"]])
        self.levels = np.concatenate([-positive[::-1], positive])

    def quantize(self, keys, x):
        if self.n == 0:
            return b"", np.zeros(0, np.int64)
        energy = lane_sum(x.astype(np.float64) ** 2)
        sigma = math.sqrt(energy / self.n)
        thresholds = (sigma * ((self.levels[:-1] + self.levels[1:]) / 2)).astype(F32)
        symbols = (thresholds[None, :] <= x[:, None]).sum(1)
        along = lane_sum(x.astype(np.float64) * self.levels[symbols])
        scale = f32(energy / along if energy else 0)
        return struct.pack("<f", scale), symbols * int(scale != 0)

    def read_side(self, data):
        return read_scale(data, self.n)

    def dequantize(self, side, symbols, weight):
        scale = scale_of(side)
        refuse_if(scale == 0 and np.any(symbols), "symbols without a scale")
        return (weight * scale) * self.levels[symbols]


def signed(levels, negative):
    return np.where(levels == 0, 0, 2 * levels - negative)


def levels_of(symbols):
    return np.where(symbols % 2 == 1, -((symbols + 1) // 2), symbols // 2).astype(np.float64)


def round_at_random(magnitudes, word):
    t = np.rint(magnitudes * 2.0 ** 32).astype(np.int64)
    return (t + word.astype(np.int64)) >> 32


class Qsgd:
    def __init__(self, stage, position, n):
        self.position, self.n, self.levels = position, n, stage["levels"]
        self.alphabet = 2 * self.levels + 1
        self.bucket = n if stage["bucket"] == 0 or stage["bucket"] > n else stage["bucket"]

    def buckets(self):
        return [slice(b * self.bucket, min(self.n, (b + 1) * self.bucket))
                for b in range(-(-self.n // self.bucket) if self.n else 0)]

    def quantize(self, keys, x):
        side, symbols = b"", np.zeros(self.n, np.int64)
        word = words(keys.key(self.position, ROUNDING, True), self.n)
        for part in self.buckets():
            v = x[part].astype(np.float64)
            scale = f32(math.sqrt(lane_sum(v ** 2)))
            side += struct.pack("<f", scale)
            if scale:
                levels = round_at_random(np.abs(v) * (self.levels / float(scale)), word[part])
                symbols[part] = signed(levels, v < 0)
        return side, symbols

    def read_side(self, data):
        side = b""
        for _ in self.buckets():
            one, data = read_scale(data, 1)
            side += one
        return side, data

    def dequantize(self, side, symbols, weight):
        x = np.zeros(self.n)
        for i, part in enumerate(self.buckets()):
            scale = scale_of(side[4 * i:4 * i + 4])
            refuse_if(scale == 0 and np.any(symbols[part]), "symbols without a scale")
            x[part] = (weight * (scale / self.levels)) * levels_of(symbols[part])
        return x


class Ternary:
    alphabet = 3

    def __init__(self, stage, position, n):
        self.position, self.n = position, n

    def quantize(self, keys, x):
        if self.n == 0:
            return b"", np.zeros(0, np.int64)
        scale = np.abs(x).max()
        word = words(keys.key(self.position, ROUNDING, True), self.n)
        levels = round_at_random(np.abs(x).astype(np.float64) * (1 / float(scale) if scale else 0), word)
        return struct.pack("<f", scale), signed(levels, x < 0)

    def read_side(self, data):
        return read_scale(data, self.n)

    def dequantize(self, side, symbols, weight):
        scale = scale_of(side)
        refuse_if(scale == 0 and np.any(symbols), "symbols without a scale")
        return (weight * scale) * levels_of(symbols)


class Natural:
    alphabet = 511

    def __init__(self, stage, position, n):
        self.position, self.n = position, n

    def quantize(self, keys, x):
        if self.n == 0:
            return b"", np.zeros(0, np.int64)
        most = float(np.abs(x).max())
        refuse_if(most > 2.0 ** 127, "a value over 2^127")
        high = most > 2.0 ** 105
        least = -127 if high else -149
        random = words(keys.key(self.position, ROUNDING, True), self.n) >> np.uint32(9)
        symbols = []
        for value, r in zip(x.astype(np.float64), random):
            magnitude = abs(float(value))
            if high and magnitude < 2.0 ** -127:
                j = 0 if int(r) < 2 * int(magnitude * 2.0 ** 149) else None
            else:
                fraction, e = math.frexp(magnitude)   # in [1/2, 1)
                j = None if magnitude == 0 else e - 1 - least + (int(r) < int((2 * fraction - 1) * 2 ** 23))
            symbols.append(0 if j is None else 1 + 2 * j + (value < 0))
        return bytes([high]), np.array(symbols, np.int64)

    def read_side(self, data):
        if self.n == 0:
            return b"", data
        refuse_if(not data or data[0] > 1, "no range of exponents")
        return data[:1], data[1:]

    def dequantize(self, side, symbols, weight):
        if self.n == 0:
            return np.zeros(0)
        exponent = (-127 if side[0] else -149) + (symbols - 1) // 2
        refuse_if(side[0] and np.where(symbols == 0, -1000, exponent).max() < 105, "the range of larger values")
        power = np.where(symbols == 0, 0.0, np.ldexp(1.0, exponent))
        return weight * np.where(symbols % 2 == 1, power, -power)


class Sign:
    alphabet = 2

    def __init__(self, stage, position, n):
        self.n = n

    def quantize(self, keys, x):
        if self.n == 0:
            return b"", np.zeros(0, np.int64)
        scale = f32(lane_sum(np.abs(x).astype(np.float64)) / self.n)
        return struct.pack("<f", scale), ((x < 0) & (scale != 0)).astype(np.int64)

    def read_side(self, data):
        return read_scale(data, self.n)

    def dequantize(self, side, symbols, weight):
        scale = scale_of(side)
        refuse_if(scale == 0 and np.any(symbols), "symbols without a scale")
        return np.where(symbols == 1, -(weight * scale), weight * scale)


class Ecsq:
    alphabet = 4095

    def __init__(self, stage, position, n):
        self.n, bits = n, stage["bits"]
        table = [(key, values[0]) for key, values in read_table("ecsq").items()]
        (b0, s0), (b1, s1) = next(pair for pair in zip(table, table[1:]) if pair[0][0] <= bits <= pair[1][0])
        self.step = s1 if bits == b1 else s0 + (s1 - s0) * ((bits - b0) / (b1 - b0))

    def levels(self, x, step):
        return np.minimum(np.rint(np.abs(x).astype(np.float64) * (1 / step)), 2047).astype(np.int64)

    def quantize(self, keys, x):
        if self.n == 0:
            return b"", np.zeros(0, np.int64)
        energy = lane_sum(x.astype(np.float64) ** 2)
        if energy == 0:
            return struct.pack("<f", 0), np.zeros(self.n, np.int64)
        levels = self.levels(x, math.sqrt(energy / self.n) * self.step)
        if not np.any(levels):
            levels = self.levels(x, 1.5 * float(np.abs(x).max()))
        scale = f32(energy / lane_sum(np.abs(x).astype(np.float64) * levels))
        return struct.pack("<f", scale), signed(levels, x < 0) * int(scale != 0)

    def read_side(self, data):
        return read_scale(data, self.n)

    def dequantize(self, side, symbols, weight):
        scale = scale_of(side)
        refuse_if(self.n and (scale == 0) == bool(np.any(symbols)), "a scale without symbols, or symbols without one")
        return (weight * scale) * levels_of(symbols)


# ---- `dither` and `trellis` (6) --------------------------------------------------------------------------------------
with decimal.localcontext(prec=50):
    POWERS = [float(decimal.Decimal(2) ** (decimal.Decimal(i) / 32)) for i in range(32)]
STEP = 1 << 24  # dither and places are in 2^-24 steps
NONE = -1 << 20  # of a value without a class
PRIOR = [4, 16, 14, 14, 12, 12, 9, 9, 7, 7, 5, 5, 4, 4, 3, 3, 3, 3] + [2] * 7 + [1] * 39
MOST_CLASS = 1200
ZERO_CODE, FLAT_CODE, MOST_CODE = 8191, 8190, 8189


def power(e):
    return math.ldexp(POWERS[e % 32], e // 32)


def limited(value, least, most):
    return min(max(value, least), most)


def zigzag(v):
    return 2 * v if v >= 0 else -2 * v - 1


def unzigzag(z):
    return -(z + 1) // 2 if z % 2 else z // 2


def class_of(energy):
    if energy == 0:
        return NONE
    f, e = math.frexp(energy)
    f, e = 2 * f, e - 1
    return 2 * e + (f * f >= power(16)) + (f * f >= power(48))


def coarser(run, values_each):
    top, narrow = max(run), 4 if values_each <= 24 else 2 if values_each <= 120 else 1

    def one(c):
        width = narrow * (1 if c > top - 16 else 2 if c > top - 32 else 4)
        return top - (top - c + width // 2) // width * width

    return [c if c == NONE else one(c) for c in run]


class Counts:
    """Of the symbols that classes are sent as."""

    def __init__(self):
        self.counts = list(PRIOR)

    def interval(self, s):
        return self.edge(s), self.edge(s + 1) - self.edge(s)

    def edge(self, s):
        return s + sum(self.counts[:s]) * ((1 << 15) - 64) // sum(self.counts)

    def find(self, slot):
        s = max(s for s in range(64) if self.edge(s) <= slot)
        return s, self.interval(s)

    def add(self, s):
        self.counts[s] += 16
        if sum(self.counts) >= 1 << 14:
            self.counts = [(n + 1) // 2 for n in self.counts]


def predict(run, i, base, way, lag):
    def before(k):
        return base if k > i or run[i - k] == NONE else run[i - k]

    if way == 0:
        return base
    if way == 1 or i <= lag:
        return before(1)
    return max(-2 * MOST_CLASS, min(2 * MOST_CLASS, before(1) + before(lag) - before(lag + 1)))


def write_runs(runs, heads=()):
    """heads: base, way and lag of each run, where they are not those that suit it."""
    out = []

    def bits(run, base, way, lag):
        return sum(zigzag(c - predict(run, i, base, way, lag)).bit_length() for i, c in enumerate(run) if c != NONE)

    for number, run in enumerate(runs):
        there = [c for c in run if c != NONE]
        mean = abs(sum(there)) + len(there) // 2
        base = (mean // len(there)) * (1 if sum(there) >= 0 else -1) if there else 0
        ways = [(0, 0), (1, 0)] + [(2, lag) for lag in range(2, min(len(run) // 4, 64))]
        way, lag = min(ways, key=lambda one: bits(run, base, *one))
        base, way, lag = heads[number] if heads else (base, way, lag)
        out += [equally_likely(base + 2048, 12), equally_likely(way, 2)]
        if way == 2:
            out.append(equally_likely(lag, 6))
        counts = Counts()
        for i, c in enumerate(run):
            z = 0 if c == NONE else zigzag(c - predict(run, i, base, way, lag)) + 1
            out.append(counts.interval(min(z, 63)))
            counts.add(min(z, 63))
            if z >= 63:
                out.append(equally_likely(z - 63, 13))
    coded = write_range_coded([(interval, 0) for interval in out])
    return varint(len(coded)) + coded


def read_runs(lengths, data):
    size, at = read_varint(data, 0)
    refuse_if(at + size > len(data), "classes are cut off")
    reader, runs = RangeReader(data[at:at + size]), []
    for length in lengths:
        base, way, counts = reader.bits(12) - 2048, reader.bits(2), Counts()
        lag = reader.bits(6) if way == 2 else 0
        refuse_if(way == 3 or (way == 2 and lag < 2), "a way of predicting that is none")
        runs.append([])
        for i in range(length):
            z = reader.read(counts.find)
            counts.add(z)
            if z == 63:
                z += reader.bits(13)
            c = NONE if z == 0 else predict(runs[-1], i, base, way, lag) + unzigzag(z - 1)
            refuse_if(z and abs(c) > 2 * MOST_CLASS, "a class that is none")
            runs[-1].append(c)
    reader.end()
    return runs, data[at + size:]


@functools.cache
def distribution(shape):
    """Entries −1024 … 1024."""
    spread = (0, 5, 9, 13, 18, 24, 32)[shape]
    weights = (7109, 17192, 31972, 46288, 52584, 46288, 31972, 17192, 7109)
    mixed = list(zip(weights, range(-4, 5)))
    deviation = math.sqrt(sum(w * 2 ** (j * spread / 16) for w, j in mixed) / sum(weights))
    half = [sum(w * (1 + math.erf(i / 128 * deviation * 2 ** (-j * spread / 32) / math.sqrt(2))) / 2 for w, j in mixed)
            for i in range(1024)]
    above = [math.floor(total / sum(weights) * 2 ** 20 + 0.5) for total in half] + [1 << 20]
    return [(1 << 20) - entry for entry in above[:0:-1]] + above


def check_distributions():
    """Against the hash that the text states."""
    data = b"".join(struct.pack("<2049I", *distribution(shape)) for shape in range(7))
    return xxhash.xxh3_64_intdigest(data, seed=0) == 0xB2EB58E138439B53


class Cells:
    """How likely each point is, for the values of one class."""

    def __init__(self, shape, spacing, tau):
        self.table, self.z = distribution(shape), spacing * STEP
        points = tau / spacing
        self.r = next((r for r in range(24) if points <= 4 * 2 ** r), 24)
        self.half = (1 << self.r) // 2
        self.w = math.floor(min(4.5 * (points / 2 ** self.r), 24)) + 2
        self.slope = math.floor(min(2 ** 27 / tau, 2.0 ** 37) + 0.5)

    def f(self, y):
        return self.table[1024 + limited((y * self.slope + (1 << 43)) >> 44, -1024, 1024)]

    def edge(self, d, b):
        if b == -self.w or b > self.w:
            return 0 if b < 0 else 1 << 15
        place = d + ((b << self.r) - self.half) * self.z - self.z // 2
        return b + self.w + (self.f(place) * ((1 << 15) - (2 * self.w + 1)) >> 20)

    def nearest(self, v):
        """The number of the point next to 0, and where it is."""
        number = (v + self.z // 2) // self.z
        return number, self.z * number - v

    @staticmethod
    def pieces(bits):
        return ([bits % 15] if bits % 15 else []) + bits // 15 * [15]

    def raw(self, value, bits):
        out = []
        for count in self.pieces(bits):
            bits -= count
            out.append(equally_likely(value >> bits & ((1 << count) - 1), count))
        return out

    def write(self, v, m):
        number, d = self.nearest(v)
        b, low = divmod(m - number + self.half, 1 << self.r)
        near = limited(b, -self.w, self.w)
        out = [(self.edge(d, near), self.edge(d, near + 1) - self.edge(d, near))]
        if abs(near) == self.w:
            excess = abs(b) - self.w + 1
            digits = excess.bit_length()
            out += [equally_likely(0, 1)] * (digits - 1) + [equally_likely(1, 1)]
            out += self.raw(excess - (1 << (digits - 1)), digits - 1)
        return out + self.raw(low, self.r)

    def read(self, reader, lane, v):
        number, d = self.nearest(v)

        def find(slot):
            b = 0
            while self.edge(d, b) > slot:
                b -= 1
            while self.edge(d, b + 1) <= slot:
                b += 1
            return b, (self.edge(d, b), self.edge(d, b + 1) - self.edge(d, b))

        def raw(bits):
            value = 0
            for count in self.pieces(bits):
                value = (value << count) + reader.bits(count, lane)
            return value

        b = reader.read(find, lane)
        if abs(b) == self.w:
            digits = 1
            while reader.bits(1, lane) == 0:
                digits += 1
                refuse_if(digits > 31, "a point too far away")
            b += (1 if b > 0 else -1) * ((1 << (digits - 1)) + raw(digits - 1) - 1)
        return (b << self.r) + raw(self.r) + number - self.half


class Steps:
    """Of one class: how likely values are kept, step, and what the coder knows."""

    def __init__(self, lattice, c, level, gain, shape, given_step):
        s, q, g, _, _ = lattice
        self.p, rho = 1.0, None
        if given_step is not None:
            self.step = given_step
        else:
            a = 8 * c - level
            t = (q * (1 + q)) * power(-2 * a) if a > 0 else 0
            rho = (2 * t) / (1 + math.sqrt(1 + 4 * t)) if a > 0 else q
            if a < 0:
                self.p = max(1.0, math.floor(power(max(a, -1024)) * 2 ** 32)) / 2 ** 32
            self.step = power(8 * limited(c + gain, -MOST_CLASS, MOST_CLASS)) * math.sqrt(rho / g)
            self.noise = (power(16 * limited(c + gain, -MOST_CLASS, MOST_CLASS)) * rho) / (self.p * self.p)
        sigma = power(8 * limited(c + gain, -MOST_CLASS, MOST_CLASS)) / self.step
        tau = math.sqrt(max(sigma * sigma - (s * s / 12 - g) / 2, 0.01))
        self.cells = Cells(shape, s, tau)


class Dithered:
    """Drives the range coder itself. Settings are (shape, code, gain), without a code where step= is given; None: all is
    zero. `settings` are those that a writer takes, `found` those that were read; `by_tensor`, that scales are one a tensor, likewise.
    """

    alphabet = 1 << 32
    lattices = {1: (1, 1.0, 1 / 12, 0, 0), 8: (2, 1.2, 0.25955, 5, 2), 64: (2, 1.2, 0.24988, 33, 10),
                256: (2, 1.2, 0.24539, 166, 121)}
    tensors = ()  # shapes

    def __init__(self, stage, position, n):
        self.position, self.n, self.scale, self.given_step = position, n, stage["scale"], stage["step"]
        self.states = 1 if stage.name == "dither" else stage["states"]
        self.correlated = stage.name == "dither" and stage["correlated"] == 1
        self.lattice = self.lattices[self.states]
        self.settings = self.found = None
        self.by_tensor = self.found_by_tensor = False

    # -- classes
    def parts(self):
        """(rows, columns, block): a vector has one row."""
        if self.scale in ("flat", "profile") or self.n == 0:
            return []
        if self.scale.startswith("block:"):
            return [(1, self.n, int(self.scale[6:]))]
        parts = []
        for shape in self.tensors:
            size = math.prod(shape)
            rows = shape[0] if len(shape) >= 2 and size else 1
            if size:
                parts.append((1, size, 256) if rows == 1 or rows == size else (rows, size // rows, None))
        return parts

    def lengths(self):
        return [length for rows, columns, block in self.parts()
                for length in ([rows, columns] if rows > 1 else [-(-columns // block)])]

    def fit(self, x):
        """Runs of classes that suit the values."""
        def mean(terms):
            total = 0.0
            for term in terms:
                total += term
            return total / max(len(terms), 1)

        runs, at = [], 0
        for rows, columns, block in self.parts():
            own = x[at:at + rows * columns].astype(np.float64)
            at += rows * columns
            squares = (own * own).reshape(rows, columns)
            if self.by_tensor:
                c = class_of(mean(squares.reshape(-1)))
                runs += [[c] * (-(-columns // block))] if rows == 1 else [[c] * rows, [c if c == NONE else 0] * columns]
                continue
            if rows == 1:
                runs.append([class_of(mean(squares[0, b:b + block])) for b in range(0, columns, block)])
                continue
            row = [class_of(mean(values)) for values in squares]
            column = self.fit_columns(squares, row, mean)
            row = [c if c == NONE else
                   class_of(mean([v * power(-16 * own) for v, own in zip(values, column) if own != NONE]))
                   for c, values in zip(row, squares)]
            row = coarser(row, columns)
            runs += [row, coarser(self.fit_columns(squares, row, mean), rows)]
        return runs

    @staticmethod
    def fit_columns(squares, row, mean):
        weighted = np.array([values * power(-16 * c) for values, c in zip(squares, row) if c != NONE])
        return [class_of(mean(column)) for column in weighted.reshape(-1, squares.shape[1]).T]

    def classes(self, runs):
        if not self.parts():
            return [0] * self.n
        classes, runs = [], iter(runs)
        for rows, columns, block in self.parts():
            if rows == 1:
                own = [c for c in next(runs) for _ in range(block)][:columns]
            else:
                row, column = next(runs), next(runs)
                floor = max(row) + max(column) - 48
                own = [NONE if NONE in (r, c) else max(r + c, floor) for r in row for c in column]
            classes += [c if c == NONE else limited(c, -MOST_CLASS, MOST_CLASS) for c in own]
        return classes

    # -- settings
    def write_settings(self, settings):
        if self.given_step is not None:
            return b"\xff" if settings is None else bytes([settings[0] << 5]) + varint(zigzag(settings[2]))
        if settings is None:
            return b"\xff\xff"
        return struct.pack("<H", settings[0] << 13 | settings[1]) + varint(zigzag(settings[2]))

    def read_settings(self, data):
        size = 1 if self.given_step is not None else 2
        refuse_if(len(data) < size, "settings are cut off")
        both = int.from_bytes(data[:size], "little")
        if both == (255 if size == 1 else 65535):
            return None, data[size:]
        shape, code = divmod(both, 32 if size == 1 else 8192)
        refuse_if(shape == 7 or code > (0 if size == 1 else MOST_CODE), "settings that are none")
        z, at = read_varint(data, size)
        refuse_if(abs(unzigzag(z)) > MOST_CLASS, "a gain that is none")
        return (shape, code, unzigzag(z)), data[at:]

    def check(self, settings, classes):
        some = any(c != NONE for c in classes)
        refuse_if(settings is not None and not some, "steps where nothing is coded")
        refuse_if(settings is None and some and self.parts(), "classes where everything is zero")

    # -- what is sent
    def open(self, keys, classes, settings):
        """Steps by class; for each kept value its number, its word and its dither."""
        if settings is None:
            return {}, [], [], []
        shape, code, gain = settings
        there = sorted(set(classes) - {NONE})
        level = 1024 + 8 * there[-1] - code
        steps = {c: Steps(self.lattice, c, level, gain, shape, self.given_step) for c in there}
        chances = words(keys.key(self.position, KEEP, True), self.n)
        kept = [i for i, c in enumerate(classes)
                if c != NONE and (steps[c].p == 1 or int(chances[i]) < steps[c].p * 2 ** 32)]
        if self.correlated:
            index, size = keys.cohort
            own = words(keys.key(self.position, DITHER, False), self.n)
            turned = [int(own[i]) - int(own[i]) % 2 + (index << 32) // size for i in kept]
            own = [(t % 2 ** 32) >> 1 << 1 | int(own[i]) % 2 for t, i in zip(turned, kept)]
        else:
            own = [int(w) for w in words(keys.key(self.position, DITHER, True), len(kept))]
        return steps, kept, own, [w >> (8 if self.states == 1 else 6) for w in own]

    @staticmethod
    def lanes(kept):
        return 1 << limited((kept >> 13).bit_length() - 1, 0, 5)

    @staticmethod
    def trellises(kept):
        return 1 if kept < 1 << 12 else 8 if kept < 1 << 15 else 32

    def next_state(self, state, k):
        _, _, _, a, b = self.lattice
        return (state >> 1) ^ (a if state % 2 else 0) ^ (b if k // 2 % 2 else 0)

    def write(self, keys, x):
        runs = self.fit(x)
        classes, settings = self.classes(runs), self.settings
        self.check(settings, classes)
        opened = steps, kept, own, dither = self.open(keys, classes, settings)
        places, costs = [], []
        top = steps[max(steps)] if steps else None
        for i, word, u in zip(kept, own, dither):
            step = steps[classes[i]]
            scaled = (-float(x[i]) if word % 2 else float(x[i])) * (1 / step.step)
            refuse_if(abs(scaled) >= 2 ** 30, "a value that is too many steps away")
            places.append(round(scaled * 2 ** 24) + u)
            costs.append(256 if self.given_step is not None
                         else math.floor(limited(256 * (step.noise / top.noise) + 0.5, 1, 256)))
        points = [(y + STEP // 2) // STEP for y in places] if self.states == 1 else self.search(places, costs)
        return self.section(runs, classes, opened, points)

    def section(self, runs, classes, opened, points):
        side = (write_runs(runs) if runs else b"") + self.write_settings(self.settings)
        steps, kept, _, dither = opened
        out, states, lanes = [], [0] * self.trellises(len(kept)), self.lanes(len(kept))
        for j, (i, u, k) in enumerate(zip(kept, dither, points)):
            state = states[j % len(states)]
            odd = 0 if self.states == 1 else state % 2
            m = k if self.states == 1 else (k - odd) // 2
            out += [(interval, j % lanes) for interval in steps[classes[i]].cells.write(u - odd * STEP, m)]
            states[j % len(states)] = self.next_state(state, k)
        return side + write_range_coded(out, lanes)

    def read(self, keys, data):
        """The values, with a weight of 1."""
        runs, data = read_runs(self.lengths(), data) if self.parts() else ([], data)
        classes = self.classes(runs)
        settings, data = self.read_settings(data)
        self.check(settings, classes)
        self.found, self.found_by_tensor = settings, all(len(set(run)) == 1 for run in runs)
        steps, kept, own, dither = self.open(keys, classes, settings)
        states, lanes = [0] * self.trellises(len(kept)), self.lanes(len(kept))
        reader, values = RangeReader(data, lanes), np.zeros(self.n)
        for j, (i, word, u) in enumerate(zip(kept, own, dither)):
            state = states[j % len(states)]
            odd = 0 if self.states == 1 else state % 2
            step = steps[classes[i]]
            m = step.cells.read(reader, j % lanes, u - odd * STEP)
            k = m if self.states == 1 else 2 * m + odd
            refuse_if(abs(k) > 2 ** 30 + 4, "a point too far away")
            states[j % len(states)] = self.next_state(state, k)
            value = (float(k * STEP - u) * 2.0 ** -24) * (step.step / step.p)
            values[i] = -value if word % 2 else value
        reader.end()
        return values

    def search(self, places, costs):
        """The cheapest points that the code allows."""
        count, total = self.trellises(len(places)), -(-len(places) // self.trellises(len(places)))
        y, weight = np.zeros(total * count, np.int64), np.zeros(total * count, np.int64)
        y[:len(places)], weight[:len(places)] = places, costs
        y, weight = y.reshape(total, count), weight.reshape(total, count)

        def choices(step):
            near = np.stack([4 * ((y[step] - w * STEP + 2 * STEP) // (4 * STEP)) + w for w in range(4)])
            d = (y[step] - near * STEP + (1 << 15)) >> 16
            return near, (d * d * weight[step] + (1 << 15)) >> 16
        return cheapest_path(self.states, self.next_state, total, count, choices)[:len(places)].tolist()


def cheapest_path(states, next_state, total, count, choices):
    """choices(step): points by k mod 4, and what they cost; each of shape (4, count)."""
    ways = [[] for _ in range(states)]   # into each state: (from, w), from rising
    for state in range(states):
        for w in (state % 2, state % 2 + 2):
            ways[next_state(state, w)].append((state, w))
    low, low_w = (np.array([way[0][part] for way in ways]) for part in (0, 1))
    high, high_w = (np.array([way[1][part] for way in ways]) for part in (0, 1))
    points, start = np.zeros((total, count), np.int64), np.zeros(count, np.int64)
    for begin in range(0, total, 4096):
        end, taken = min(begin + 4096, total), []
        metric = np.full((states, count), 1 << 40)
        metric[start, np.arange(count)] = 0
        nearest = []
        for step in range(begin, end):
            near, cost = choices(step)
            a, b = metric[low] + cost[low_w], metric[high] + cost[high_w]
            taken.append(b < a)
            metric = np.minimum(a, b)
            nearest.append(near)
        start = state = np.argmin(metric, 0)
        for step in range(end - 1, begin - 1, -1):
            upper = taken[step - begin][state, np.arange(count)]
            w = np.where(upper, high_w[state], low_w[state])
            points[step] = nearest[step - begin][w, np.arange(count)]
            state = np.where(upper, high[state], low[state])
    return points.reshape(-1)


class Tcq:
    codes = {8: (5, 2), 64: (33, 10), 256: (166, 121)}

    def __init__(self, stage, position, n):
        self.n, self.alphabet, self.states = n, 1 << stage["bits"], stage["states"]
        text = (pathlib.Path(__file__).parents[2] / "docs" / "frame-format.md").read_text()
        row = re.search(rf"^\| {self.states} \| {stage['bits']} \| ([\d ]+) \|$", text, flags=re.M)
        positive = np.array([int(v) for v in row[1].split()])
        self.integers = np.concatenate([-positive[::-1], positive])
        self.levels = self.integers / 65536
        self.count = 1 if n < 1 << 12 else 8 if n < 1 << 15 else 32

    def next_state(self, state, k):
        a, b = self.codes[self.states]
        return state // 2 ^ a * (state % 2) ^ b * (k // 2 % 2)

    def walk(self, level_of):
        states = [0] * self.count
        levels = np.zeros(self.n, np.int64)
        for i in range(self.n):
            state = states[i % self.count]
            levels[i] = level_of(i, state % 2)
            states[i % self.count] = self.next_state(state, int(levels[i]))
        return levels

    def quantize(self, keys, x):
        if self.n == 0:
            return b"", np.zeros(0, np.int64)
        x = x.astype(np.float64)
        energy = lane_sum(x ** 2)
        if energy == 0:
            return struct.pack("<f", 0), np.zeros(self.n, np.int64)
        total = -(-self.n // self.count)
        y = np.zeros(total * self.count, np.int64)
        ones = 65536 / math.sqrt(energy / self.n)
        y[:self.n] = np.rint(np.clip(x * ones, -2.0 ** 20, 2.0 ** 20))
        y = y.reshape(total, self.count)
        present = (np.arange(total * self.count) < self.n).reshape(total, self.count)

        def choices(step):
            distances = np.abs(self.integers[:, None] - y[step])
            near = np.stack([4 * np.argmin(distances[w::4], 0) + w for w in range(4)])
            d = self.integers[near] - y[step]
            return near, ((d * d + (1 << 17)) >> 18) * present[step]
        k = cheapest_path(self.states, self.next_state, total, self.count, choices)[:self.n]
        along = lane_sum(x * self.levels[k])
        if along < self.levels[self.alphabet] * math.sqrt(energy):
            far = int(np.argmax(np.abs(x)))
            last = self.alphabet
            k = self.walk(lambda i, odd: odd + ((0 if x[i] < 0 else 2 * last - 2) if i == far else
                                                last - 2 if x[i] < 0 else last))
            along = lane_sum(x * self.levels[k])
        scale = f32(energy / along)
        return struct.pack("<f", scale), k // 2 * int(scale != 0)

    def read_side(self, data):
        return read_scale(data, self.n)

    def dequantize(self, side, symbols, weight):
        scale = scale_of(side)
        refuse_if(scale == 0 and np.any(symbols), "symbols without a scale")
        return (weight * scale) * self.levels[self.walk(lambda i, odd: 2 * int(symbols[i]) + odd)]


QUANTIZERS = {"quantize": Quantize, "lloyd": Lloyd, "qsgd": Qsgd, "ternary": Ternary, "natural": Natural, "sign": Sign,
              "ecsq": Ecsq, "dither": Dithered, "trellis": Dithered, "tcq": Tcq}


# ---- coders (7) ------------------------------------------------------------------------------------------------------
def planes(bits):
    shift = 0
    for width in (32, 16, 8, 4, 2, 1):
        if bits & width:
            yield width, shift
            shift += width


def packed_size(count, bits):
    return sum(count // (512 // w) * 64 + (count % (512 // w) * w + 7) // 8 for w, _ in planes(bits))


def pack(symbols, bits):
    out = b""
    for width, shift in planes(bits):
        part = (symbols >> shift) & ((1 << width) - 1)
        run = 16 * (32 // width)
        whole = len(part) // run * run
        grouped = part[:whole].reshape(-1, 32 // width, 16)
        out += sum(grouped[:, j] << (width * j) for j in range(32 // width)).astype("<u4").tobytes() if whole else b""
        value = sum(int(v) << (width * i) for i, v in enumerate(part[whole:]))
        out += value.to_bytes(((len(part) - whole) * width + 7) // 8, "little")
    return out


def unpack(data, count, bits):
    symbols = np.zeros(count, np.int64)
    for width, shift in planes(bits):
        run = 16 * (32 // width)
        whole = count // run * run
        grouped = np.frombuffer(data, "<u4", whole * width // 32).astype(np.int64).reshape(-1, 1, 16)
        places = (width * np.arange(32 // width)).reshape(1, -1, 1)
        part = ((grouped >> places) & ((1 << width) - 1)).reshape(-1)
        data = data[whole * width // 8:]
        rest = ((count - whole) * width + 7) // 8
        value = int.from_bytes(data[:rest], "little")
        refuse_if(value >> ((count - whole) * width), "a padding bit is set")
        tail = [(value >> (width * i)) & ((1 << width) - 1) for i in range(count - whole)]
        symbols |= np.concatenate([part, np.array(tail, np.int64)]) << shift
        data = data[rest:]
    return symbols


class Following:
    """A distribution of tokens that follows what it sees."""

    def __init__(self, tokens):
        self.borders, self.seen = [(i << 30) // tokens for i in range(tokens + 1)], 0

    def follow(self, token, radius, prior, limit):
        q, width = (1 << 24) // (min(self.seen, limit) + 1 + prior), 2 * radius + 1
        for i in range(1, len(self.borders) - 1):
            j = i + radius - token
            target = 0 if j <= 0 else 1 << 30 if j >= width else j * ((1 << 30) // width)
            self.borders[i] = (self.borders[i] * ((1 << 24) - q) + target * q) >> 24
        self.seen += 1


def starts_of(borders):
    tokens = len(borders) - 1
    return [i + (border * ((1 << 15) - tokens) >> 30) for i, border in enumerate(borders)]


def interval(starts, token):
    return starts[token], starts[token + 1] - starts[token]


def token_at(starts):
    def find(slot):
        token = bisect.bisect_right(starts, slot) - 1
        return token, interval(starts, token)
    return find


def table_bits(count):
    """How many of a count's bits a table says after its first, and how many it leaves out."""
    width = count.bit_length()
    k = width // 2 - 2 if width >= 4 else 0
    return k, max(width - 1 - k, 0)


def as_in_table(count):
    return count >> table_bits(count)[1]


def table_starts(counts):
    """Intervals from counts, of which only what the table says of them matters."""
    weights = []
    for count in counts:
        left_out = table_bits(count)[1]
        least = count >> left_out << left_out
        weights.append(least + least + (1 << left_out) - 1 if count else 0)
    whole = sum(weights)
    rare = [0 < (weight << 14) < whole for weight in weights]
    shared = whole - sum(weight for weight, is_rare in zip(weights, rare) if is_rare)
    starts, a, b = [0], 0, 0
    for weight, is_rare in zip(weights, rare):
        a, b = (a, b + 1) if is_rare else (a + weight, b)
        starts.append(a * ((1 << 15) - sum(rare)) // shared + b)
    return starts


class Tokens:
    def __init__(self, alphabet, way, frequent):
        self.shift = max((alphabet - 1).bit_length() - 9, 0) if alphabet > 512 else 0
        self.classes, self.frequent = bool(way & 32), frequent if way & 64 else None
        self.count = self.split(alphabet - 1)[0] + 1
        if way & 64:
            self.last = self.count
            self.count += 1

    def split(self, symbol):
        """Token, raw bits, and how many they are."""
        if self.classes and symbol < 16:
            return symbol, 0, 0
        r = symbol.bit_length() - 4 if self.classes else self.shift
        raw = symbol & ((1 << r) - 1)
        return (16 + 8 * (r - 1) + (symbol >> r) % 8 if self.classes else symbol >> r), raw, r

    def of(self, symbol):
        return (self.last, 0, 0) if symbol == self.frequent else self.split(symbol)

    def raw_bits(self, token):
        if self.frequent is not None and token == self.last:
            return 0
        if not self.classes:
            return self.shift
        return 0 if token < 16 else (token - 16) // 8 + 1

    def symbol(self, token, raw):
        if self.frequent is not None and token == self.last:
            return self.frequent
        if not self.classes:
            return (token << self.shift) | raw
        return token if token < 16 else (8 + (token - 16) % 8 << self.raw_bits(token)) | raw


class Rans:
    """The coder `rans` for symbols of which the distribution is not known."""

    def __init__(self, alphabet, contexts=None, context_count=1):
        self.alphabet, self.contexts, self.context_count = alphabet, contexts, context_count
        self.bits = (alphabet - 1).bit_length()

    def begin(self, n, way, frequent):
        self.way, self.n = way, n
        self.lanes = 1 if way & 128 else 1 << max(min(n >> 15, 32).bit_length() - 1, 0)
        self.tokens = Tokens(self.alphabet, way, frequent)
        self.used = [int(c) for c in self.contexts] if way & 4 and self.context_count > 1 else [0] * n
        self.classes = self.context_count if way & 4 else 1

    def check(self):
        t, n, way = self.tokens.count, self.n, self.way
        refuse_if(way & 3 in (0, 3), "a way that does not exist")
        refuse_if(way & 3 == 1 and way & 24, "flags of the adaptive way")
        refuse_if(way & 4 and (self.context_count == 1 or self.context_count * t > 512 + 2 * n), "contexts")
        refuse_if(way & 8 and t < 4 or way & 16 and n <= 256, "a flag that changes nothing")
        refuse_if(way & 96 and self.alphabet <= 512, "tokens of a small alphabet")
        refuse_if(way & 128 and n >> 16 == 0, "one lane where there is one anyway")
        refuse_if(way & 3 == 2 and n > (1 << 26) // t, "more than an adaptive model may take")

    @staticmethod
    def raw(value, bits, lane=0):
        return [(equally_likely((value >> at) % (1 << min(15, bits - at)), min(15, bits - at)), lane)
                for at in range(0, bits, 15)]

    @staticmethod
    def read_raw(reader, bits, lane=0):
        return sum(reader.bits(min(15, bits - at), lane) << at for at in range(0, bits, 15))

    def start_adapting(self):
        self.own, self.shared = [Following(self.tokens.count) for _ in range(self.classes)], Following(self.tokens.count)
        self.limit = 256 if self.way & 16 else 4096
        self.radius, self.weight = 0, 4
        if self.way & 8:
            self.radius, self.weight = (self.tokens.count + 10) // 12, 4 + self.tokens.count // 2

    def adaptive_starts(self, context):
        seen = min(self.own[context].seen, self.limit)
        mu = (seen << 16) // (seen + self.weight)
        return starts_of([a * ((1 << 16) - mu) + b * mu >> 16
                          for a, b in zip(self.shared.borders, self.own[context].borders)])

    def adapt(self, context, token):
        self.own[context].follow(token, 0, 0, self.limit)
        self.shared.follow(token, self.radius, 2, self.limit)

    def write(self, symbols, way=0, frequent=None):
        symbols = [int(symbol) for symbol in symbols]
        if not symbols or self.alphabet == 1:
            return b""
        if way == 0:
            return b"\0" + pack(np.array(symbols, np.int64), self.bits)
        self.begin(len(symbols), way, frequent)
        self.check()
        out = self.raw(frequent, self.bits) if way & 64 else []
        cut = [self.tokens.of(symbol) for symbol in symbols]
        if way & 3 == 1:
            counts = [[0] * self.tokens.count for _ in range(self.classes)]
            for context, (token, _, _) in zip(self.used, cut):
                counts[context][token] += 1
            out += self.tables(counts)
            starts = [table_starts(own) if any(own) else None for own in counts]
        else:
            self.start_adapting()
        for i, (context, (token, raw, r)) in enumerate(zip(self.used, cut)):
            lane = i % self.lanes
            if way & 3 == 1:
                out.append((interval(starts[context], token), lane))
            else:
                out.append((interval(self.adaptive_starts(context), token), lane))
                self.adapt(context, token)
            out += self.raw(raw, r, lane)
        return bytes([way]) + write_range_coded(out, self.lanes)

    def tables(self, counts):
        widths, out = Following(33), []
        for own in filter(any, counts):
            before = 0
            for count in own:
                step = (count.bit_length() - before) % 33
                out.append((interval(starts_of(widths.borders), step), 0))
                widths.follow(step, 0, 2, 4096)
                before = count.bit_length()
                k, left_out = table_bits(count)
                out += self.raw((count >> left_out) % (1 << k), k)
        return out

    def read_tables(self, reader):
        widths, counts = Following(33), [[0] * self.tokens.count for _ in range(self.classes)]
        for context in sorted(set(self.used)):
            before = 0
            for token in range(self.tokens.count):
                step = reader.read(token_at(starts_of(widths.borders)))
                widths.follow(step, 0, 2, 4096)
                before = (before + step) % 33
                k, left_out = table_bits(1 << before >> 1)
                if before:
                    counts[context][token] = (1 << k | self.read_raw(reader, k)) << left_out
            refuse_if(not any(counts[context]), "a table without counts")
        return counts

    def read(self, data, n):
        if n == 0 or self.alphabet == 1:
            refuse_if(data, "bytes where there is nothing to say")
            return np.zeros(n, np.int64)
        refuse_if(not data, "no way is named")
        way, data = data[0], data[1:]
        if way == 0:
            refuse_if(len(data) != packed_size(n, self.bits), "another number of packed bytes")
            return unpack(data, n, self.bits)
        self.begin(n, way, 0)
        self.check()
        reader = RangeReader(data, self.lanes)
        if way & 64:
            self.tokens.frequent = self.read_raw(reader, self.bits)
        if way & 3 == 1:
            counts = self.read_tables(reader)
            starts = [table_starts(own) if any(own) else None for own in counts]
        else:
            self.start_adapting()
        symbols, seen = [], [[0] * self.tokens.count for _ in range(self.classes)]
        for i, context in enumerate(self.used):
            lane = i % self.lanes
            token = reader.read(token_at(starts[context] if way & 3 == 1 else self.adaptive_starts(context)), lane)
            if way & 3 == 2:
                self.adapt(context, token)
            seen[context][token] += 1
            symbols.append(self.tokens.symbol(token, self.read_raw(reader, self.tokens.raw_bits(token), lane)))
            refuse_if(self.tokens.of(symbols[-1])[0] != token, "a frequent symbol by another token than its own")
        reader.end()
        refuse_if(way & 64 and self.tokens.frequent not in symbols, "a frequent symbol that does not occur")
        refuse_if(way & 3 == 1 and [list(map(as_in_table, own)) for own in counts] !=
                  [list(map(as_in_table, own)) for own in seen], "a table of other symbols")
        self.found = way, self.tokens.frequent
        return np.array(symbols, np.int64)


# ---- sections (3) ----------------------------------------------------------------------------------------------------
class Chain:
    def __init__(self, rule, shapes):
        n = sum(map(math.prod, shapes))
        self.rule, self.transforms, self.inputs = rule, [], n
        for position, stage in enumerate(rule.transforms):
            transform = TRANSFORMS[stage.name](stage, position, shapes)
            self.transforms.append(transform)
            n = transform.outputs
            shapes = shapes if transform.keeps_tensors else [(n,)]
        self.linear = all(transform.linear for transform in self.transforms)
        kind = QUANTIZERS.get(rule.quantizer.name, FloatFormat)
        self.values, self.quantizer = n, kind(rule.quantizer, len(rule.transforms), n)
        self.bits = (self.quantizer.alphabet - 1).bit_length()
        self.rans = Rans(self.quantizer.alphabet)
        self.way = (0, None)   # of `rans`, and its frequent symbol: the writer's choice
        self.known = isinstance(self.quantizer, Dithered)   # it says how its symbols are distributed
        self.quantizer.tensors = shapes

    def encode(self, keys, x):
        sides = b""
        for transform in self.transforms:
            with np.errstate(over="ignore", invalid="ignore"):
                side, x = transform.forward(keys, x)
            sides += side
            refuse_if(not np.all(np.isfinite(x)), "a transform overflows f32")
        if self.known:
            return sides + self.quantizer.write(keys, x)
        side, symbols = self.quantizer.quantize(keys, x)
        if self.rule.coder.name == "rans":
            return sides + side + self.rans.write(symbols, *self.way)
        data = pack(symbols, self.bits)
        if self.rule.coder.name == "zstd":
            data = zstandard.ZstdCompressor(self.rule.coder["level"], write_content_size=False).compress(data)
        return sides + side + data

    def read(self, keys, data):
        """Side values of the transforms, those of the quantizer, and symbols; of one whose distribution is known, values."""
        sides = []
        for transform in self.transforms:
            side, data = transform.read_side(data)
            sides.append(side)
        if self.known:
            return sides, None, self.quantizer.read(keys, data)
        side, data = self.quantizer.read_side(data)
        size = packed_size(self.values, self.bits)
        if self.rule.coder.name == "rans":
            symbols = self.rans.read(data, self.values)
            refuse_if(np.any(symbols >= self.quantizer.alphabet), "a symbol outside the alphabet")
            return sides, side, symbols
        if self.rule.coder.name == "zstd":
            refuse_if(data[:4] != b"\x28\xb5\x2f\xfd", "no zstd frame")
            try:
                stated = zstandard.frame_content_size(data)
                refuse_if(stated not in (-1, size), "a zstd frame of another size")
                reader = zstandard.ZstdDecompressor(max_window_size=1 << 31)
                data = reader.decompress(data, size, allow_extra_data=False)
            except zstandard.ZstdError as error:
                raise Refused(str(error)) from None
        refuse_if(len(data) != size, f"{len(data)} bytes of symbols, {size} are due")
        symbols = unpack(data, self.values, self.bits)
        refuse_if(np.any(symbols >= self.quantizer.alphabet), "a symbol outside the alphabet")
        return sides, side, symbols

    def decode(self, keys, data, weight=1.0, stop=0):
        """The weighted values behind the first `stop` transforms."""
        sides, side, symbols = self.read(keys, data)
        own = weight if self.linear else 1.0
        x = own * symbols if self.known else self.quantizer.dequantize(side, symbols, own)
        for transform, own in reversed(list(zip(self.transforms, sides))[stop:]):
            x = transform.inverse(keys, own, x)
        return x if self.linear else weight * x

    def shared_front(self):
        """How many transforms at its front all clients of a round share, and the values behind them (9)."""
        count = next((i for i, t in enumerate(self.transforms) if t.private or not t.linear), len(self.transforms))
        return count, self.transforms[count - 1].outputs if count else self.inputs


# ---- structured plans (8) --------------------------------------------------------------------------------------------
class Family:
    def __init__(self, stage, layout):
        self.stage, self.layout = stage, layout
        self.free_layout = [(name, self.free_shape(shape)) for name, shape in layout]

    def free_shape(self, shape):
        size = math.prod(shape)
        if self.stage.name == "mask":
            return (kept(self.stage["keep"], size),)
        if len(shape) < 2 or size == 0 or self.stage["rank"] >= shape[0]:
            return shape
        return (self.stage["rank"], size // shape[0])

    def expand(self, seed, round_, free):
        keys, update, at = Keys(seed, round_, 0, STRUCTURE_GROUP), [], 0
        for t, ((_, shape), (_, free_shape)) in enumerate(zip(self.layout, self.free_layout)):
            size = math.prod(shape)
            own = free[at:at + math.prod(free_shape)]
            at += len(own)
            if self.stage.name == "mask":
                part = np.zeros(size)
                part[subset(keys.key(t, FAMILY_MASK, False), size, len(own))] = own
            elif free_shape == shape:
                part = own
            else:
                rows, rank = shape[0], free_shape[0]
                minus = words(keys.key(t, FAMILY_FACTOR, False), rows * rank) >> np.uint32(31) == 1
                factor = np.where(minus, -1.0, 1.0).reshape(rows, rank) / math.sqrt(rows)
                part = (factor @ own.reshape(free_shape)).reshape(-1)
            update.append(part + 0.0)  # no -0 (8)
        return np.concatenate(update) if update else np.zeros(0)


# ---- frames (1) ------------------------------------------------------------------------------------------------------
def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def read_varint(data, at):
    value, start = 0, at
    while True:
        refuse_if(at >= len(data), "a number is cut off")
        byte = data[at]
        value |= (byte & 0x7F) << (7 * (at - start))
        at += 1
        if byte < 0x80:
            refuse_if((byte == 0 and at - start > 1) or value > MASK64, "a padded or overlong number")
            return value, at
        refuse_if(at - start >= 10, "an overlong number")


def checksum(before, after):
    return xxhash.xxh3_64_intdigest(after, seed=xxhash.xxh3_64_intdigest(before, seed=0)) & 0xFFFFFFFF


def read_header(frame):
    """dict of the header's fields, with `sections` as (offset, bytes)."""
    refuse_if(len(frame) < 18, "a frame is at least 18 bytes")
    refuse_if(frame[0] != 0xFB, "not a frame")
    refuse_if(frame[1] != 1, "another version")
    refuse_if(frame[2] > 1, "an unknown flag")
    round_, at = read_varint(frame, 12)
    refuse_if(round_ > MAX_ROUND, "a round over the limit")
    client, at = read_varint(frame, at)
    refuse_if(at + 4 > len(frame), "the checksum is cut off")
    stated = struct.unpack_from("<I", frame, at)[0]
    refuse_if(stated != checksum(frame[:at], frame[at + 4:]), "the checksum is wrong")
    at += 4
    header = {"version": frame[1], "required_flags": frame[2], "optional_flags": frame[3],
              "fingerprint": struct.unpack_from("<Q", frame, 4)[0], "round": round_, "client": client,
              "checksum": stated, "header_bytes": at}
    sections = []
    if frame[2] & 1:
        count, at = read_varint(frame, at)
        refuse_if(count < 2, "a table of fewer than two sections")
        for _ in range(min(count, len(frame) + 1) - 1):
            size, at = read_varint(frame, at)
            refuse_if(at + size > len(frame), "a section is cut off")
            sections.append((at, size))
            at += size
    header["sections"] = sections + [(at, len(frame) - at)]
    return header


class Codec:
    """layout: list of (name, shape). A structured plan encodes and decodes free parameters; `expand` gives the update.
    """

    def __init__(self, plan, layout):
        self.plan, self.layout = Plan(plan), [(name, tuple(shape)) for name, shape in layout]
        self.family = Family(self.plan.family, self.layout) if self.plan.family else None
        self.coded = self.family.free_layout if self.family else self.layout
        self.fingerprint = fingerprint(self.plan, self.layout)
        self.elements = sum(math.prod(shape) for _, shape in self.coded)
        indices, shapes = [[] for _ in self.plan.rules], [[] for _ in self.plan.rules]
        at = 0
        for name, shape in self.coded:
            size = math.prod(shape)
            rule = next(i for i, rule in enumerate(self.plan.rules) if rule.matches(name, size))
            indices[rule].append(np.arange(at, at + size))
            shapes[rule].append(shape)
            at += size
        self.groups = [(g, np.concatenate(parts)) for g, parts in enumerate(indices) if sum(map(len, parts))]
        self.chains = [Chain(self.plan.rules[g], shapes[g]) for g, _ in self.groups]

    def encode(self, update, seed, round_, client, cohort=(0, 1)):
        refuse_if(not np.all(np.isfinite(update)), "an update that is not finite")
        sections = [chain.encode(Keys(seed, round_, client, g, cohort), update[at])
                    for (g, at), chain in zip(self.groups, self.chains)] or [b""]
        body = sections[-1]
        if len(sections) > 1:
            body = varint(len(sections)) + b"".join(varint(len(s)) + s for s in sections[:-1]) + body
        head = bytes([0xFB, 1, int(len(sections) > 1), 0]) + struct.pack("<Q", self.fingerprint)
        head += varint(round_) + varint(client)
        return head + struct.pack("<I", checksum(head, body)) + body

    def decode(self, frame, seed, cohort=(0, 1)):
        header = read_header(frame)
        refuse_if(header["fingerprint"] != self.fingerprint, "a frame of another plan or layout")
        sections = header["sections"]
        refuse_if(len(sections) != max(len(self.groups), 1), "another number of sections")
        refuse_if(not self.groups and sections[0][1] != 0, "bytes where there is nothing to decode")
        update = np.zeros(self.elements)
        for (g, at), chain, (offset, size) in zip(self.groups, self.chains, sections):
            keys = Keys(seed, header["round"], header["client"], g, cohort)
            update[at] += chain.decode(keys, frame[offset:offset + size])
        with np.errstate(over="ignore"):
            update = update.astype(F32)
        refuse_if(not np.all(np.isfinite(update)), "a coordinate beyond f32")
        return update

    def expand(self, free, seed, round_):
        return self.family.expand(seed, round_, free.astype(np.float64)) if self.family else free


# ---- partial sums (9) ------------------------------------------------------------------------------------------------
MAX_F32 = float(np.finfo(F32).max)


def weighted_sums(codec, frames, seed):
    """frames: list of (frame, weight), added in that order. One array a section."""
    sums = [np.zeros(chain.shared_front()[1]) for chain in codec.chains]
    for frame, weight in frames:
        header = read_header(frame)
        for total, (g, _), chain, (offset, size) in zip(sums, codec.groups, codec.chains, header["sections"]):
            keys = Keys(seed, header["round"], header["client"], g)
            total += chain.decode(keys, frame[offset:offset + size], weight, chain.shared_front()[0])
    return sums


def write_partial_sum(codec, frames, seed, round_):
    ids = sorted(read_header(frame)["client"] for frame, _ in frames)
    steps = [id_ if i == 0 else id_ - ids[i - 1] - 1 for i, id_ in enumerate(ids)]
    data = b"\xfc\x01" + struct.pack("<QQ", codec.fingerprint, stream_key(seed)) + varint(round_)
    data += struct.pack("<d", sum(weight for _, weight in frames)) + varint(len(ids)) + b"".join(map(varint, steps))
    data += b"".join(total.astype("<f8").tobytes() for total in weighted_sums(codec, frames, seed))
    return data + struct.pack("<Q", xxhash.xxh3_64_intdigest(data, seed=0))


def read_partial_sum(codec, data, seed, round_):
    refuse_if(data[:2] != b"\xfc\x01", "no partial sum of version 1")
    refuse_if(len(data) < 36, "the partial sum is cut off")
    refuse_if(struct.unpack("<Q", data[-8:])[0] != xxhash.xxh3_64_intdigest(data[:-8], seed=0), "damaged")
    data = data[:-8]
    fingerprint_, seed_hash = struct.unpack_from("<QQ", data, 2)
    refuse_if(fingerprint_ != codec.fingerprint, "another plan or layout")
    refuse_if(seed_hash != stream_key(seed), "another seed")
    stated_round, at = read_varint(data, 18)
    refuse_if(stated_round != round_, "another round")
    refuse_if(at + 8 > len(data), "the sum of weights is cut off")
    weight = struct.unpack_from("<d", data, at)[0]
    count, at = read_varint(data, at + 8)
    clients = []
    for _ in range(count):
        step, at = read_varint(data, at)
        clients.append(clients[-1] + step + 1 if clients else step)
        refuse_if(clients[-1] > MASK64, "a client id beyond 64 bits")
    refuse_if(not (math.isfinite(weight) and (weight > 0) == (count > 0) and weight >= 0), "a weight that no sum has")
    refuse_if(len(data) - at != 8 * sum(chain.shared_front()[1] for chain in codec.chains), "another number of sums")
    sums = np.frombuffer(data, "<f8", offset=at)
    refuse_if(not np.all(np.abs(sums) <= weight * MAX_F32), "a sum beyond f32")
    return {"weight": weight, "clients": clients, "sums": sums}
