#!/usr/bin/env python3
"""examples/speech in PyTorch, as a careful user would write it: the same recipe, options, log,
saved models to go on from, and messages. Spoken digits become log-mel energies, a bidirectional GRU
reads them, and what it heard is one digit or, with --joined, several in a row (CTC, best path).
usage: torch_speech.py [--help]"""
import argparse
import copy
import csv
import math
import os
import re
import signal
import sys
import time
import wave
import zlib

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

DIGITS, MELS, MOST = 10, 40, 20
TRAIN, VALID, TEST = range(3)
NUMBERS = ["above 9", "of 5 to 9", "of 0 to 4"]
# Sine-wave speech (Remez et al. 1981): two formants through four places in each digit, in 100 Hz.
FORMANTS = [
    [[3, 26], [3, 23], [5, 13], [4, 9]], [[3, 7], [7, 12], [5, 14], [2, 15]],
    [[3, 30], [3, 15], [3, 10], [3, 9]], [[3, 27], [4, 14], [3, 22], [3, 23]],
    [[3, 27], [5, 9], [5, 10], [4, 13]], [[3, 27], [7, 12], [4, 20], [2, 11]],
    [[3, 32], [4, 21], [3, 17], [3, 32]], [[3, 32], [5, 19], [2, 11], [2, 15]],
    [[5, 19], [4, 21], [3, 23], [3, 30]], [[2, 15], [7, 12], [4, 20], [2, 15]],
]


def fail(text):
    sys.exit(f"torch_speech: {text}")


def options():
    p = argparse.ArgumentParser(description="Learns to hear spoken digits.")
    p.add_argument("--data", metavar="FOLDER",
                   help="of DIGIT_SPEAKER_NUMBER.wav; numbers 0 to 4 are the test, 5 to 9 choose "
                        "the best epoch, the others are learned (without it: sounds made here)")
    p.add_argument("--rate", type=int, default=8000, help="Hz of recordings")
    p.add_argument("--joined", type=int, default=0, choices=range(MOST + 1), metavar="N",
                   help="hears up to N digits in a row (CTC); 0: one, classified")
    p.add_argument("--hidden", type=int, default=96, help="units of a direction")
    p.add_argument("--layers", type=int, default=2, help="recurrent layers")
    p.add_argument("--batch", type=int, default=16, help="utterances of a step")
    p.add_argument("--dropout", type=float, default=0.3)
    p.add_argument("--listen", action="append", default=[], metavar="FILE",
                   help="says what is heard in a WAV file; -: names of files are read, one a line")
    p.add_argument("--epochs", type=int, default=20)
    p.add_argument("--lr", type=float, default=2e-3, help="falls as a cosine")
    p.add_argument("--clip", type=float, default=5, help="the most that the norm may be")
    p.add_argument("--average", type=int, default=5, help="the best epochs whose mean is used")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int)
    p.add_argument("--save", metavar="FILE", help="where the model goes at the end, or at a signal")
    p.add_argument("--every", type=int, help="saves after every N steps, too")
    p.add_argument("--load", metavar="FILE", help="goes on where a saved model stood")
    p.add_argument("--log", metavar="FILE", help="CSV of every step")
    return p.parse_args()


# ---- recordings ----

def generator(*key):
    """Random numbers that depend on the key alone."""
    return torch.Generator().manual_seed(zlib.crc32(repr(key).encode()))


def between(g, low, high):
    return low + (high - low) * torch.rand((), generator=g).item()


def read_sound(path, rate):
    try:
        with wave.open(path, "rb") as w:
            if w.getframerate() != rate:
                fail(f"{path}: it has {w.getframerate()} Hz, --rate is {rate}")
            n, width, channels = w.getnframes(), w.getsampwidth(), w.getnchannels()
            data = w.readframes(n)
    except (OSError, EOFError, wave.Error) as e:
        fail(f"{path}: {e}")
    if len(data) != n * width * channels or not n:
        fail(f"{path}: it is cut, or empty")
    if width == 1:
        x = (torch.frombuffer(bytearray(data), dtype=torch.uint8).float() - 128) / 128
    elif width == 2:
        x = torch.frombuffer(bytearray(data), dtype=torch.int16).float() / 32768
    elif width == 4:
        x = torch.frombuffer(bytearray(data), dtype=torch.int32).float() / 2147483648
    else:
        fail(f"{path}: samples of {8 * width} bits are not read")
    return x.view(-1, channels).mean(1)


