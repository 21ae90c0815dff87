#!/usr/bin/env python3
"""Melodies, one to many: examples/generate in PyTorch, by the same recipe and options. An LSTM is
told a style, a learned vector, at every event, and goes on from nothing or from a first
bar; 200 melodies that it writes are judged by the rules of those that it learned. usage:
torch_melody.py --help"""
import argparse
import math
import os
import random
import signal
import sys
import time

import torch
from torch import nn

BAR, BARS, EVENTS, STYLES, LOWEST, PITCHES = 16, 4, 65, 12, 36, 61    # a step is a sixteenth
LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16)
IDS = 1 + (PITCHES + 1) * len(LENGTHS)
KEPT = "embedding hidden batch unknown epochs lr clip patience seed".split()
FIXED = "embedding hidden".split()
PLACE = "step epoch position since best".split()
SCALES = ((0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 5, 7, 9, 11))
KEYS = (0, 2, 4, 5, 7, 9)
RHYTHMS = ((4, 4, 4, 4), (8, 4, 4), (4, 4, 8), (6, 2, 4, 4), (2, 2, 4, 4, 4), (4, 2, 2, 8))


class Bad(Exception):
    """What is said in one sentence."""


def options():
    p = argparse.ArgumentParser(description="Writes melodies as MIDI, from a style or a first bar.")

    def add(name, kind, default, text, low=None, high=None, **more):
        def read(word):
            value = kind(word)
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                raise argparse.ArgumentTypeError(f"'{word}' is not from {low} to {high}")
            return value
        p.add_argument("--" + name, type=read, help=f"{text} ({default})", **more)
        defaults[name] = default

    defaults = {}
    p.add_argument("--data", action="append", default=[], help="a melody to learn; a style each")
    add("embedding", int, 32, "numbers of an event, of a style", 1, 4096)
    add("hidden", int, 256, "units of the LSTM", 1, 4096)
    add("batch", int, 64, "melodies of a step", 1, 4096)
    add("unknown", float, 0.2, "how often a style is not told", 0, 1)
    add("latent", int, 0, "the style to write in; 0: none", 0)
    add("first", str, None, "begins with the first bar of a .mid file")
    add("out", str, None, "writes a melody, .mid")
    add("temperature", float, 0.5, "of drawing; 0: the likeliest", 0, 100)
    add("top-k", int, 0, "draws from the N likeliest; 0: from all", 0, IDS)
    add("epochs", int, 30, "epochs in all, a saved model's included", 0)
    add("lr", float, 6e-3, "learning rate, by a cosine down to 0", 0, 1e3)
    add("clip", float, 1.0, "the most that the gradient's norm may be", 0)
    add("patience", int, 0, "ends after N epochs that brought nothing", 0)
    add("seed", int, 1, "of everything random", 0)
    add("threads", int, os.cpu_count(), "threads", 1, 1024)
    add("save", str, None, "where the model goes")
    add("every", int, 0, "saves after every N steps, too", 0)
    add("load", str, None, "goes on where a saved model stood")
    add("log", str, None, "CSV of every step")
    return p.parse_args(), defaults


def settle(o, defaults):
    """The command line, then the saved model, then the defaults."""
    saved = None
    if o.load:
        try:
            saved = torch.load(o.load, weights_only=True)
            kept = saved["options"]
        except (OSError, RuntimeError, KeyError, ValueError, EOFError) as e:
            raise Bad(f"load {o.load}: {e}") from None
        for name in FIXED:
            if getattr(o, name) not in (None, kept[name]):
                raise Bad(f"load {o.load}: the saved model has --{name} {kept[name]}")
        defaults = {**defaults, **kept}
    for name, value in defaults.items():
        if getattr(o, name.replace("-", "_")) is None:
            setattr(o, name.replace("-", "_"), value)
    if o.every and not o.save:
        raise Bad("--every needs --save, a file to save to")
    for path in (o.save, o.log, o.out):
        if path and os.path.isdir(path):
            raise Bad(f"{path} is a folder")
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise Bad(f"{path}: its folder does not exist")
        for read in (*o.data, o.first):
            if path and read and os.path.exists(path) and os.path.samefile(path, read):
                raise Bad(f"{path} would replace what is read")
    return saved


def id_of(pitch, length):
    """pitch None: a rest"""
    k = sum(n <= max(length, 1) for n in LENGTHS) - 1
    return 1 + (0 if pitch is None else pitch - LOWEST + 1) * len(LENGTHS) + k


