"""The messages of secure aggregation by docs/frame-format.md alone: messages_test.py PATH/TO/secure_transcript.

All cryptography is written out here (and slow), so that nothing is shared with the library: X25519, ChaCha20, Poly1305, HKDF, Shamir.
"""

import hashlib
import hmac
import json
import struct
import subprocess
import sys
import unittest

RUNS = json.loads(subprocess.run([sys.argv.pop()], check=True, capture_output=True, text=True).stdout)
P = 2**255 - 19


def x25519(secret, point):   # RFC 7748
    k = int.from_bytes(secret, "little") & ~7 & (2**255 - 1) | 2**254
    x1 = int.from_bytes(point, "little") & (2**255 - 1)
    x2, z2, x3, z3 = 1, 0, x1, 1
    swap = 0
    for bit in reversed(range(255)):
        now = k >> bit & 1
        if swap != now:
            x2, z2, x3, z3 = x3, z3, x2, z2
        swap = now
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb, aa, bb = d * a % P, c * b % P, a * a % P, b * b % P
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, (aa - bb) * (aa + 121665 * (aa - bb)) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


BASE = (9).to_bytes(32, "little")


def chacha20(key, counter, blocks):   # RFC 8439, nonce zero
    out = bytearray()
    for block in range(counter, counter + blocks):
        start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack("<8I", key), block, 0, 0, 0]
        s = list(start)
        for _ in range(10):
            for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                               (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
                for x, y, z, shift in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
                    s[x] = (s[x] + s[y]) & 0xFFFFFFFF
                    word = s[z] ^ s[x]
                    s[z] = (word << shift | word >> (32 - shift)) & 0xFFFFFFFF
        out += struct.pack("<16I", *((x + y) & 0xFFFFFFFF for x, y in zip(s, start)))
    return bytes(out)


def opened(key, associated, sealed):   # ChaCha20-Poly1305, RFC 8439; None where the tag is wrong
    cipher, tag = sealed[:-16], sealed[-16:]
    one_time = chacha20(key, 0, 1)
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    pad = lambda data: data + bytes(-len(data) % 16)
    data = pad(associated) + pad(cipher) + struct.pack("<QQ", len(associated), len(cipher))
    total = 0
    for i in range(0, len(data), 16):
        total = (total + int.from_bytes(data[i:i + 16] + b"\1", "little")) * r % (2**130 - 5)
    if ((total + int.from_bytes(one_time[16:32], "little")) % 2**128).to_bytes(16, "little") != tag:
        return None
    return bytes(a ^ b for a, b in zip(cipher, chacha20(key, 1, len(cipher) // 64 + 1)))


def hkdf(key, salt, info):
    extracted = hmac.new(salt, key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\1", hashlib.sha256).digest()


def times(a, b):   # GF(2^8)
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def inverse(a):
    return next(b for b in range(1, 256) if times(a, b) == 1)


def joined(points):
    secret = bytearray(32)
    for at, share in points:
        factor = 1
        for other, _ in points:
            if other != at:
                factor = times(factor, times(other, inverse(other ^ at)))
        for i in range(32):
            secret[i] ^= times(share[i], factor)
    return bytes(secret)


def unpacked(data, count, bits):
    """`pack` of §7: planes of 32, 16, 8, 4, 2, 1 bits as the binary digits of `bits` say, low bits first."""
    symbols, shift, at = [0] * count, 0, 0
    for width in (32, 16, 8, 4, 2, 1):
        if not bits & width:
            continue
        per, start = 32 // width, 0
        mask = (1 << width) - 1
        while start + 16 * per <= count:
            words = struct.unpack_from("<16I", data, at)
            for j in range(per):
                for lane in range(16):
                    symbols[start + 16 * j + lane] |= (words[lane] >> width * j & mask) << shift
            start += 16 * per
            at += 64
        size = ((count - start) * width + 7) // 8
        rest = int.from_bytes(data[at:at + size], "little")
        for i in range(start, count):
            symbols[i] |= (rest & mask) << shift
            rest >>= width
        assert rest == 0
        at += size
        shift += width
    assert at == len(data)
    return symbols


class Messages(unittest.TestCase):
    def check_round(self, run):
        u64 = lambda *values: struct.pack(f"<{len(values)}Q", *values)
        sha = lambda *pieces: hashlib.sha256(b"".join(pieces)).digest()
        clients = {int(i): c for i, c in run["clients"].items()}
        ids = sorted(clients)
        t = sha(b"fewbits secagg 1 terms", u64(*run["terms"]))
        s = sha(b"fewbits secagg 1 round", u64(run["session"], run["round"], run["plan"]), t)
        derived = lambda label, key, *of: hkdf(key, s, label + u64(*of))

        def header(kind, client):
            return bytes([0xF7, 1, kind, 0]) + struct.pack("<IQQ", run["round"], run["session"], run["plan"]) + t[:8] + u64(client)

        secrets, bodies = {}, {}
        for i, c in clients.items():
            drawn = bytes.fromhex(c["drawn"])
            secrets[i] = {"C": drawn[:32], "M": drawn[32:64], "b": drawn[64:96]}
            for kind in range(1, 8):
                if str(kind) in c:
                    message = bytes.fromhex(c[str(kind)])
                    self.assertEqual(message[:40], header(kind, i))
                    bodies[i, kind] = message[40:]
        public = {i: [x25519(secrets[i][key], BASE) for key in "CM"] for i in ids}
        others = lambda i: [j for j in ids if j != i]   # up to 100 clients all are neighbours
        shared = [i for i in ids if (i, 3) in bodies]

        for i in ids:
            self.assertEqual(bodies[i, 1], b"".join(public[i]))
            self.assertEqual(bodies[i, 2], b"".join(public[i]) + struct.pack("<I", len(ids) - 1) +
                             b"".join(u64(j) + b"".join(public[j]) for j in others(i)))
        for i in shared:
            body = bodies[i, 3]
            self.assertEqual(body[:32], sha(b"fewbits secagg 1 self seed", s, u64(i), secrets[i]["b"]))
            self.assertEqual(len(body), 32 + 112 * (len(ids) - 1))
            points = []
            for at, j in enumerate(others(i)):
                entry = body[32 + 112 * at:32 + 112 * (at + 1)]
                key = derived(b"fewbits secagg 1 share key", x25519(secrets[j]["C"], public[i][0]), i, j)
                plain = opened(key, header(3, i) + u64(j), entry[32:])
                self.assertIsNotNone(plain)
                for kind in (1, 2):
                    share = plain[32 * kind - 32:32 * kind]
                    self.assertEqual(entry[16 * kind - 16:16 * kind], sha(b"fewbits secagg 1 share", s, bytes([kind]), u64(i, j), share)[:16])
                points.append((at + 1, plain))
            for some in (points[:3], points[1:]):   # the threshold of 3
                self.assertEqual(joined([(at, plain[:32]) for at, plain in some]), secrets[i]["b"])
                self.assertEqual(joined([(at, plain[32:]) for at, plain in some]), secrets[i]["M"])
        for j in shared:
            present = [i for i in others(j) if i in shared]
            bits = sum(1 << at for at, i in enumerate(others(j)) if i in shared)
            entries = [bodies[i, 3][32 + 112 * others(i).index(j):][:112] for i in present]
            self.assertEqual(bodies[j, 4], bytes([bits]) + b"".join(entries))

        lane = 2 if run["bits"] <= 16 else 4
        for i in (i for i in ids if (i, 5) in bodies):
            words = list(clients[i]["input"])
            masks = [(1, derived(b"fewbits secagg 1 self mask", secrets[i]["b"], i))]
            for j in others(i):
                if j in shared:
                    agreed = x25519(secrets[i]["M"], public[j][1])
                    masks.append((1 if j > i else -1, derived(b"fewbits secagg 1 pair mask", agreed, min(i, j), max(i, j))))
            for sign, key in masks:
                stream = chacha20(key, 0, len(words) * lane // 64 + 1)
                for at, word in enumerate(struct.unpack_from(f"<{len(words)}{'H' if lane == 2 else 'I'}", stream)):
                    words[at] = (words[at] + sign * word) % (1 << run["bits"])
            piece = 4096 * run["bits"] // 8
            found = []
            for start in range(0, len(words), 4096):
                data = bodies[i, 5][start // 4096 * piece:][:piece]
                found += unpacked(data, min(4096, len(words) - start), run["bits"])
            self.assertEqual(found, words)

        left = [i for i in ids if (i, 5) in bodies]
        fate = {i: 1 if i in left else 2 if i in shared else 0 for i in ids}
        self.assertEqual(sorted(fate.values()), [0, 1, 1, 1, 1, 2])
        for j in left:
            self.assertEqual(bodies[j, 6], struct.pack("<I", len(left)) + bytes(fate[i] for i in others(j)))
            revealed = b""
            for i in (i for i in others(j) if fate[i]):
                key = derived(b"fewbits secagg 1 share key", x25519(secrets[j]["C"], public[i][0]), i, j)
                plain = opened(key, header(3, i) + u64(j), bodies[i, 3][32 + 112 * others(i).index(j):][32:112])
                revealed += plain[:32] if fate[i] == 1 else plain[32:]
            self.assertEqual(bodies[j, 7], revealed)
        self.assertEqual(run["sum"], [sum(column) % (1 << run["bits"]) for column in zip(*(clients[i]["input"] for i in left))])

    def test_rounds(self):
        for run in RUNS:
            with self.subTest(bits=run["bits"]):
                self.check_round(run)


if __name__ == "__main__":
    unittest.main()