def read_folder(folder, rate):
    parts = [[], [], []]
    if not os.path.isdir(folder):
        fail(f"{folder}: there is no such folder")
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".wav"):
            continue
        path, match = os.path.join(folder, name), re.fullmatch(r"(\d)_([^_]+)_(\d+)\.wav", name)
        if not match:
            fail(f"{path}: its name is not DIGIT_SPEAKER_NUMBER.wav")
        number = int(match[3])
        part = TEST if number < 5 else VALID if number < 10 else TRAIN
        parts[part].append((read_sound(path, rate), int(match[1]), match[2]))
    for part, numbers in zip(parts, NUMBERS):
        if not part:
            fail(f"{folder}: there is no recording with a number {numbers}")
    return parts


def make_sounds(seed, rate):
    parts = [[], [], []]
    for i in range(DIGITS * 6 * 25):
        digit, speaker, number = i // 150, i // 25 % 6, i % 25
        size = between(generator(seed, speaker), 0.85, 1.15)
        g = generator(seed, 6 + i)
        n = int(rate * between(g, 0.25, 0.5))
        size *= between(g, 0.95, 1.05)
        loud, noise = between(g, 0.02, 0.2), between(g, 0.1, 0.5)
        at = 3 * torch.arange(n) / n
        way, place = at.frac()[:, None], at.long()
        formants = torch.tensor(FORMANTS[digit]).float()
        hz = 100 * (formants[place] + way * (formants[place + 1] - formants[place]))
        tones = (2 * math.pi * (hz * size / rate).cumsum(0)).sin()
        breath = 0.7 * torch.randn(n, 1, generator=g)
        x = torch.where(hz < 2500, tones, breath).sum(1) + noise * torch.randn(n, generator=g)
        parts[TEST if number < 5 else VALID if number < 10 else TRAIN].append(
            (loud * x, digit, speaker))
    return parts


def compose(part, i, joined, learns, rate, g):
    """Recording i alone, or up to `joined` of its speaker's, with silence before each and faint
    noise; in training each has a speed and a noise of its own."""
    chosen = [part[i]]
    same = [r for r in part if r[2] == part[i][2]] if joined else []
    if joined:
        count = torch.randint(joined, (), generator=g).item()
        chosen += [same[torch.randint(len(same), (), generator=g)] for _ in range(count)]
    pieces = []
    for sound, _, _ in chosen:
        if joined:
            pieces.append(torch.zeros(int(between(g, 0.03, 0.2) * rate)))
        if learns:
            size = math.ceil(len(sound) / between(g, 0.9, 1.1))
            sound = F.interpolate(sound[None, None], size, mode="linear")[0, 0]
        pieces.append(sound)
    x = torch.cat(pieces)
    if learns or joined:
        decibels = between(g, 15, 45) if learns else 40
        noise = x.square().mean().sqrt() * 10 ** (-decibels / 20)
        x = x + noise * torch.randn(len(x), generator=g)
    return x, [digit for _, digit, _ in chosen]


# ---- features ----

