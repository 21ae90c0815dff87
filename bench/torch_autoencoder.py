#!/usr/bin/env python3
"""An LSTM autoencoder of a series: examples/autoencoder in PyTorch, by the same recipe and with the
same options. Windows become small embeddings, and these the windows again, the last row first; what
is reconstructed worse, or better, than the rows of a validation part is odd. Judged by the area
under the ROC curve of windows as they are and with oddities made in them. usage:
torch_autoencoder.py --help"""
import argparse
import csv
import math
import os
import random
import signal
import sys
import time

import torch
from torch import nn

MISSING = {"", "?", "na", "n/a", "nan", "null"}
KEPT = ("columns window embedding hidden batch valid test period around alarms epochs lr clip "
        "patience seed").split()
FIXED = "window embedding hidden".split()
PLACE = "step epoch position since best".split()
KINDS = ("spike", "flat", "shift", "missing")


class Bad(Exception):
    """What is said in one sentence."""


def options():
    p = argparse.ArgumentParser(description="Says which stretches of a series are odd.")

    def add(name, kind, default, text, low=None, high=None, **more):
        def read(word):
            value = kind(word)
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                raise argparse.ArgumentTypeError(f"'{word}' is not from {low} to {high}")
            return value
        p.add_argument("--" + name, type=read, help=f"{text} ({default})", **more)
        defaults[name] = default

    defaults = {}
    add("data", str, None, "CSV, a row for each time (a series made up here)")
    add("columns", str, None, "names or numbers of columns, with commas")
    add("window", int, 48, "rows that become one embedding", 4, 4096)
    add("embedding", int, 12, "its numbers", 1, 4096)
    add("hidden", int, 48, "units of either LSTM", 1, 4096)
    add("batch", int, 32, "windows of a step", 1, 65536)
    add("valid", float, 0.1, "part of the rows: what is usual", 0.001, 0.9)
    add("test", float, 0.2, "part of the rows: the last, made odd", 0, 0.9)
    add("period", int, 24, "rows of a beat, for oddities", 4, 4096)
    add("around", int, 2, "rows on each side judged with one", 0, 999)
    add("alarms", float, 0.01, "part of usual windows", 1e-9, 0.5)
    for name, text in (("odd", "the stretches that are odd"), ("embed", "embeddings of windows"),
                       ("reconstruct", "each row and what becomes of it")):
        p.add_argument("--" + name, action="store_true", help=f"prints {text}, as CSV")
    add("epochs", int, 20, "epochs in all, a saved model's included", 0)
    add("lr", float, 1e-2, "learning rate, by a cosine down to 0", 0, 1e3)
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
        if getattr(o, name) is None:
            setattr(o, name, value)
    if o.every and not o.save:
        raise Bad("--every needs --save, a file to save to")
    if o.period > o.window:
        raise Bad("--period: it is more than --window")
    for path in (o.save, o.log):
        if path and os.path.isdir(path):
            raise Bad(f"{path} is a folder")
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise Bad(f"{path}: its folder does not exist")
        if path and o.data and os.path.exists(path) and os.path.samefile(path, o.data):
            raise Bad(f"{path} would replace what is read")
    return saved


def made_series(seed):
    """A pulse whose rate wanders, and the breath that it grows and shrinks with."""
    noise, rate, beats, lines = random.Random(seed), 0.0, 0.0, [["pulse", "breath"]]
    for t in range(6000):
        rate = 0.98 * rate + 0.01 * noise.gauss(0, 1)
        beats += (1 + rate) / 24
        at, breath = beats % 1, math.sin(2 * math.pi / 100 * t)
        pulse = math.exp(-400 * (at - 0.3) ** 2) - 0.3 * math.exp(-400 * (at - 0.42) ** 2)
        pulse = (1 + 0.15 * breath) * (pulse + 0.3 * math.exp(-120 * (at - 0.7) ** 2))
        lines.append([f"{x + noise.gauss(0, 0.05):.4f}" for x in (pulse, breath)])
    return lines


def number(field, line):
    if field.strip().lower() in MISSING:
        return math.nan
    try:
        value = float(field)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise Bad(f"line {line}: '{field}' is no number")
    return value


def is_numeric(fields):
    try:
        return not all(math.isnan(number(field, 0)) for field in fields)
    except Bad:
        return False