def event_of(number):
    at, k = divmod(number - 1, len(LENGTHS))
    return (at - 1 + LOWEST if at else None), LENGTHS[k]


def pitch_at(style, degree):
    octave, step = divmod(degree, 7)
    return 60 + KEYS[(style - 1) // 2] + 12 * octave + SCALES[style % 2][step]


def degree_of(style, pitch):
    if pitch is None:
        return None
    return next((d for d in range(-21, 28) if pitch_at(style, d) == pitch), None)


def make_melody(key):
    """A motif; the same a step up or down; another in its rhythm; three notes to the tonic."""
    draw, degree, motif, ids = random.Random(key), 0, [], []
    style, beats, up = draw.randint(1, STYLES), draw.choice(RHYTHMS), draw.choice((-1, 1))
    rests = draw.random() < 0.25
    for bar in range(BARS):
        beats = RHYTHMS[2] if bar == 3 else beats
        for i, length in enumerate(beats):
            if bar == 1:
                degree = motif[i] + up
            elif bar == 3 and i == 2:
                degree = 0
            else:
                degree = degree + draw.choice((-2, -1, 1, 2)) if i else 2 * draw.randrange(3)
            if bar == 0:
                motif.append(degree)
            rest = rests and bar == 2 and i == len(beats) - 1
            ids.append(id_of(None if rest else pitch_at(style, degree), length))
    return style, ids


def bars_right(style, ids):
    bars, at, bar = [], 0, []
    for pitch, length in map(event_of, ids):
        bar.append((pitch, length))
        at += length
        if at >= BAR:
            bars.append((bar, at == BAR))
            bar, at = [], 0
    right = 0
    for b, (bar, whole) in enumerate(bars[:BARS]):
        degrees = [degree_of(style, pitch) for pitch, _ in bar]
        last_rests = b == 2 and bar[-1][0] is None
        ok = whole and None not in (degrees[:-1] if last_rests else degrees)
        first = bars[0][0]
        if b in (1, 2):
            ok = ok and [n for _, n in bar] == [n for _, n in first]
        if ok and b == 1:
            shifts = {d - (degree_of(style, p) or 0) for d, (p, _) in zip(degrees, first)}
            ok = shifts in ({1}, {-1})
        if b == 3:
            ok = ok and len(bars) == BARS and degrees[-1] == 0 and bar[-1][1] == 8
        right += ok
    return right


def read_midi(path):
    """Notes (start, length, pitch) in sixteenths, drums left out."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as e:
        raise Bad(f"{path}: {e}") from None
    if data[:4] != b"MThd" or len(data) < 14 or data[12] & 128:
        raise Bad(f"{path}: it is no MIDI file with beats")
    step, at, notes = max(int.from_bytes(data[12:14], "big") // 4, 1), 14, []

    def number():
        nonlocal at
        value = 0
        while True:
            value, at = value << 7 | data[at] & 127, at + 1
            if not data[at - 1] & 128:
                return value
    try:
        while at < len(data):
            end, time_, status, sounding = at + 8, 0, 0, {}
            end += int.from_bytes(data[at + 4:at + 8], "big")
            if end > len(data):
                raise IndexError
            is_track, at = data[at:at + 4] == b"MTrk", at + 8
            while is_track and at < end:
                time_ += number()
                if data[at] & 128:
                    status, at = data[at], at + 1
                if status in (0xF0, 0xF7, 0xFF):
                    at += status == 0xFF
                    length = number()
                    at += length
                    continue
                kind, channel, pitch = status >> 4, status & 15, data[at]
                velocity = data[at + 1] if kind not in (12, 13) else 0
                at += 1 if kind in (12, 13) else 2
                if kind in (8, 9) and (channel, pitch) in sounding:
                    start = sounding.pop((channel, pitch))
                    notes.append((round(start / step), round((time_ - start) / step), pitch))
                if kind == 9 and velocity and channel != 9:
                    sounding[channel, pitch] = time_
            at = end
    except IndexError:
        raise Bad(f"{path}: it is cut") from None
    return sorted(notes)


def bars_of(notes, begin, steps):
    """The highest notes as events, rests between them."""
    at, end, ids = begin, begin + steps, []

    def add(pitch, length):
        nonlocal at
        while length > 0 and len(ids) < EVENTS:
            ids.append(id_of(pitch, min(length, BAR)))
            at += event_of(ids[-1])[1]
            length -= event_of(ids[-1])[1]
            if pitch is not None:
                return
    for start, length, pitch in notes:
        if at <= start < end:
            length, pitch = max((p, n) for s, n, p in notes if s == start)[::-1]
            add(None, start - at)
            pitch = min(max(pitch, LOWEST + pitch % 12), LOWEST + PITCHES - 1)
            add(pitch, max(min(length, end - at), 1))
    return ids


def write_midi(path, ids):
    track, wait = bytearray(), 0

    def number(value):
        digits = [value & 127]
        while value := value >> 7:
            digits.append(value & 127 | 128)
        track.extend(reversed(digits))
    for pitch, length in map(event_of, ids):
        wait += 120 * length
        if pitch is not None:
            number(wait - 120 * length)
            track += bytes((0x90, pitch, 80))
            number(120 * length)
            track += bytes((0x80, pitch, 0))
            wait = 0
    track += b"\0\xff\x2f\0"
    head = b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk" + len(track).to_bytes(4, "big")
    with open(f"{path}.{os.getpid()}", "wb") as file:
        file.write(head + track)
    os.replace(f"{path}.{os.getpid()}", path)


def read_data(o):
    melodies = []
    for style, path in enumerate(o.data, 1):
        notes = read_midi(path)
        for begin in range(0, notes[-1][0] + 1 if notes else 0, BAR):
            ids = bars_of(notes, begin, BAR * BARS)
            if ids:
                melodies.append((style, ids))
    if o.data and not melodies:
        raise Bad("--data: there is no note in it")
    return melodies


class Net(nn.Module):
    def __init__(self, o, styles):
        super().__init__()
        self.event = nn.Embedding(IDS, o.embedding)
        self.style = nn.Embedding(styles + 1, o.embedding)
        self.rnn, self.out = nn.LSTM(2 * o.embedding, o.hidden), nn.Linear(o.hidden, IDS)

    def forward(self, before, style, state=None):
        told = self.style(style).expand(len(before), -1, -1)
        y, state = self.rnn(torch.cat([self.event(before), told], 2), state)
        return self.out(y), state


def loss_of(o, net, melodies, key, count, told):
    some = []
    for b in range(count):
        draw = random.Random(f"{key} {b}")
        style, ids = draw.choice(melodies) if melodies else make_melody(f"{key} {b}")
        some.append((style if told or draw.random() >= o.unknown else 0, ids))
    pad = nn.utils.rnn.pad_sequence
    before = pad([torch.tensor([0, *ids]) for _, ids in some])
    target = pad([torch.tensor([*ids, 0]) for _, ids in some], padding_value=-100)
    y, _ = net(before, torch.tensor([style for style, _ in some]))
    return nn.functional.cross_entropy(y.flatten(0, 1), target.flatten())


@torch.no_grad()
def compose(o, net, style, ids, seed):
    """Goes on from ids in a style."""
    net.eval()
    draw, ids, state = torch.Generator().manual_seed(seed), list(ids), None
    before = [0, *ids]
    while len(ids) < EVENTS:
        y, state = net(torch.tensor(before).unsqueeze(1), torch.tensor([style]), state)
        y = y[-1, 0]
        if o.temperature > 0:
            if o.top_k:
                y[y < y.topk(o.top_k)[0][-1]] = -math.inf
            next_ = torch.multinomial(torch.softmax(y / o.temperature, 0), 1, generator=draw).item()
        else:
            next_ = y.argmax().item()
        if next_ == 0:
            break
        ids.append(next_)
        before = [next_]
    return ids


def show(o, net, melodies):
    if o.out:
        ids = bars_of(read_midi(o.first), 0, BAR) if o.first else []
        if o.first and not ids:
            raise Bad("--first: it has no note")
        write_midi(o.out, compose(o, net, o.latent, ids, o.seed))
    elif not melodies:
        styles = [1 + i % STYLES for i in range(200)]
        right = [bars_right(s, compose(o, net, s, [], 1000 * o.seed + i))
                 for i, s in enumerate(styles)]
        print(f"200 melodies: {sum(right) / 200 / BARS * 100:.1f} % of their bars obey the rules, "
              f"{sum(r == BARS for r in right) / 2:.1f} % do in all bars")


class Run:
    """Where training stands; all that a file keeps."""

    def __init__(self, o, melodies, net, saved):
        self.o, self.melodies, self.net = o, melodies, net
        self.adam = torch.optim.Adam(net.parameters(), o.lr)
        self.step, self.epoch, self.position, self.since = 0, 0, 0, 0
        self.best, self.weights, self.signal = math.inf, None, 0
        if saved:
            try:
                net.load_state_dict(saved["now"])
                self.adam.load_state_dict(saved["adam"])
            except (RuntimeError, ValueError) as e:
                raise Bad(f"load {o.load}: {str(e).splitlines()[0]}") from None
            for name in PLACE:
                setattr(self, name, saved[name])
            self.weights = saved["weights"]

    def save(self):
        kept = {name: getattr(self, name) for name in PLACE}
        kept |= {"options": {name: getattr(self.o, name) for name in KEPT},
                 "now": self.net.state_dict(), "weights": self.weights,
                 "adam": self.adam.state_dict(), "styles": self.net.style.num_embeddings - 1}
        part = f"{self.o.save}.{os.getpid()}"
        try:
            torch.save(kept, part)
            os.replace(part, self.o.save)
        except OSError as e:
            raise Bad(f"save {self.o.save}: {e}") from None

    def learn_step(self):
        o = self.o
        torch.manual_seed(o.seed * 1000003 + self.step)
        self.net.train()
        loss = loss_of(o, self.net, self.melodies, f"{o.seed} {self.step + 1}", o.batch, False)
        if not loss.isfinite():
            raise Bad(f"step {self.step + 1}: the loss is {loss.item()}")
        self.adam.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), o.clip or math.inf)
        self.adam.step()
        return loss.item(), norm.item()

    def learn(self):
        o, per = self.o, 100
        log = open(o.log, "a" if self.step else "w", encoding="utf-8") if o.log else None
        if log and not self.step:
            print("step,epoch,loss,nats/event,norm,rate,speed", file=log)
        print(f"{sum(p.numel() for p in self.net.parameters())} weights; {o.threads} threads",
              file=sys.stderr)
        begun, shown, first, live = time.time(), 0, self.step, sys.stderr.isatty()
        while self.epoch < o.epochs and not self.signal:
            if o.patience and self.since >= o.patience:
                break
            rate = o.lr * (0.5 + 0.5 * math.cos(math.pi * self.step / (per * o.epochs)))
            self.adam.param_groups[0]["lr"] = rate
            loss, norm = self.learn_step()
            self.step, self.position, figure = self.step + 1, self.position + 1, ""
            speed = (self.step - first) * o.batch / (time.time() - begun)
            if time.time() - shown > (0.1 if live else 5):
                shown = time.time()
                left = (per * o.epochs - self.step) * o.batch / speed
                print("\r\033[K" if live else "", f"epoch {self.epoch + 1}/{o.epochs}  "
                      f"{self.position}/{per}  loss {loss:.3f}  {speed:.0f} melodies/s  "
                      f"{left // 60:.0f}:{left % 60:02.0f} left", sep="",
                      end="" if live else "\n", file=sys.stderr, flush=True)
            if self.position == per:
                self.epoch, self.position, self.since = self.epoch + 1, 0, self.since + 1
                self.net.eval()
                with torch.no_grad():
                    figure = loss_of(o, self.net, self.melodies, f"{o.seed} 0", 256, True).item()
                better = figure < self.best
                if better:
                    self.best, self.since = figure, 0
                    self.weights = {k: v.clone() for k, v in self.net.state_dict().items()}
                print("\r\033[K" if live else "", f"epoch {self.epoch}  nats/event {figure:.4f}",
                      "  (best)" if better else "", sep="", file=sys.stderr)
            if log:
                print(self.step, self.epoch, f"{loss:.6f}", figure, f"{norm:.4g}", f"{rate:.4g}",
                      f"{speed:.0f}", sep=",", file=log, flush=True)
            if o.every and self.step % o.every == 0:
                self.save()
        if o.save:
            self.save()
        if self.weights:
            self.net.load_state_dict(self.weights)


def main():
    o, defaults = options()
    saved = settle(o, defaults)
    torch.set_num_threads(o.threads)
    torch.manual_seed(o.seed)
    melodies = read_data(o)
    styles = saved["styles"] if saved else len(o.data) or STYLES
    if o.latent > styles:
        raise Bad(f"--latent: there are {styles} styles")
    net = Net(o, styles)
    run = Run(o, melodies, net, saved)

    def stop(number, frame):
        run.signal = number
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    run.learn()
    if run.signal:
        print(f"stopped by signal {run.signal} after step {run.step}", file=sys.stderr)
        return 128 + run.signal
    show(o, net, melodies)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Bad, OSError) as bad:
        print(f"torch_melody: {bad}", file=sys.stderr)
        sys.exit(1)