def mel_filters(rate, fft):
    """Slaney's: linear below 1000 Hz, logarithmic above, of equal areas."""
    step = math.log(6.4) / 27
    top = 15 + math.log(rate / 2 / 1000) / step if rate > 2000 else rate / 2 / (200 / 3)
    mels = torch.linspace(0, top, MELS + 2, dtype=torch.float64)
    edges = torch.where(mels < 15, mels * 200 / 3, 1000 * ((mels - 15) * step).exp())
    bins = torch.linspace(0, rate / 2, fft // 2 + 1, dtype=torch.float64)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    up, down = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return (torch.minimum(up, down).clamp(min=0) * 2 / (high - low)).float()


class Features:
    def __init__(self, rate):
        self.window, self.hop = int(0.025 * rate), int(0.01 * rate)
        self.fft = 1 << (self.window - 1).bit_length()
        self.filters, self.hann = mel_filters(rate, self.fft), torch.hann_window(self.window)

    def __call__(self, x):
        x = torch.cat([x[:1], x[1:] - 0.97 * x[:-1]])
        spectrum = torch.stft(x, self.fft, self.hop, self.window, self.hann, center=True,
                              pad_mode="constant", return_complex=True)
        y = (self.filters @ spectrum.abs().square()).clamp(min=1e-10).log().T
        y = torch.maximum(y, y.max() - 12)
        return (y - y.mean()) / y.std(correction=0).clamp(min=1e-13)


def spec_augment(x, g):
    """Park et al. 2019: two bands of mels and two stretches of time are hidden."""
    for axis, part in ((0, 0.1), (0, 0.1), (1, 0.2), (1, 0.2)):
        size = torch.randint(int(part * x.shape[axis]) + 1, (), generator=g).item()
        start = torch.randint(x.shape[axis] - size + 1, (), generator=g).item()
        x.narrow(axis, start, size).zero_()
    return x


# ---- the net ----

class Net(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.joined = o.joined
        self.rnn = nn.GRU(MELS, o.hidden, o.layers, bidirectional=True,
                          dropout=o.dropout if o.layers > 1 else 0)
        self.dropout, self.head = nn.Dropout(o.dropout), nn.Linear(2 * o.hidden, DIGITS + 1)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        h = pad_packed_sequence(self.rnn(packed)[0])[0]
        if not self.joined:  # past an utterance's end h is 0
            h = h.sum(0) / lengths[:, None]
        return self.head(self.dropout(h))


def edits(a, b):
    """Levenshtein's distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for k, y in enumerate(b, 1):
            last, row[k] = row[k], min(row[k] + 1, row[k - 1] + 1, last + (x != y))
    return row[-1]


def hear(net, features, sounds):
    """The digits of each, and how likely they are."""
    net.eval()
    with torch.no_grad():
        xs = [features(x) for x in sounds]
        lengths = torch.tensor([len(x) for x in xs])
        log_p = net(pad_sequence(xs), lengths).log_softmax(-1)
    if not net.joined:
        best = log_p.max(-1)
        return [([d.item()], p.exp().item()) for p, d in zip(*best)]
    heard = []
    for b, n in enumerate(lengths):
        p, path = log_p[:n, b].max(-1)
        merged = torch.unique_consecutive(path).tolist()
        heard.append(([d for d in merged if d != DIGITS], p.sum().exp().item()))
    return heard


def judge(net, features, part, which, o):
    """The utterances that are right, all; the digits that are wrong, all."""
    right = wrong = digits = 0
    for at in range(0, len(part), o.batch):
        some = [compose(part, i, o.joined, False, o.rate, generator(o.seed, which, i))
                for i in range(at, min(at + o.batch, len(part)))]
        for (heard, _), (_, said) in zip(hear(net, features, [x for x, _ in some]), some):
            distance = edits(heard, said)
            right, wrong, digits = right + (not distance), wrong + distance, digits + len(said)
    return right, len(part), wrong, digits


# ---- training ----

class Run:
    """What is saved, and goes on where it stood."""

    def __init__(self, o):
        self.o, self.net = o, Net(o)
        self.adam = torch.optim.Adam(self.net.parameters(), o.lr)
        self.step, self.best, self.stopped = 0, [], 0  # best: (figure, epoch, weights)

    def save(self):
        state = {"kind": "speech", "options": vars(self.o), "net": self.net.state_dict(),
                 "adam": self.adam.state_dict(), "step": self.step, "best": self.best}
        torch.save(state, self.o.save + ".tmp")
        os.replace(self.o.save + ".tmp", self.o.save)

    def load(self, state):
        self.net.load_state_dict(state["net"])
        self.adam.load_state_dict(state["adam"])
        self.step, self.best = state["step"], state["best"]

    def keep(self, figure, epoch):
        self.best.append((figure, epoch, copy.deepcopy(self.net.state_dict())))
        self.best.sort(key=lambda b: (b[0] if self.o.joined else -b[0], b[1]))
        del self.best[self.o.average:]

    def use_best(self):
        if self.best:
            weights = [b[2] for b in self.best]
            self.net.load_state_dict({k: sum(w[k] for w in weights) / len(weights)
                                      for k in weights[0]})


def train(run, features, parts, log):
    o, part = run.o, parts[TRAIN]
    per = math.ceil(len(part) / o.batch)
    begun, first, shown, mean, weight = time.time(), run.step, 0, 0, 0
    while run.step < o.epochs * per and not run.stopped:
        epoch, position = divmod(run.step, per)
        order = torch.randperm(len(part), generator=generator(o.seed, "epoch", epoch)).tolist()
        torch.manual_seed(zlib.crc32(repr((o.seed, run.step)).encode()))  # of dropout
        xs, targets = [], []
        for i in order[position * o.batch:(position + 1) * o.batch]:
            g = generator(o.seed, "train", epoch, i)
            x, said = compose(part, i, o.joined, True, o.rate, g)
            xs.append(spec_augment(features(x), g))
            targets.append(torch.tensor(said))
        lengths = torch.tensor([len(x) for x in xs])
        run.net.train()
        logits = run.net(pad_sequence(xs), lengths)
        if o.joined:
            counts = torch.tensor([len(t) for t in targets])
            loss = F.ctc_loss(logits.log_softmax(-1), torch.cat(targets), lengths, counts, DIGITS)
        else:
            loss = F.cross_entropy(logits, torch.cat(targets))
        rate = o.lr * (0.5 + 0.5 * math.cos(math.pi * run.step / (o.epochs * per)))
        for group in run.adam.param_groups:
            group["lr"] = rate
        run.adam.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(run.net.parameters(), o.clip, error_if_nonfinite=True)
        run.adam.step()
        run.step += 1
        mean, weight, now = 0.98 * mean + 0.02 * loss.item(), 0.98 * weight + 0.02, time.time()
        speed, figure = (run.step - first) / (now - begun), None
        if now - shown > (0.1 if sys.stderr.isatty() else 5):
            shown, left = now, (o.epochs * per - run.step) / speed
            print(f"epoch {epoch + 1}/{o.epochs}  {position + 1}/{per}  loss {mean / weight:.3f}  "
                  f"{speed * o.batch:.0f} utterances/s  {left // 60:.0f}:{left % 60:02.0f} left",
                  end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr)
        if position + 1 == per:
            right, all_, wrong, digits = judge(run.net, features, parts[VALID], VALID, o)
            figure = wrong / digits if o.joined else right / all_
            run.keep(figure, epoch)
            name = "digit error rate" if o.joined else "accuracy"
            print(f"epoch {epoch + 1}  {name} {figure:.4f}", file=sys.stderr)
        if log:
            log.writerow([run.step, loss.item(), norm.item(), rate, figure])
        if o.every and run.step % o.every == 0:
            run.save()


def listen(run, features, path):
    if path == "-":
        for line in sys.stdin:
            if line.strip():
                listen(run, features, line.strip())
        return
    (digits, p), = hear(run.net, features, [read_sound(path, run.o.rate)])
    print(f"{path}: {' '.join(map(str, digits))}  ({p:.2f})", flush=True)


def main():
    o = options()
    if o.threads:
        torch.set_num_threads(o.threads)
    if o.every and not o.save:
        fail("--every needs --save, a file to save to")
    if o.save and not os.path.isdir(os.path.dirname(o.save) or "."):
        fail(f"--save {o.save}: there is no such folder")
    state = None
    if o.load:
        try:
            state = torch.load(o.load)
        except Exception as e:
            fail(f"load {o.load}: {e}")
        if not isinstance(state, dict) or state.get("kind") != "speech":
            fail(f"load {o.load}: this is not a model that speech saved")
        for name in ("rate", "joined", "hidden", "layers"):
            setattr(o, name, state["options"][name])
    torch.manual_seed(o.seed)
    run, features = Run(o), Features(o.rate)
    if state:
        run.load(state)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: setattr(run, "stopped", number))
    if not (o.load and o.listen):
        parts = read_folder(o.data, o.rate) if o.data else make_sounds(o.seed, o.rate)
        log = None
        if o.log:
            file = open(o.log, "a" if o.load else "w", newline="", buffering=1)
            log = csv.writer(file)
            if not o.load:
                log.writerow(["step", "loss", "norm", "rate", "figure"])
        train(run, features, parts, log)
        if o.save:
            run.save()
    if run.stopped:
        sys.exit(128 + run.stopped)
    run.use_best()
    if not (o.load and o.listen):
        right, all_, wrong, digits = judge(run.net, features, parts[TEST], TEST, o)
        print(f"test: {100 * right / all_:.2f} % of {all_} utterances are right, "
              f"{100 * wrong / digits:.2f} % of {digits} digits wrong")
    for path in o.listen:
        listen(run, features, path)


if __name__ == "__main__":
    main()