def read_table(path, seed):
    if not path:
        lines = made_series(seed)
    else:
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                text = file.read()
            first = text.split("\n", 1)[0]
            separator = next((s for s in "\t;," if s in first), ",")
            lines = [line for line in csv.reader(text.splitlines(), delimiter=separator) if line]
        except (OSError, UnicodeDecodeError, csv.Error) as e:
            raise Bad(f"{path}: {e}") from None
    if not lines:
        raise Bad(f"{path} is empty")
    for i, line in enumerate(lines):
        if len(line) != len(lines[0]):
            raise Bad(f"{path}: line {i + 1} has {len(line)} fields, the first {len(lines[0])}")
    has_names = not any(is_numeric([field]) for field in lines[0])
    names = lines.pop(0) if has_names else [str(i) for i in range(len(lines[0]))]
    if not lines:
        raise Bad(f"{path} has no row")
    return [name.strip() for name in names], list(zip(*lines))


def select(names, wanted):
    out = []
    for name in wanted.split(","):
        if name in names:
            out.append(names.index(name))
        elif name.isdigit() and int(name) < len(names):
            out.append(int(name))
        else:
            raise Bad(f"there is no column '{name}'")
    return out


class Series:
    """values (T, n), scaled and filled; known, those of the validation part."""

    def __init__(self, o, saved):
        names, table = read_table(o.data, o.seed)
        numeric = [i for i, fields in enumerate(table) if is_numeric(fields)]
        columns = select(names, o.columns) if o.columns else numeric
        if not columns:
            raise Bad("no column holds numbers alone; --columns names some")
        self.names = [names[c] for c in columns]
        values = [[number(f, i + 2) for i, f in enumerate(table[c])] for c in columns]
        values = torch.tensor(values).T
        self.rows, self.test = len(values), int(o.test * len(values))
        self.learned = self.rows - self.test - int(o.valid * self.rows)
        if self.learned < 1:
            raise Bad("--valid and --test leave no row to learn from")
        train = values[:self.learned]
        self.offset = train.nanmean(0)
        self.scale = (train - self.offset).square().nanmean(0).sqrt()
        self.scale[self.scale == 0] = 1
        if saved:
            self.offset, self.scale = saved["offset"], saved["scale"]
        if len(self.offset) != len(columns) or self.offset.isnan().any():
            raise Bad(f"{len(columns)} columns do not fit, or one has no number to learn from")
        values = (values - self.offset) / self.scale
        for t in range(self.rows):
            before = values[t - 1] if t else torch.zeros(len(columns))
            values[t] = torch.where(values[t].isnan(), before, values[t])
        self.values = values
        self.known = saved["known"] if saved else values[self.learned:self.rows - self.test]
        if min(len(self.known), self.rows) < o.window:
            raise Bad(f"{self.rows} rows, or those of --valid, are less than a --window")


def windows_over(o, x, step=1):
    """(N, W, n) over rows (T, n)"""
    return x.unfold(0, o.window, step).transpose(1, 2)


class Net(nn.Module):
    def __init__(self, o, n):
        super().__init__()
        self.window = o.window
        self.encoder, self.decoder = nn.LSTM(n, o.hidden), nn.LSTM(o.embedding, o.hidden)
        self.embed, self.out = nn.Linear(o.hidden, o.embedding), nn.Linear(o.hidden, n)
        self.start = nn.Linear(o.embedding, o.hidden)

    def embedding(self, x):
        return self.embed(self.encoder(x)[0][-1])

    def forward(self, x):
        """(W, B, n) to the same, the last row first (Srivastava et al. 2015)."""
        e = self.embedding(x)
        start = torch.tanh(self.start(e)).unsqueeze(0)
        return self.out(self.decoder(e.expand(self.window, -1, -1), (start, start))[0]).flip(0)


@torch.no_grad()
def errors_of(net, windows):
    net.eval()
    some = [x.transpose(0, 1) for x in windows.split(256)]
    return torch.cat([(x - net(x)).transpose(0, 1) for x in some])


