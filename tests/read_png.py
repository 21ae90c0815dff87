#!/usr/bin/env python3
"""The pixels of a PNG of 8 bits, grey or RGB, by the letter of the specification (W3C PNG, 2003)
with Python's zlib alone: width, height, channels, and all bytes in hexadecimal.

usage: read_png.py FILE.png
"""
import struct
import sys
import zlib


def paeth(a, b, c):
    p = a + b - c
    return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]


def main(path):
    with open(path, 'rb') as file:
        data = file.read()
    assert data[:8] == b'\x89PNG\r\n\x1a\n'
    at, body, header = 8, b'', None
    while at < len(data):
        size, kind = struct.unpack('>I4s', data[at:at + 8])
        chunk = data[at + 8:at + 8 + size]
        crc, = struct.unpack('>I', data[at + 8 + size:at + 12 + size])
        assert zlib.crc32(kind + chunk) == crc
        if kind == b'IHDR':
            header = struct.unpack('>IIBBBBB', chunk)
        body += chunk if kind == b'IDAT' else b''
        at += 12 + size
    assert kind == b'IEND'
    width, height, depth, colour, *rest = header
    assert depth == 8 and colour in (0, 2) and rest == [0, 0, 0]
    step = 3 if colour == 2 else 1
    raw, prior, pixels = zlib.decompress(body), [0] * width * step, []
    assert len(raw) == height * (width * step + 1)
    for y in range(height):
        line = raw[y * (width * step + 1):(y + 1) * (width * step + 1)]
        row = []
        for x, byte in enumerate(line[1:]):
            a = row[x - step] if x >= step else 0
            b, c = prior[x], prior[x - step] if x >= step else 0
            guess = (0, a, b, (a + b) // 2, paeth(a, b, c))[line[0]]
            row.append((byte + guess) % 256)
        prior = row
        pixels += row
    print(width, height, step, bytes(pixels).hex())


main(sys.argv[1])