class Novelty:
    """What errors (N, W, n) usually are: Mahalanobis distance, mean around, cube root."""

    def __init__(self, errors, around, alarms):
        self.around, flat = around, errors.double().flatten(0, 1)
        self.mean = flat.mean(0)
        covariance = (flat - self.mean).T @ (flat - self.mean) / len(flat)
        self.root = torch.linalg.cholesky(covariance + 1e-12 * torch.eye(len(covariance)))
        judged = self.judge(errors)
        self.level, self.spread = judged.mean(), judged.std(correction=0).clamp_min(1e-9)
        most = self.score(errors).amax(1).sort()[0]
        self.threshold = most[len(most) - 1 - int(alarms * len(most))].item()

    def judge(self, errors):
        off = errors.double().flatten(0, 1) - self.mean
        z = torch.linalg.solve_triangular(self.root, off.T, upper=False)
        far = z.square().sum(0).view(len(errors), 1, -1)
        near = nn.functional.avg_pool1d(far, 2 * self.around + 1, 1, self.around,
                                        count_include_pad=False)
        return near[:, 0] ** (1 / 3)

    def score(self, errors):
        return (self.judge(errors) - self.level).abs() / self.spread


def make_odd(window, kind, period, key):
    """Makes one column of a window (W, n) odd."""
    random_, W, half = random.Random(key), len(window), period // 2
    column = window[:, random_.randrange(window.shape[1])]
    back = period // 4 + random_.randint(0, half)
    lengths = {"spike": random_.randint(1, 3), "flat": random_.randint(half, period)}
    length = lengths.get(kind, period)
    begin = random_.randint(0, W - length)
    if kind == "spike":
        column[begin:begin + length] += random_.uniform(3, 6) * random_.choice((-1, 1))
    elif kind == "flat":
        column[begin:begin + length] = column[begin].item()
    elif kind == "missing":
        column[begin:begin + length] = 0
    else:
        begin = random_.randint(back, W - period // 4)
        column[begin:] = column[begin - back:W - back].clone()


def roc_area(negative, positive):
    """How likely a positive score is above a negative one."""
    low = torch.searchsorted(negative.sort()[0], positive).double()
    high = torch.searchsorted(negative.sort()[0], positive, right=True).double()
    return ((low + high) / 2).mean().item() / len(negative)


def report(o, series, net, novelty):
    if not series.test:
        return
    if series.test < o.window:
        raise Bad("--test leaves less than a --window")
    windows, scores = windows_over(o, series.values[-series.test:]), {}
    for kind in (None, *KINDS):
        laid = windows.clone()
        for i, window in enumerate(laid):
            if kind:
                make_odd(window, kind, o.period, f"{o.seed} {i} {kind}")
        scores[kind] = novelty.score(errors_of(net, laid)).amax(1)
        called = 100 * (scores[kind] > novelty.threshold).double().mean().item()
        if kind:
            print(f"{kind:8} area under the ROC curve {roc_area(scores[None], scores[kind]):.4f}, "
                  f"{called:.1f} % called odd")
        else:
            print(f"{len(laid)} held-out windows, {called:.1f} % called odd")
    odd = torch.cat([scores[kind] for kind in KINDS])
    print(f"all      area under the ROC curve {roc_area(scores[None], odd):.4f}")


@torch.no_grad()
def show(o, series, net):
    """What was asked for, of a net that has learned."""
    net.eval()
    if o.embed:
        windows = windows_over(o, series.values, o.window)
        print(",".join(["row", *(f"e{k}" for k in range(o.embedding))]))
        for i, e in enumerate(net.embedding(windows.transpose(0, 1)).tolist()):
            print(",".join([str(i * o.window), *(f"{x:.6g}" for x in e)]))
        return
    novelty = Novelty(errors_of(net, windows_over(o, series.known)), o.around, o.alarms)
    if not o.odd and not o.reconstruct:
        return report(o, series, net, novelty)
    errors = errors_of(net, windows_over(o, series.values))
    row = torch.arange(series.rows)
    window = (row - o.window // 2).clamp(0, series.rows - o.window)
    score = novelty.score(errors)[window, row - window].tolist()
    if o.odd:
        print("begin,end,score")
        begin, end, most = None, 0, 0
        for i, s in enumerate([*score, math.inf]):
            if s > novelty.threshold:
                if begin is not None and (i - end > 2 * o.around + 1 or i == series.rows):
                    print(f"{begin},{end},{most:.2f}")
                    begin = None
                begin, most = (i, s) if begin is None else (begin, max(most, s))
                end = i
    if o.reconstruct:
        names = series.names + [f"{name} again" for name in series.names]
        print(",".join(["row", "score", *names]))
        again = series.values - errors[window, row - window]
        both = torch.cat([x * series.scale + series.offset for x in (series.values, again)], 1)
        for i, x in enumerate(both.tolist()):
            print(",".join([str(i), f"{score[i]:.3f}", *(f"{number:.6g}" for number in x)]))


class Run:
    """Where training stands; all that a file keeps."""

    def __init__(self, o, series, net, saved):
        self.o, self.series, self.net = o, series, net
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
                 "adam": self.adam.state_dict(),
                 "offset": self.series.offset, "scale": self.series.scale,
                 "known": self.series.known}
        part = f"{self.o.save}.{os.getpid()}"
        try:
            torch.save(kept, part)
            os.replace(part, self.o.save)
        except OSError as e:
            raise Bad(f"save {self.o.save}: {e}") from None

    def learn_step(self, some):
        o = self.o
        torch.manual_seed(o.seed * 1000003 + self.step)
        self.net.train()
        x = torch.stack([self.series.values[at:at + o.window] for at in some], 1)
        loss = nn.functional.mse_loss(self.net(x), x)
        if not loss.isfinite():
            raise Bad(f"step {self.step + 1}: the loss is {loss.item()}")
        self.adam.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), o.clip or math.inf)
        self.adam.step()
        return loss.item(), norm.item()

    def learn(self):
        o, series = self.o, self.series
        origins = range(series.learned - o.window + 1)
        if not origins:
            raise Bad(f"{series.learned} rows to learn from are less than a --window")
        per = (len(origins) + o.batch - 1) // o.batch
        log = open(o.log, "a" if self.step else "w", encoding="utf-8") if o.log else None
        if log and not self.step:
            print("step,epoch,loss,squared error,norm,rate,speed", file=log)
        print(f"{sum(p.numel() for p in self.net.parameters())} weights; {o.threads} threads",
              file=sys.stderr)
        begun, shown, first, live = time.time(), 0, self.step, sys.stderr.isatty()
        while self.epoch < o.epochs and not self.signal:
            if o.patience and self.since >= o.patience:
                break
            rate = o.lr * (0.5 + 0.5 * math.cos(math.pi * self.step / (per * o.epochs)))
            self.adam.param_groups[0]["lr"] = rate
            order = random.Random(f"{o.seed} {self.epoch}").sample(origins, len(origins))
            some = order[self.position * o.batch:(self.position + 1) * o.batch]
            loss, norm = self.learn_step(some)
            self.step, self.position, figure = self.step + 1, self.position + 1, ""
            speed = (self.step - first) * o.batch / (time.time() - begun)
            if time.time() - shown > (0.1 if live else 5):
                shown = time.time()
                left = (per * o.epochs - self.step) * o.batch / speed
                print("\r\033[K" if live else "", f"epoch {self.epoch + 1}/{o.epochs}  "
                      f"{self.position}/{per}  loss {loss:.3f}  {speed:.0f} windows/s  "
                      f"{left // 60:.0f}:{left % 60:02.0f} left", sep="",
                      end="" if live else "\n", file=sys.stderr, flush=True)
            if self.position == per:
                self.epoch, self.position, self.since = self.epoch + 1, 0, self.since + 1
                figure = errors_of(self.net, windows_over(o, series.known)).square().mean().item()
                better = figure < self.best
                if better:
                    self.best, self.since = figure, 0
                    self.weights = {k: v.clone() for k, v in self.net.state_dict().items()}
                print("\r\033[K" if live else "", f"epoch {self.epoch}  squared error {figure:.4f}",
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
    series = Series(o, saved)
    net = Net(o, len(series.names))
    run = Run(o, series, net, saved)

    def stop(number, frame):
        run.signal = number
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    if not (saved and (o.odd or o.embed or o.reconstruct)):    # a saved model is used as it is
        run.learn()
    elif run.weights:
        net.load_state_dict(run.weights)
    if run.signal:
        print(f"stopped by signal {run.signal} after step {run.step}", file=sys.stderr)
        return 128 + run.signal
    show(o, series, net)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Bad, OSError) as bad:
        print(f"torch_autoencoder: {bad}", file=sys.stderr)
        sys.exit(1)
